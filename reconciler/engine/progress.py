"""Progress of attempts: what commands report of themselves while they run.

A report is a JSON object with any of ``progressPercentage``, ``estimatedRemainingSeconds``,
``step`` and ``metrics``: the content of ``PROGRESS_FILE``, or the body of a request as Kubeflow
Trainer's SDK sends it, where the object is within ``trainerStatus``. A command may write anything
there: what cannot be used is dropped and counted, and never an error of the run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from reconciler.codec import Codec
from reconciler.engine.results import MOST_METRICS, is_metric_name, metric_of
from reconciler.types import JSON, Metrics

if TYPE_CHECKING:
    from reconciler.engine.curves import Curves
    from reconciler.engine.logs import LogOf

#: Bytes of a report.
LONGEST_REPORT = 64 << 10

_VERSION = 1
#: Seconds of what is reported.
MOST_SECONDS = 1e9
#: The metric in which the callback of `transformers` has the step.
_STEP_METRIC = "current_step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The usable part of a report.

    ``percentage`` is 0 to 100, ``remaining`` in seconds.
    """

    percentage: float | None = None
    remaining: float | None = None
    step: int | float | None = None
    metrics: Metrics = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.metrics) or any(
            value is not None for value in (self.percentage, self.remaining, self.step)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The newest values that an attempt reported.

    Each is as of its own report.
    ``at`` is the time of the newest report, by which ``remaining`` counts, and ``seconds`` that
    since the attempt began. ``dropped`` counts the values, and reports, that were not usable.
    """

    attempt: int
    at: datetime
    seconds: float = 0.0
    percentage: float | None = None
    remaining: float | None = None
    step: int | float | None = None
    metrics: Metrics = field(default_factory=dict)
    dropped: int = 0

    @property
    def ratio(self) -> float | None:
        """The progress between 0 and 1."""
        return None if self.percentage is None else self.percentage / 100

    def remaining_at(self, now: datetime) -> float | None:
        """Return the seconds that remain; None if unknown.

        They are as reported, else as the percentage has grown so far.
        """
        remaining = self.remaining
        if remaining is None and self.percentage is not None and self.percentage >= 1:
            remaining = self.seconds * (100 - self.percentage) / self.percentage
        if remaining is None:
            return None
        return max(0.0, remaining - max(0.0, (now - self.at).total_seconds()))

    def updated(self, report: Report, *, at: datetime, seconds: float, dropped: int) -> Progress:
        """Return the progress after another report. Metrics are bounded."""
        metrics = {**self.metrics, **report.metrics}
        kept = dict(list(metrics.items())[:MOST_METRICS])

        def newer(value: float | None, before: float | None) -> float | None:
            return before if value is None else value

        return Progress(
            attempt=self.attempt,
            at=at,
            seconds=round(seconds, 3),
            percentage=newer(report.percentage, self.percentage),
            # It counts from the time of its own report.
            remaining=newer(report.remaining, self.remaining and self.remaining_at(at)),
            step=newer(report.step, self.step),
            metrics=kept,
            dropped=self.dropped + dropped + len(metrics) - len(kept),
        )


#: The format of ``progress.json``: the newest values.
PROGRESS: Codec[Progress] = Codec(
    Progress,
    omit="none",
    names={"percentage": "progressPercentage", "remaining": "estimatedRemainingSeconds"},
    timespec="microseconds",
    version=_VERSION,
)


class ProgressReader(Protocol):
    """Reader of the progress of an engine's runs."""

    def latest(self, run: str) -> Progress | None:
        """Return the progress of a live run's attempt; None without a report."""
        ...

    async def curves(self, log: LogOf) -> Curves | None:
        """Return the curves beside a log; None where there are none.

        No content of a file raises an error.
        """
        ...


def report_token(key: bytes, run: str) -> str:
    """Derive the token of a run's reports, for this run alone."""
    return hmac.new(key, f"progress/{run}".encode(), hashlib.sha256).hexdigest()


def read_report(data: bytes) -> tuple[Report, int]:
    """Return the usable part of a report, and the unusable values' number.

    A report that is too long, or no JSON object, counts as one.
    """
    if len(data) > LONGEST_REPORT:
        return Report(), 1
    try:
        value: JSON = json.loads(data)
    except (ValueError, RecursionError):
        return Report(), 1
    if isinstance(value, dict) and isinstance(value.get("trainerStatus"), dict):
        value = value["trainerStatus"]
    if not isinstance(value, dict):
        return Report(), 1
    percentage, bad = _bounded(value.get("progressPercentage"), 100)
    remaining, worse = _bounded(value.get("estimatedRemainingSeconds"), MOST_SECONDS)
    step = _number(value.get("step"))
    metrics, worst = _metrics(value.get("metrics"))
    unread = int(step is None and value.get("step") is not None)
    if step is None and not unread:
        step = metrics.get(_STEP_METRIC)
    report = Report(percentage=percentage, remaining=remaining, step=step, metrics=metrics)
    return report, bad + worse + worst + unread


def _bounded(value: JSON, most: float) -> tuple[float | None, int]:
    number = _number(value)
    if number is None or not 0 <= number <= most:
        return None, int(value is not None)
    return number, 0


def _number(value: JSON) -> int | float | None:
    """Return a finite number; the SDK sends metrics as text."""
    if not isinstance(value, str):
        return metric_of(value)
    if len(value) > 40 or not value.isascii():
        return None
    try:
        return metric_of(int(value) if value.strip().lstrip("+-").isdigit() else float(value))
    except ValueError:
        return None


def _metrics(value: JSON) -> tuple[dict[str, int | float], int]:
    if value is None:
        return {}, 0
    pairs: list[tuple[JSON, JSON]] = []
    bad = 0
    if isinstance(value, dict):
        pairs += value.items()
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                pairs.append((item.get("name"), item.get("value")))
            else:
                bad += 1
    else:
        return {}, 1
    kept: dict[str, int | float] = {}
    for name, given in pairs:
        number = _number(given)
        usable = isinstance(name, str) and is_metric_name(name) and number is not None
        if usable and (len(kept) < MOST_METRICS or name in kept):
            assert isinstance(name, str)
            assert number is not None
            kept[name] = number
        else:
            bad += 1
    return kept, bad
