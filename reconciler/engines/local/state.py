"""How far a run has come, as its supervisor writes it and the daemon reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.engine import FailureClass, Result, RunPhase
from reconciler.engines.local.fsync import encode, read_json
from reconciler.engines.local.fsync import replace as replace_file
from reconciler.types import JSON

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A run's progress.

    ``tries`` counts the commands that this run has started, ``attempts`` those of its key.
    ``log`` is the newest attempt's log file.
    """

    phase: RunPhase = RunPhase.PENDING
    reason: str = ""
    failure: FailureClass | None = None
    tries: int = 0
    attempts: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    log: str | None = None
    result: Result | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in (RunPhase.SUCCEEDED, RunPhase.FAILED)

    def failed(self, reason: str, failure: FailureClass) -> State:
        """This run, ended by a failure."""
        return replace(
            self,
            phase=RunPhase.FAILED,
            reason=reason,
            failure=failure,
            finished=now(),
            result=None,
        )

    def succeeded(self, result: Result) -> State:
        """This run, ended well."""
        return replace(
            self,
            phase=RunPhase.SUCCEEDED,
            reason="",
            failure=None,
            finished=now(),
            result=result,
        )

    def to_json(self) -> dict[str, JSON]:
        """As it stands in ``state.json``."""
        result: JSON = None
        if self.result is not None:
            result = {
                "image": self.result.image,
                "url": self.result.url,
                "metrics": dict(self.result.metrics),
                "gpuSeconds": self.result.gpu_seconds,
            }
        return {
            "version": _VERSION,
            "phase": self.phase.value,
            "reason": self.reason,
            "failure": self.failure.value if self.failure else None,
            "tries": self.tries,
            "attempts": self.attempts,
            "started": write_time(self.started),
            "finished": write_time(self.finished),
            "log": self.log,
            "result": result,
        }


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def write_time(time: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z") if time else None


def read_time(value: JSON) -> datetime | None:
    """The time that :func:`write_time` wrote."""
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def read(path: Path) -> State | None:
    """The state in a file; None where there is none yet. Raises ValueError if it is damaged."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        return None
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        raise ValueError(f"{path} is not a state of version {_VERSION}")
    return _decode(value)


def write(path: Path, state: State) -> None:
    """Replace the state in a file, durably."""
    replace_file(path, encode(state.to_json()))


def _decode(value: Mapping[str, JSON]) -> State:
    failure, tries, attempts, log = (
        value.get(name) for name in ("failure", "tries", "attempts", "log")
    )
    return State(
        phase=RunPhase(str(value.get("phase"))),
        reason=str(value.get("reason") or ""),
        failure=FailureClass(failure) if isinstance(failure, str) else None,
        tries=tries if isinstance(tries, int) else 0,
        attempts=attempts if isinstance(attempts, int) else 0,
        started=read_time(value.get("started")),
        finished=read_time(value.get("finished")),
        log=log if isinstance(log, str) else None,
        result=_result(value.get("result")),
    )


def _result(value: JSON) -> Result | None:
    if not isinstance(value, dict):
        return None
    image, url, metrics, seconds = (
        value.get(name) for name in ("image", "url", "metrics", "gpuSeconds")
    )
    return Result(
        image=image if isinstance(image, str) else None,
        url=url if isinstance(url, str) else None,
        metrics=numbers(metrics),
        gpu_seconds=float(seconds) if isinstance(seconds, (int, float)) else 0.0,
    )


def numbers(value: JSON) -> dict[str, float]:
    """The numbers of a flat object; whatever else it holds is left out."""
    if not isinstance(value, dict):
        return {}
    return {
        name: float(number)
        for name, number in value.items()
        if isinstance(number, (int, float)) and not isinstance(number, bool)
    }
