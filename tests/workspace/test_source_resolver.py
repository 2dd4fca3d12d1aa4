"""Sources of an object and of its evaluation: requested apart, and previewed as recorded."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest

from reconciler.git import Repository
from reconciler.manifests import Manifest, read_file
from reconciler.planner import ObjectStatus, Phase, PlanCache
from reconciler.planner.object_status import ManifestStatus, SourceStatus
from reconciler.reasons import ReasonCode, UnresolvedSource
from reconciler.types import (
    Commit,
    GitSource,
    Kind,
    ObjectRef,
    ResolvedSource,
    SourceField,
    TaskKey,
    TreeId,
)
from reconciler.workspace.source_resolver import SourceResolver

CODE, TEST = "https://git.test/team/code", "https://git.test/team/test"
REF = ObjectRef(Kind.MODEL, "default", "m")
HEAD = Commit("a" * 40)
AWAY = UnresolvedSource.unavailable("connection refused")


def manifests(code: str = CODE, test: str = TEST) -> Mapping[ObjectRef, Manifest]:
    text = (
        "kind: Model\nmetadata: {name: m}\nspec:\n"
        f"  source: {{git: {{url: '{code}'}}}}\n"
        f"  evaluation: {{command: [test.sh], source: {{git: {{url: '{test}'}}}}}}\n"
    )
    content = read_file("m.yaml", text.encode())
    assert not content.problems
    return {manifest.ref: manifest for manifest in content.manifests}


def at(digit: str) -> ResolvedSource:
    return ResolvedSource(Commit(digit * 40), TreeId(digit * 40))


@pytest.fixture
def resolver(tmp_path: Path) -> SourceResolver:
    repository = Repository(pygit2.init_repository(str(tmp_path / "r.git"), bare=True))
    return SourceResolver(
        repository, "https://git.test/team/models", ("https://git.test/team/*",), recorded=True
    )


def test_what_is_the_source_of_a_model_and_of_its_test_is_looked_up_once(
    resolver: SourceResolver,
) -> None:
    asked: list[AbstractSet[GitSource]] = []

    def remote(sources: AbstractSet[GitSource], _: object) -> Mapping[GitSource, ResolvedSource]:
        asked.append(sources)
        return dict.fromkeys(sources, at("1"))

    found = replace(resolver, remote=remote)
    objects = manifests(test=CODE)
    requests, states = found.resolve(objects, HEAD, {}, PlanCache())
    assert requests[REF].keys() == set(SourceField)
    assert asked == [{GitSource(url=CODE)}]
    assert states == {GitSource(url=CODE): at("1")}


def test_a_test_that_is_not_allowed_is_not_looked_up(resolver: SourceResolver) -> None:
    objects = manifests(test="https://git.test/other/test")
    remote = replace(resolver, remote=lambda sources, _: dict.fromkeys(sources, at("1")))
    requests, states = remote.resolve(objects, HEAD, {}, PlanCache())
    refused = requests[REF][SourceField.EVALUATION]
    assert isinstance(refused, UnresolvedSource)
    assert refused.reason.code is ReasonCode.SOURCE_NOT_ALLOWED
    assert states.keys() == {GitSource(url=CODE)}


def record(*, desired: TaskKey | None, unread: bool) -> ObjectStatus:
    return ObjectStatus(
        ref=REF,
        phase=Phase.WAITING if unread else Phase.READY,
        reason=ReasonCode.SOURCE_UNAVAILABLE if unread else "",
        message="it was away" if unread else "",
        manifest=ManifestStatus(path="m.yaml", commit=HEAD, digest=manifests()[REF].digest),
        source=SourceStatus(url=CODE, commit=at("1").commit, tree=at("1").tree, pin="1" * 40),
        evaluation_source=SourceStatus(
            url=TEST, commit=at("2").commit, tree=at("2").tree, pin="2" * 40
        ),
        desired=desired,
    )


@pytest.mark.parametrize(
    ("desired", "unread", "code", "test"),
    [
        (TaskKey("3" * 40), False, at("1"), at("2")),
        (None, True, "it was away", at("2")),
        (TaskKey("3" * 40), True, at("1"), "it was away"),
    ],
)
def test_a_preview_takes_each_source_as_the_daemon_left_it(
    resolver: SourceResolver,
    desired: TaskKey | None,
    unread: bool,
    code: ResolvedSource | str,
    test: ResolvedSource | str,
) -> None:
    known = record(desired=desired, unread=unread)
    away = replace(resolver, remote=lambda sources, _: dict.fromkeys(sources, AWAY))
    _, states = away.resolve(manifests(), HEAD, {REF: known}, PlanCache())
    for source, expected in ((CODE, code), (TEST, test)):
        state = states[GitSource(url=source)]
        if isinstance(state, UnresolvedSource):
            assert state.reason.recorded == expected
        else:
            assert state == expected
