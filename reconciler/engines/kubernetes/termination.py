"""The termination message, by which a container reports its own end.

The wrapper writes it, but the user's command could have, so it is read as untrusted input: nothing
in it is longer or larger than a status file can hold, and its reason is one that the wrapper and
the build scripts write.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field

from reconciler.engine import FailureClass, ResultWarning, metrics_of, warnings_of
from reconciler.reasons import ReasonCode
from reconciler.types import JSON, Metrics

#: Bytes that the kubelet keeps of a message; of several containers' together it keeps 12 KiB.
LIMIT = 4096
_VERSION = 1
_TEXT = 600
_MOST_ATTEMPTS = 10**9
_MOST_SECONDS = 1e12
_CLASSES = {
    "command": FailureClass.COMMAND,
    "infrastructure": FailureClass.INFRASTRUCTURE,
}
#: The codes that wrapper.sh, source.sh and buildkit.sh write.
REASONS = frozenset(
    {
        ReasonCode.ARTIFACT_INCOMPLETE,
        ReasonCode.ARTIFACT_LOST,
        ReasonCode.BUCKET_FAILED,
        ReasonCode.BUILD_FAILED,
        ReasonCode.COMMAND_FAILED,
        ReasonCode.COMMAND_NOT_FOUND,
        ReasonCode.COMMAND_NOT_EXECUTABLE,
        ReasonCode.COMMAND_NOT_PERMITTED,
        ReasonCode.NOEXEC_MOUNT,
        ReasonCode.WINDOWS_LINE_ENDS,
        ReasonCode.BYTE_ORDER_MARK,
        ReasonCode.INTERPRETER_LINE_MISSING,
        ReasonCode.INTERPRETER_MISSING,
        ReasonCode.LOADER_MISSING,
        ReasonCode.DISK_FULL,
        ReasonCode.INFRASTRUCTURE_FAILED,
        ReasonCode.INTERRUPTED,
        ReasonCode.OUT_OF_MEMORY,
        ReasonCode.STALLED,
        ReasonCode.SOURCE_INVALID,
        ReasonCode.SOURCE_UNAVAILABLE,
    }
)
_REASONS = {code.value: code for code in REASONS}


class TerminationState(enum.StrEnum):
    """The wrapper's progress.

    BEGAN: the command started and the container was killed, for want of memory for one.
    """

    BEGAN = "began"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """A termination message.

    ``attempt`` is 0 where no command was started: the artifact was complete, or something else
    failed first. ``exit_code`` and ``seconds`` are the command's. ``gpu_seconds`` is of a complete
    artifact, failed attempts included. Of ``metrics`` there are as many as fit; the marker has all.
    ``failure`` does not know of the pod: a command that ran into its deadline reports
    INFRASTRUCTURE, as it was stopped. ``reason`` and ``message`` are the cause, as a code and as a
    sentence; ``input`` is the base or dataset that is lost; ``last`` is the command's last line.
    Each may be empty.
    """

    state: TerminationState
    attempt: int = 0
    exit_code: int | None = None
    seconds: float | None = None
    gpu_seconds: float = 0.0
    failure: FailureClass | None = None
    reason: ReasonCode | None = None
    message: str = ""
    input: str = ""
    last: str = ""
    metrics: Metrics = field(default_factory=dict)
    warnings: tuple[ResultWarning, ...] = ()

    @property
    def began(self) -> bool:
        """Return whether the command was started.

        It has an exit code then, or the container was killed.
        """
        return self.state is TerminationState.BEGAN or self.exit_code is not None


def read_termination(message: str) -> Termination | None:
    """Parse a message; None if the wrapper cannot have written it."""
    if len(message) > LIMIT:
        return None
    try:
        value: JSON = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("v") != _VERSION:
        return None
    try:
        state = TerminationState(str(value.get("state")))
    except ValueError:
        return None
    attempt = _number(value.get("attempt"), _MOST_ATTEMPTS)
    code = _number(value.get("exitCode"), 255)
    failure, reason = value.get("class"), value.get("reason")
    return Termination(
        state=state,
        attempt=int(attempt or 0),
        exit_code=None if code is None else int(code),
        seconds=_number(value.get("seconds"), _MOST_SECONDS),
        gpu_seconds=_number(value.get("gpuSeconds"), _MOST_SECONDS) or 0.0,
        failure=_CLASSES.get(failure) if isinstance(failure, str) else None,
        reason=_REASONS.get(reason) if isinstance(reason, str) else None,
        message=_text(value.get("message")),
        input=_text(value.get("input")),
        last=_text(value.get("last")),
        metrics=metrics_of(value.get("metrics")),
        warnings=warnings_of(value.get("warnings")),
    )


def _number(value: JSON, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value <= most else None


def _text(value: JSON) -> str:
    if not isinstance(value, str):
        return ""
    text = "".join(c if c.isprintable() else " " for c in value).strip()
    return text if len(text) <= _TEXT else f"…{text[-_TEXT:]}"
