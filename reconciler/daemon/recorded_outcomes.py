"""The outcomes of runs that the status branch records."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from reconciler.engine import FailureClass, Run
from reconciler.planner import ObjectStatus, TaskPhase


@dataclass(slots=True)
class RecordedOutcomes:
    """Outcomes by key and execution hash, which is empty for successes."""

    _known: set[tuple[str, str]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, record: ObjectStatus) -> None:
        """Add the outcomes in the history of a pushed record."""
        for entry in record.history:
            if entry.phase is TaskPhase.INTERRUPTED:
                continue  # another run of the key follows, which has no entry yet
            succeeded = entry.phase is TaskPhase.SUCCEEDED
            self._known.add((entry.key, "" if succeeded else (entry.execution_hash or "")))

    def has(self, run: Run) -> bool:
        """Return whether the outcome of an ended run is in Git.

        A failure of the infrastructure leaves nothing behind that must be recorded.
        """
        return not run.live and (
            (run.key, "") in self._known
            or (run.key, run.execution_hash) in self._known
            or run.failure is FailureClass.INFRASTRUCTURE
        )

    def among(self, runs: Mapping[str, Run]) -> Container[str]:
        """Return the names of recorded runs, looked up when asked for."""
        return _Names(self, runs)


@dataclass(frozen=True, slots=True)
class _Names(Container[str]):
    outcomes: RecordedOutcomes
    runs: Mapping[str, Run]

    def __contains__(self, name: object) -> bool:
        run = self.runs.get(name) if isinstance(name, str) else None
        return run is not None and self.outcomes.has(run)
