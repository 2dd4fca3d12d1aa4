"""Virtual environments of the local engine, for ``reconciler artifacts``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.cli.recorded_state import RecordedState
from reconciler.cli.select import same
from reconciler.codec import format_time
from reconciler.config import Setup
from reconciler.engines.local import stored_environments
from reconciler.types import JSON, ObjectRef, TaskKind

#: The local engine's root without a configuration.
_ROOT = Path("state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment on this machine's disk.

    ``users`` are the objects whose image needs it.
    """

    name: str
    url: str
    finished: datetime
    size: int
    users: tuple[ObjectRef, ...]

    def serves(self, *, name: str | None, namespace: str | None, kind: str | None) -> bool:
        """Return whether a selected object uses it."""
        return any(same(ref, name=name, namespace=namespace, kind=kind) for ref in self.users)

    def to_json(self) -> dict[str, JSON]:
        """Return the form that ``--format json`` prints, with an artifact's fields."""
        return {
            "kind": "Environment",
            "namespace": None,
            "name": self.name,
            "key": self.name,
            "url": self.url,
            "finished": format_time(self.finished),
            "size": self.size,
            "usedBy": [f"environment of {ref}" for ref in self.users],
            "removed": False,
        }


def environments_of(setup: Setup | None, state: RecordedState) -> Iterator[Environment]:
    """Find the environments of builds, with the objects that use them now."""
    for stored in stored_environments(setup.root if setup is not None else _ROOT):
        yield Environment(
            name=stored.path.name,
            url=stored.path.as_uri(),
            finished=stored.finished,
            size=stored.size(),
            users=tuple(
                ref
                for ref in sorted(state.records)
                if any(
                    task.task is TaskKind.BUILD and task.key in stored.builds
                    for task in state.records[ref].tasks
                )
            ),
        )
