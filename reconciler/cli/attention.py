"""Objects that need a user, with the whole message and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.planner import ObjectStatus, Phase
from reconciler.reasons import ReasonCode, remedy

#: Phases that only a user ends. The errors of Invalid objects are listed by file and line.
_PHASES = (Phase.FAILED, Phase.HELD, Phase.LOST)
_SHOWN_NAMES = 5


def attention(records: Iterable[ObjectStatus]) -> Iterator[str]:
    """Yield lines about the objects that are Failed, Held or Lost.

    Objects with the same message, as those of a hold, are named together.
    """
    groups: dict[tuple[Phase, str, str], list[ObjectStatus]] = {}
    for record in sorted(records, key=lambda record: record.ref):
        if record.phase in _PHASES:
            groups.setdefault((record.phase, record.reason, record.message), []).append(record)
    for (phase, reason, message), found in groups.items():
        yield f"  {_names(found)} {'is' if len(found) == 1 else 'are'} {phase}: {message}"
        todo = remedy(ReasonCode.known(reason))
        if phase is Phase.FAILED:
            todo += f" `reconciler logs {found[0].ref.name}` prints the log."
        if todo:
            yield f"    What to do: {todo.strip()}"


def _names(records: list[ObjectStatus]) -> str:
    more = len(records) - _SHOWN_NAMES
    names = ", ".join(str(record.ref) for record in records[:_SHOWN_NAMES])
    return f"{names} and {more} more" if more > 0 else names
