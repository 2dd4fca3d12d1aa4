"""A comment on a pull request is bounded and harmless, whatever the pull request holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reconciler.manifests import Effect
from reconciler.planner.plan import ActionKind, Hold, HoldKind
from reconciler.reasons import Reason, ReasonCode
from reconciler.review.actions import Action
from reconciler.review.changes import Change, FieldChange, SourceMove
from reconciler.review.markdown import render_markdown
from reconciler.review.report import ObjectReview, Review
from reconciler.types import (
    Commit,
    Gpu,
    Kind,
    Location,
    ObjectRef,
    Problem,
    Resources,
    SourceField,
    TaskKind,
)

HARMFUL = [
    "@everyone", "#123", "octo/cat#7", "<img src=x onerror=alert(1)>", "![x](https://e.com/x)",
    "[x](javascript:alert(1))", "`", "```", "\n\n# big\n\n", "|a|b|\n|-|-|", "</details>",
    "https://e.com", "www.e.com", "a@e.com", ":tada:", "GH-12", "\x1b[2J", "\u202egnp", "\u2028",
    "<!--", "$x$", "~~x~~", "**x**", "\\", "\ud800", "-->", "&#64;octocat", "~~~", "    code",
]  # fmt: skip
nasty = st.lists(st.sampled_from([*HARMFUL, "a word", " "]) | st.text(max_size=4), max_size=3).map(
    "".join
)
names = st.sampled_from(["default", "digits-base", "end"]) | nasty
refs = st.builds(ObjectRef, st.sampled_from(Kind), names, names)
places = st.builds(Location, nasty, st.integers(0, 9), st.integers(0, 9))
problems = st.builds(Problem, places, nasty, nasty, st.none() | refs)
fields = st.builds(
    FieldChange,
    path=st.lists(nasty, min_size=2, max_size=4).map(lambda p: ("spec", *p)),
    before=nasty,
    after=nasty,
    effect=st.sampled_from(Effect),
)
commits = st.sampled_from([Commit("a" * 40), Commit("b" * 40)])
reasons = st.builds(Reason.read, st.sampled_from(ReasonCode), nasty)
whys = st.builds(
    Change,
    new=st.booleans(),
    fields=st.lists(fields, max_size=2).map(tuple),
    moves=st.lists(
        st.builds(SourceMove, nasty, commits, commits, st.sampled_from(SourceField)), max_size=2
    ).map(tuple),
    chain=st.lists(refs, max_size=3).map(tuple),
    root=reasons,
)
actions = st.builds(
    Action,
    action=st.sampled_from(ActionKind),
    task=st.sampled_from(TaskKind),
    ref=refs,
    key=st.none(),
    reason=reasons,
    resources=st.builds(
        Resources,
        gpu=st.none() | st.builds(Gpu, nasty, st.integers(0, 9)),
        nodes=st.integers(1, 3),
    ),
    again=st.booleans(),
)
holds = st.builds(
    Hold,
    id=st.just("0123456789ab"),
    kind=st.sampled_from(HoldKind),
    objects=st.just(frozenset()),
    tasks=st.just(1),
    gpus=st.just(0),
    reason=reasons,
)


@st.composite
def objects(draw: st.DrawFn) -> tuple[ObjectReview, ...]:
    found: list[ObjectReview] = []
    for ref in draw(st.lists(refs, max_size=3, unique=True)):
        upstream = tuple(f.ref for f in found if draw(st.booleans()))
        found.append(
            ObjectReview(
                ref=ref,
                why=draw(st.none() | whys),
                place=draw(st.none() | places),
                actions=draw(st.lists(actions, max_size=2).map(tuple)),
                free=draw(reasons),
                upstream=upstream,
            )
        )
    return tuple(found)


def made(**parts: Any) -> Review:
    nothing = {"base": Commit("a" * 40), "head": Commit("b" * 40), "actions": (), "errors": ()}
    return Review(**{**nothing, "now": datetime(2026, 1, 1, tzinfo=UTC), **parts})


reviews = st.builds(
    made,
    objects=objects(),
    errors=st.lists(problems, max_size=2).map(tuple),
    holds=st.lists(holds, max_size=1).map(tuple),
)

#: What breaks a comment is short as it is found; making it shorter takes minutes.
QUICK = [Phase.explicit, Phase.reuse, Phase.generate]
FOLD = re.compile(r"<details( open)?><summary>[A-Za-z0-9:, ]+</summary>|</details>")


def tokens(text: str) -> list[Token]:
    """Every token of a comment, those within lines too, as a forge's parser finds them."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = []
    for block in parser.parse(text):
        found += [block, *(block.children or [])]
    return found


@settings(max_examples=80, deadline=None, phases=QUICK)
@given(reviews)
def test_nothing_that_people_wrote_is_interpreted(review: Review) -> None:
    text = render_markdown(review)
    assert len(text.encode()) <= 65_536
    for token in tokens(text):
        check(token)


def check(token: Token) -> None:
    assert token.type not in {"link_open", "image", "table_open", "s_open", "code_block", "hr"}
    match token.type:
        case "html_block":
            assert FOLD.fullmatch(token.content.strip()), token.content
        case "html_inline":
            assert token.content in {"<sub>", "</sub>"}
        case "heading_open":
            assert token.tag == "h3"
        case "text":
            assert not re.search(r"[@#<>|$~\\]|://|www\.|GH-", token.content), token.content
        case "fence":
            assert token.info == "mermaid"
            for line in token.content.splitlines():
                assert GRAPH.fullmatch(line), line


LABEL = r'"(?:[A-Za-z0-9 ._/,!…-]|#\d+;|<br/>)*"'
#: A graph holds our own syntax and plain labels alone.
GRAPH = re.compile(
    rf"graph LR|  o\d+\[{LABEL}\]|  o\d+\[\({LABEL}\)\]|  o\d+ --> o\d+|  more\[{LABEL}\]"
    r"|  classDef [a-z]+ [a-z0-9#:,]+|  class [o\d,]+ [a-z]+"
)


def test_a_comment_fits_whatever_there_is_to_say() -> None:
    """Ten thousand objects, each with the longest of everything, in characters of four bytes."""
    long = "🜁`" * 500
    ref = [ObjectRef(Kind.MODEL, "default", f"model-{number}") for number in range(10_000)]
    change = FieldChange(
        path=("spec", "training", "params", long), before=long, after=long, effect=Effect.KEY
    )
    cause = Reason.read("Unknown", long)
    why = Change(fields=(change,) * 50, chain=(ref[0], *ref[:30]), root=cause)
    everything = tuple(
        ObjectReview(
            ref=each,
            why=why,
            place=Location(long, 3, 4),
            actions=(
                Action(
                    action=ActionKind.CREATE,
                    task=TaskKind.TRAIN,
                    ref=each,
                    key=None,
                    reason=Reason.read("Unknown", long),
                ),
            ),
            upstream=tuple(ref[: number % 50]),
        )
        for number, each in enumerate(ref)
    )
    errors = tuple(Problem(Location(long, n, 1), long, long) for n in range(5_000))
    hold = Hold(
        id="0123456789ab",
        kind=HoldKind.GUARD,
        objects=frozenset(ref),
        tasks=1,
        gpus=1,
        reason=Reason.read("Unknown", long),
    )
    text = render_markdown(made(objects=everything, errors=errors, holds=(hold, hold)))
    assert len(text) <= 65_536
    assert len(text.encode()) <= 65_536
    assert "more objects; `reconciler plan` lists them all" in text
    assert "more errors; `reconciler plan` lists them all" in text
    assert "0123456789ab" in text
    assert "```mermaid" in text
