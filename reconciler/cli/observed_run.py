"""The observer of ``run --once``, and the display of its progress."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.live import Live

from reconciler.cli.table import Listing, object_table
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.daemon import configure_logging
from reconciler.planner import ObjectStatus, Phase, Plan
from reconciler.reasons import ReasonCode
from reconciler.review import Latest, counted, printable, seconds
from reconciler.types import ObjectRef, Problem


def configure_logs(setup: Setup, *, once: bool = False, level: str | None = None) -> None:
    """Set up the configured style and level of logs.

    A user reads those of ``run --once``, also through a pipe to `tee` or `less`; a daemon's are
    collected.
    """
    style = setup.config.log.format
    if once and style == "auto":
        style = "text"
    configure_logging(style=style, level=level or setup.config.log.level)


@dataclass
class ObservedRun:
    """The observer of a run: the newest plan, records and errors.

    ``wanted`` are the objects that have a manifest, right or wrong. ``lines`` are printed as their
    phases change.
    """

    plan: Plan | None = None
    records: Mapping[ObjectRef, ObjectStatus] = field(default_factory=dict)
    errors: Sequence[Problem] = ()
    wanted: Collection[ObjectRef] = ()
    latest: Latest | None = None
    lines: PhaseLines | None = None

    def __call__(
        self, plan: Plan, records: Mapping[ObjectRef, ObjectStatus], errors: Sequence[Problem]
    ) -> None:
        """Take over the result of a sync."""
        self.plan, self.records, self.errors = plan, dict(records), errors
        for line in self.lines.changes(self.records) if self.lines is not None else ():
            with suppress(OSError):  # a full disk or a closed pipe ends no run
                tell(line, err=True)
        self.wanted = plan.inputs.desired.keys() | plan.inputs.invalid.keys()

    def table(self, *, compact: bool = False) -> Listing:
        """Render the objects."""
        return object_table(
            self.records.values(), compact=compact, latest=self.latest, bars=compact
        )

    @property
    def bad(self) -> bool:
        """True if an object ended in failure, or a manifest is wrong."""
        return bool(self.errors) or any(self._in(Phase.FAILED, Phase.INVALID, Phase.REJECTED))

    def waiting(self) -> list[ObjectStatus]:
        """The objects that are neither at an end, suspended nor held.

        A promotion that still serves an earlier artifact waits too.
        """
        ends = (
            Phase.READY,
            Phase.SUSPENDED,
            Phase.HELD,
            Phase.FAILED,
            Phase.INVALID,
            Phase.REJECTED,
        )
        serving = (r for r in self._in(Phase.READY) if r.reason == ReasonCode.STILL_SERVING)
        waiting = [*self._in(*set(Phase).difference(ends)), *serving]
        return sorted(waiting, key=lambda record: record.ref)

    def _in(self, *phases: Phase) -> Iterator[ObjectStatus]:
        wanted = (self.records[ref] for ref in self.wanted if ref in self.records)
        return (record for record in wanted if record.phase in phases)


@contextmanager
def progress(setup: Setup, screen: Console, seen: ObservedRun) -> Iterator[None]:
    """Show a live table on a terminal, elsewhere lines of phases.

    A configured format of the log asks for the log instead.
    """
    if not screen.is_terminal:
        if setup.config.log.format == "auto":
            seen.lines = PhaseLines()
        level = "warning" if seen.lines is not None else None
        configure_logs(setup, once=True, level=level)
        yield
        return
    live = Live(
        get_renderable=partial(seen.table, compact=True),
        console=screen,
        refresh_per_second=4,
        transient=True,
    )
    with live:
        # The table says what is going on; the log above it only what goes wrong.
        configure_logs(setup, once=True, level="warning")
        yield


#: Phases whose message says more than the phase.
_TOLD = (Phase.FAILED, Phase.INVALID, Phase.HELD, Phase.LOST, Phase.WAITING)


@dataclass(slots=True)
class PhaseLines:
    """The phases that were printed, and the time since the beginning."""

    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _phases: dict[ObjectRef, Phase] | None = field(default=None)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def changes(self, records: Mapping[ObjectRef, ObjectStatus]) -> Iterator[str]:
        """Yield a line for each object in another phase.

        The first call yields the number of objects in each phase.
        """
        before, self._phases = self._phases, {ref: r.phase for ref, r in records.items()}
        elapsed = f"{seconds(self.clock() - (self._began or 0.0)):>6}"
        if before is None:
            count = Counter(self._phases.values())
            phases = ", ".join(f"{count[phase]} {phase}" for phase in Phase if count[phase])
            yield f"{elapsed}  {counted(len(records), 'object')}{': ' if phases else ''}{phases}"
            return
        for ref in sorted(records):
            record = records[ref]
            if before.get(ref) is not record.phase:
                why = f": {record.message}" if record.phase in _TOLD and record.message else ""
                yield printable(f"{ref} is {record.phase}{why}").join((f"{elapsed}  ", ""))
        for ref in sorted(before.keys() - records.keys()):
            yield f"{elapsed}  {ref} was removed"
