"""Lines of ``spec.evaluation.require``, each a comparison of one metric.

The grammar is ``metric op number`` or ``metric op current.metric [± number]``, with one of
``>= <= == > <``. ``current`` is the accepted artifact.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_METRIC = r"[A-Za-z_][-A-Za-z0-9_./@%:]{0,99}"
#: The name of a metric.
METRIC = rf"^{_METRIC}$"
_UNSIGNED = r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,2})?"
_OPERATOR = r"(>=|<=|==|>|<)"
#: The form of a line, for editors too; see :data:`reconciler.manifests.patterns.IN_WORDS`.
PATTERN = (
    rf"^\s{{0,9}}{_METRIC}\s{{0,9}}{_OPERATOR}\s{{0,9}}"
    rf"([-+]?{_UNSIGNED}|current\.{_METRIC}(\s{{1,9}}[-+]\s{{0,9}}{_UNSIGNED})?)\s{{0,9}}$"
)
IN_WORDS = (
    'a comparison such as "accuracy >= 0.95" or "accuracy >= current.accuracy - 0.005", with one '
    "of >= <= == > <, and blanks around the + or - after a metric"
)
_LINE = re.compile(
    rf"\s*(?P<metric>{_METRIC})\s*(?P<op>{_OPERATOR})\s*"
    rf"((?P<number>[-+]?{_UNSIGNED})|current\.(?P<current>{_METRIC})"
    rf"(\s+(?P<sign>[-+])\s*(?P<offset>{_UNSIGNED}))?)\s*"
)
_CURRENT = "current."
#: ``current.accuracy-0.005`` would be a metric of that name.
_UNSPACED = re.compile(rf"-{_UNSIGNED}$")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """One line: a metric, an operator, and a number.

    With ``current`` the number is added to that metric of the accepted artifact. ``text`` is the
    line as the manifest has it.
    """

    text: str
    metric: str
    op: str
    number: float
    current: str | None = None

    def bound(self, current: Mapping[str, float]) -> float | None:
        """Return the number to compare with.

        None if the accepted artifact has no such metric.
        """
        if self.current is None:
            return self.number
        known = current.get(self.current)
        return known + self.number if known is not None else None

    def holds(self, value: float, bound: float) -> bool:
        """Return whether a value passes; NaN never does."""
        return _OPERATORS[self.op](value, bound)


def parse_gate_line(text: str) -> GateLine:
    """Parse a line. Raises ValueError."""
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError(f'expected {IN_WORDS}, found "{text[:80]}"')
    if found["metric"].startswith(_CURRENT):
        raise ValueError(f'expected current.… after the comparison, found "{text[:80]}"')
    current = found["current"]
    if current is not None and _UNSPACED.search(current):
        raise ValueError(f'expected blanks around the -, found "{text[:80]}"')
    number = float(found["number"] or f"{found['sign'] or ''}{found['offset'] or 0}")
    return GateLine(
        text=text.strip(), metric=found["metric"], op=found["op"], number=number, current=current
    )
