"""Whatever others write, reading it ends in a result or in the error that is documented."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import inputs
from tests.fuzz.target import CORPUS, FOUND, Target
from tests.fuzz.targets import TARGETS

#: Bytes of all files of the corpus.
_LARGEST_CORPUS = 200_000
_SEEDS = [
    pytest.param(target, data, id=f"{target.name}/{name}")
    for target in TARGETS.values()
    for name, data in target.seeds().items()
]


@pytest.mark.parametrize(("target", "data"), _SEEDS)
def test_each_input_of_the_corpus_is_read(target: Target, data: bytes, tmp_path: Path) -> None:
    target.check(data, tmp_path)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_seeds_are_valid(target: Target, tmp_path: Path) -> None:
    """A search that begins with what is refused at once finds nothing."""
    for name, data in target.seeds().items():
        if not name.startswith(FOUND):
            target.parse(data, tmp_path)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_any_input_is_read(target: Target) -> None:
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=300,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(inputs(target))
        def read(data: bytes) -> None:
            target.check(data, Path(folder))

        read()


def test_the_corpus_is_small_and_of_the_targets() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < _LARGEST_CORPUS
    assert {path.parent.name for path in files} == set(TARGETS)


@given(st.data())
def test_a_mutation_is_within_the_size_of_an_input(data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(list(TARGETS.values())))
    assert len(data.draw(inputs(target))) <= target.largest
