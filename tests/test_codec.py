"""Formats of dataclasses: what is left out, versions, and the first use by several threads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from reconciler.codec import Codec, CodecError, Omit

#: In a process of its own, as a crash would end the tests.
CHILD = """
import random, sys, threading
from reconciler.codec import Codec
from reconciler.engine import RunSpec
from tests.specs import train

sys.setswitchinterval(1e-6)
tree = Codec(RunSpec, omit="none").dump(train())
for number in range(100):
    codec, chance = Codec(RunSpec, omit="none"), random.Random(number)
    threads = [
        threading.Timer(chance.random() / 250, codec.load, args=(tree,)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_read_a_format_for_the_first_time_at_once_do_not_crash() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part with fields that are as the class has them."""

    name: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole of parts."""

    key: str | None
    part: Part = Part()
    parts: tuple[Part, ...] = ()


@pytest.mark.parametrize(
    ("omit", "tree"),
    [
        ("none", {"part": {"size": 0}, "parts": [{"size": 0}]}),
        ("default", {"parts": [{}]}),
        (
            "nothing",
            {
                "key": None,
                "part": {"name": None, "size": 0},
                "parts": [{"name": None, "size": 0}],
            },
        ),
    ],
)
def test_fields_are_left_out_as_the_format_says_and_read_all_the_same(
    omit: Omit, tree: object
) -> None:
    codec, whole = Codec(Whole, omit=omit), Whole(key=None, parts=(Part(),))
    assert codec.dump(whole) == tree
    assert codec.load(tree) == whole


def test_a_version_stands_first_and_no_other_is_read() -> None:
    codec = Codec(Part, version=2)
    assert list(codec.dump(Part(name="a")).items()) == [("version", 2), ("name", "a")]
    assert codec.load({"version": 2, "name": "a"}) == Part(name="a")
    others: tuple[object, ...] = ({"version": 1, "name": "a"}, {"name": "a"}, [], None)
    for tree in others:
        with pytest.raises(CodecError, match="version: expected 2, found"):
            codec.load(tree)
