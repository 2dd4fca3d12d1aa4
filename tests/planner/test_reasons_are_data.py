"""No code reads a sentence: what is decided and counted does not depend on a reason's words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

import reconciler
from reconciler.engine import Capacity, FailureClass, RunPhase
from reconciler.planner.plan import ActionKind, Plan
from reconciler.reasons import Reason, ReasonCode, message, messages
from reconciler.reasons.messages import Entry
from reconciler.review.document import plan_document
from reconciler.review.report import review
from reconciler.review.sentences import summary, symbol, verb
from reconciler.review.why import why_lines
from reconciler.types import TaskKind
from tests.planner.histories import changed
from tests.planner.world import World, finetune, scratch

PACKAGE = Path(reconciler.__file__).parent
#: The code that renders: a template may be taken apart there.
RENDERERS = {PACKAGE / "reasons" / "messages.py"}


def in_other_words(template: str) -> str:
    """Every literal part backwards; the fields stay."""
    parts = []
    for text, field, form, conversion in Formatter().parse(template):
        parts.append(text[::-1].swapcase())
        if field is not None:
            spec = f":{form}" if form else ""
            parts.append(f"{{{field}{f'!{conversion}' if conversion else ''}{spec}}}")
    return "".join(parts)


def other_language() -> dict[ReasonCode, Entry]:
    return {
        code: replace(entry, template=in_other_words(entry.template))
        for code, entry in messages.MESSAGES.items()
    }


def without_messages(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_messages(v) for name, v in value.items() if name != "message"}
    return [without_messages(v) for v in value] if isinstance(value, list) else value


def facts(world: World, before: Plan | None = None) -> tuple[Plan, list[Any]]:
    """What a plan decides, and what every form of it says apart from a reason's own words."""
    plan = world.plan()
    found = review(plan, before=before or plan, errors=())
    heads = []
    for action in found.actions:
        words = verb(action, found.now)
        # Of a creation the whole is ours but for what follows a colon, of others the first word.
        ours = words.split(":")[0] if action.action is ActionKind.CREATE else words.split()[0]
        heads.append((symbol(action), ours.split(",")[0].strip(":")))
    return plan, [
        without_messages(plan_document(found)),
        found.changes,
        summary(found),
        heads,
        [(each.ref, each.free and each.free.code) for each in found.objects],
        {ref: reason.code for ref, reason in plan.kept.items()},
        [[depth for depth, _ in why_lines(plan, ref)] for ref in sorted(plan.inputs.desired)],
    ]


def statuses(world: World) -> list[Any]:
    return [
        (ref, known.phase, known.reason, known.hold, [(t.phase, t.reason) for t in known.tasks])
        for ref, known in sorted(world.records.items())
    ]


def histories() -> Iterator[Any]:
    """Names that are words of messages, and every way in which a task can stand."""
    names = ["failure-detector", "held", "superseded", "already", "waiting-for", "shared-with"]
    world = World({f"{name}.yaml": scratch(name) for name in names})
    world.files["b.yaml"] = finetune("b", "failure-detector")
    plan, found = facts(world)
    yield found
    world.sync()
    yield facts(world)[1], statuses(world)

    for name in world.live():
        world.succeed(name)
    world.sync()
    for name in world.live():
        world.start(name)
    world.sync()
    yield facts(world)[1], statuses(world)
    # The run of a base fails; another's node is not heard of; a third is superseded.
    world.fail(world.run_of("failure-detector", TaskKind.TRAIN))
    lost = world.run_of("held", TaskKind.TRAIN)
    unheard = Reason.of(ReasonCode.NODE_UNREACHABLE, nodes="node1")
    world.runs[lost] = replace(world.runs[lost], lost=True, reason=unheard)
    world.files["held.yaml"] = changed("held", 4)
    world.files["superseded.yaml"] = changed("superseded", 9)
    yield facts(world, plan)[1]
    world.sync()
    yield facts(world, plan)[1], statuses(world)
    world.files["failure-detector.yaml"] = scratch("failure-detector", ", retries: 3")
    yield facts(world, plan)[1]

    done = World({f"{n}.yaml": scratch(f"m{n}") for n in range(14)})
    done.files["tuned.yaml"] = finetune("tuned", "m0")
    done.settle()
    before = done.plan()
    yield facts(done)[1], statuses(done)
    kept = dict(done.files)
    done.files = {name: done.files[name] for name in ("0.yaml", "tuned.yaml")}
    yield facts(done, before)[1]
    done.sync()
    yield statuses(done)
    done.files = kept
    done.settings = replace(done.settings, guard_tasks=1, limit_runs=1)
    done.files["0.yaml"] = changed("m0", 4)
    yield facts(done, before)[1]
    done.sync()
    yield statuses(done)

    odd = World({"a.yaml": scratch("a"), "b.yaml": scratch("b", ", resources: {gpu: {count: 9}}")})
    odd.capacity = Capacity(containers=True, gpus=1)
    odd.trees[".//src/a"] = "unreachable"
    odd.files["c.yaml"] = finetune("c", "a")
    odd.files["d.yaml"] = scratch("d") + "  suspend: true\n"
    odd.files["e.yaml"] = finetune("e", "nowhere")
    odd.files["bad.yaml"] = scratch("bad").replace("epochs", "oops: [")
    yield facts(odd)[1]
    odd.sync()
    for name in odd.live():
        odd.fail(name, FailureClass.INFRASTRUCTURE)
    odd.sync()
    yield facts(odd)[1], statuses(odd)
    assert any(run.phase is RunPhase.FAILED for run in odd.runs.values()) or odd.records


def test_nothing_but_words_changes_in_another_language(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = list(histories())
    monkeypatch.setattr(messages, "MESSAGES", other_language())
    assert message(Reason.of(ReasonCode.RUNNING)) == "GNINNUR"
    for here, there in zip(ours, histories(), strict=True):
        assert here == there


class Sentence(str):
    """A rendered message that code may carry, join and print, but not read."""

    __slots__ = ()

    def _read(self, *_: object, **__: object) -> Any:
        raise AssertionError(f"code reads the message {str.__str__(self)!r}")

    startswith = endswith = find = rfind = index = rindex = count = _read
    split = rsplit = splitlines = partition = rpartition = removeprefix = removesuffix = _read
    __contains__ = _read

    def __eq__(self, other: object) -> bool:
        # Two messages may be compared, as records are: an empty one stands for none.
        return str.__eq__(self, other) if isinstance(other, Sentence) or not other else self._read()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class Template(str):
    """A template that makes such sentences."""

    __slots__ = ()

    def format_map(self, mapping: Any, /) -> Sentence:
        return Sentence(str.format_map(self, mapping))


def test_no_code_reads_what_it_has_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    read_only = {
        code: replace(entry, template=Template(entry.template))
        for code, entry in messages.MESSAGES.items()
    }
    monkeypatch.setattr(messages, "MESSAGES", read_only)
    assert type(message(Reason.of(ReasonCode.RUNNING))) is Sentence
    assert len(list(histories())) > 8


def test_a_sentence_that_is_read_is_noticed() -> None:
    for read in (
        lambda text: text == "running",
        lambda text: "run" in text,
        lambda text: text.startswith("run"),
        lambda text: text.partition(":"),
    ):
        with pytest.raises(AssertionError, match="code reads"):
            read(Sentence("running"))


def test_a_base_called_failure_makes_nothing_run_once_more() -> None:
    world = World(
        {"m.yaml": scratch("failure-detector"), "b.yaml": finetune("b", "failure-detector")}
    )
    found = review(world.plan(), before=World().plan(), errors=())
    (created,) = [a for a in found.actions if a.ref.name == "b"]
    assert verb(created, found.now).startswith("runs for the first time, after")


# -- in the source -------------------------------------------------------------------------


class _Readers(ast.NodeVisitor):
    """Comparisons with, searches in and tests on what `message` returns or a `.message` holds."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        constant = any(isinstance(s, ast.Constant) and isinstance(s.value, str) for s in sides)
        if constant and any(_is_sentence(side) for side in sides):
            self.found.append(node.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        reads = {"startswith", "endswith", "find", "index", "partition", "split", "removeprefix"}
        match node.func:
            case ast.Attribute(value=value, attr=name) if name in reads and _is_sentence(value):
                self.found.append(node.lineno)
        self.generic_visit(node)


def _is_sentence(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="message" | "waits")):
            return True
        case ast.Attribute(value=ast.Attribute(attr="reason"), attr="message" | "recorded"):
            return True
        case ast.Attribute(value=ast.Name(id="record" | "action" | "decision" | "task" | "entry")):
            return node.attr == "message"
    return False


def test_no_code_compares_or_searches_a_rendered_message() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path not in RENDERERS:
            readers = _Readers()
            readers.visit(ast.parse(path.read_text(encoding="utf-8")))
            found += [f"{path.relative_to(PACKAGE)}:{line}" for line in readers.found]
    assert found == []


def test_a_reason_cannot_become_text_by_accident() -> None:
    with pytest.raises(TypeError, match="message"):
        str(Reason.of(ReasonCode.RUNNING))


def test_reasons_of_one_code_have_hashes_of_their_own() -> None:
    reasons = [Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=str(n)) for n in range(100)]
    assert len({hash(reason) for reason in reasons}) == 100


def test_equal_reasons_have_one_hash_whatever_the_order_of_their_arguments() -> None:
    code = ReasonCode.BUCKET_DRIVER_MISSING
    one, other = Reason(code, {"url": "u", "known": "k"}), Reason(code, {"known": "k", "url": "u"})
    assert one == other
    assert hash(one) == hash(other)
