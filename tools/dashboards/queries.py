"""PromQL, of the daemons that are chosen."""

from __future__ import annotations

#: The chosen daemons, as a selector without its braces.
CHOSEN = 'job=~"$job"'


def of(metric: str, *more: str) -> str:
    """A metric of theirs; ``more`` narrows it down."""
    return f"reconciler_{metric}{{{','.join((CHOSEN, *more))}}}"


def total(metric: str, *more: str, by: str = "") -> str:
    """Its sum, by labels if any are given: ``"task, phase"``."""
    return f"sum{_by(by)}({of(metric, *more)})"


def grown(metric: str, *, by: str = "") -> str:
    """By how much a counter has grown within a step of the graph."""
    return f"sum{_by(by)}(increase({of(metric)}[$__rate_interval]))"


def quantile(share: float, histogram: str, *, over: str, by: str = "") -> str:
    """A quantile of a histogram of seconds; ``over`` is the time that each point looks back."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({of(f'{histogram}_duration_seconds_bucket')}[{over}])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate}))"


def with_folder(expr: str) -> str:
    """With a label more, for links: the folder of the object's status file."""
    models = f'label_replace({expr}, "folder", "models", "kind", "Model")'
    return f'label_replace({models}, "folder", "datasets", "kind", "Dataset")'


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
