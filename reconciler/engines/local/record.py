"""A run as the daemon sees it: what it wrote down, and what the supervisor has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from reconciler.engine import Run, RunSpec
from reconciler.engines.local import state as states
from reconciler.engines.local.fsync import read_json
from reconciler.engines.local.layout import RunDirectory
from reconciler.engines.local.spec import SpecError, decode_spec
from reconciler.engines.local.state import State


@dataclass(slots=True)
class Record:
    """One run in memory.

    ``grant`` are its GPUs once it may start, None before. ``waiting`` is why it has not been
    granted. ``seen`` tells a state file that has been read from a newer one. ``spawns`` counts
    supervisors that ended without ending the run; the next one starts at ``spawn_at``.
    """

    spec: RunSpec
    created: datetime
    directory: RunDirectory
    state: State | None = None
    grant: tuple[str, ...] | None = None
    deleting: bool = False
    waiting: str = ""
    seen: tuple[int, int] = (0, 0)
    spawns: int = 0
    spawn_at: float = 0.0

    @classmethod
    def load(cls, directory: RunDirectory) -> Record:
        """Read a run's directory. Raises OSError, ValueError and SpecError."""
        spec, created = decode_spec(read_json(directory.spec))
        if spec.name != directory.name:
            raise SpecError(f"expected the run {directory.name}, found {spec.name}")
        record = cls(spec, created, directory, deleting=directory.cancel.exists())
        if directory.grant.exists():
            record.grant = _gpus(directory.grant)
        record.refresh()
        return record

    @property
    def ended(self) -> bool:
        """Whether the supervisor has written the run's end."""
        return self.state is not None and self.state.ended

    @property
    def holding(self) -> bool:
        """Whether the run holds what it was granted."""
        return self.grant is not None and not self.ended

    def refresh(self) -> bool:
        """Read the state if it is newer than what we know; whether it was."""
        try:
            stat = self.directory.state.stat()
        except FileNotFoundError:
            return False
        # Every state is a new file, but an inode may be given again within one clock tick.
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen == self.seen:
            return False
        try:
            self.state = states.read(self.directory.state)
        except ValueError:
            # Damaged: the supervisor that is started next takes the run for lost.
            self.state = None
        self.seen = seen
        return True

    def view(self) -> Run:
        """The run as the daemon's caller sees it."""
        state = self.state or State()
        spec = self.spec
        return replace(
            spec.pending(),
            phase=state.phase,
            attempts=state.attempts,
            created=self.created,
            started=state.started,
            finished=state.finished,
            reason=state.reason or ("" if self.state else self.waiting),
            failure=state.failure,
            log=Path(state.log).as_uri() if state.log else None,
            result=state.result,
            deleting=self.deleting,
        )


def _gpus(path: Path) -> tuple[str, ...]:
    try:
        value = read_json(path)
    except ValueError:
        return ()
    gpus = value.get("gpus") if isinstance(value, dict) else None
    return tuple(str(gpu) for gpu in gpus) if isinstance(gpus, Sequence) else ()
