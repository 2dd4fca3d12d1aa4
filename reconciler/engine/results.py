"""Results of runs: artifacts or images, with metrics and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.codec import Codec, CodecError
from reconciler.reasons import WARNINGS, Reason, message
from reconciler.types import (
    JSON,
    Metrics,
)

#: Metrics go into every status file and page: a curve belongs in a file of its own.
MOST_METRICS = 100


LONGEST_METRIC = 100


_LONGEST_WARNING = 1000


#: Beyond it a double does not hold each integer; RFC 8785 has the same bound.
_EXACT = 2**53 - 1


def metric_of(value: JSON) -> int | float | None:
    """Return the number that is kept of a metric.

    None if it is no finite number. An integer stays one, unless other readers of JSON would not
    read it exactly.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_metric_name(name: str) -> bool:
    """Return whether a name can stand in every status file and page."""
    return 0 < len(name) <= LONGEST_METRIC and name.isprintable()


def metrics_of(value: JSON) -> dict[str, int | float]:
    """Return the usable metrics of a flat object, within the bounds."""
    if not isinstance(value, dict):
        return {}
    known = ((name, metric_of(number)) for name, number in value.items() if is_metric_name(name))
    kept = [(name, number) for name, number in known if number is not None]
    return dict(kept[:MOST_METRICS])


@dataclass(frozen=True, slots=True)
class ResultWarning:
    """Something wrong with a result that is complete all the same.

    It becomes a condition of the object. ``reason`` is the code's value, ``message`` its sentence.
    """

    reason: str
    message: str

    @classmethod
    def of(cls, reason: Reason) -> ResultWarning:
        """Make the warning of a reason."""
        return cls(reason.code.value, message(reason))

    def to_json(self) -> JSON:
        """Return the warning as a marker has it."""
        return _WARNING.dump(self)


_WARNING = Codec(ResultWarning)


def warnings_of(value: JSON) -> tuple[ResultWarning, ...]:
    """Read warnings that a command may have written.

    Anything else is passed over.
    """
    found: list[ResultWarning] = []
    for item in value if isinstance(value, list) else []:
        with suppress(CodecError):
            found.append(_WARNING.load(item))
    return usable_warnings(found)


def usable_warnings(warnings: Iterable[ResultWarning]) -> tuple[ResultWarning, ...]:
    """Return one warning of each known code, printable and bounded."""
    found: dict[str, ResultWarning] = {}
    for warning in warnings:
        if warning.reason in WARNINGS:
            clean = "".join(c if c.isprintable() else " " for c in warning.message)
            usable = ResultWarning(warning.reason, clean[:_LONGEST_WARNING])
            found.setdefault(warning.reason, usable)
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A completed task's result: an image reference (build) or an artifact directory."""

    image: str | None = None
    url: str | None = None
    metrics: Metrics = field(default_factory=dict)
    gpu_seconds: float = 0.0
    warnings: tuple[ResultWarning, ...] = ()
