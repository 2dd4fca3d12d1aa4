"""Lines about objects that need a user, for ``run --once``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.planner import ObjectStatus, Phase, Plan, TaskAction, TaskPhase
from reconciler.reasons import ReasonCode, remedy
from reconciler.review import failure_remedy, log_command, variant_text

#: Phases that only a user ends. The errors of Invalid objects are listed by file and line.
_PHASES = (Phase.FAILED, Phase.REJECTED, Phase.HELD, Phase.LOST)
_SHOWN_NAMES = 5


def attention(records: Iterable[ObjectStatus], plan: Plan | None) -> Iterator[str]:
    """Yield lines about the objects that are Failed, Rejected, Held or Lost.

    Objects with the same message, as those of a hold, are named together. ``plan`` is the one that
    the records are of.
    """
    groups: dict[tuple[Phase, str, str], list[ObjectStatus]] = {}
    for record in sorted(records, key=lambda record: record.ref):
        if record.phase in _PHASES:
            groups.setdefault((record.phase, record.reason, record.message), []).append(record)
    for (phase, reason, message), found in groups.items():
        yield f"  {_names(found)} {'is' if len(found) == 1 else 'are'} {phase}: {message}"
        failed = _failed(found[0], plan) if plan is not None else None
        if failed is None or plan is None:
            todo, log = remedy(ReasonCode.known(reason)), ""
        else:
            todo, log = failure_remedy(plan, failed), log_command(failed, found[0])
        shown = [todo, f"`{log}` prints its log." if log else ""]
        if any(shown):
            yield f"    What to do: {' '.join(filter(None, shown))}"


def variant_warnings(records: Iterable[ObjectStatus]) -> Iterator[str]:
    """Yield a line about each Ready sweep with failed trainings."""
    for record in sorted(records, key=lambda record: record.ref):
        failed = [each for each in record.variants if each.phase is TaskPhase.FAILED]
        if record.phase is not Phase.READY or not failed:
            continue
        shown = [f"{variant_text(each.params)}: {each.message}" for each in failed[:_SHOWN_NAMES]]
        more = f"; and {len(failed) - len(shown)} more" if len(failed) > len(shown) else ""
        yield (
            f"warning: {record.ref} is Ready, and {len(failed)} of its {len(record.variants)} "
            f"trainings failed: {'; '.join(shown)}{more}"
        )


def waiting_lines(records: Iterable[ObjectStatus]) -> Iterator[str]:
    """Yield lines about objects that wait, those with the same message together."""
    groups: dict[str, list[ObjectStatus]] = {}
    for record in records:
        groups.setdefault(record.message, []).append(record)
    for message, found in groups.items():
        yield f"  {_names(found)}: {message}"


def _failed(record: ObjectStatus, plan: Plan) -> TaskAction | None:
    """Return the failed task that an object is Failed for."""
    actions = plan.decisions_of(record.ref) if record.phase is Phase.FAILED else ()
    failed = (action for action in actions if action.phase is TaskPhase.FAILED)
    return next((each for each in failed if each.reason.code.value == record.reason), None)


def _names(records: list[ObjectStatus]) -> str:
    more = len(records) - _SHOWN_NAMES
    names = ", ".join(str(record.ref) for record in records[:_SHOWN_NAMES])
    return f"{names} and {more} more" if more > 0 else names
