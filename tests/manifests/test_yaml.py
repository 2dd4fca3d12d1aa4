"""YAML 1.2, located and bounded."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.yaml import LARGEST_FILE, read_documents
from reconciler.types import JSON, Location


def value(text: str, file: str = "f.yaml") -> JSON:
    documents, problems = read_documents(text.encode(), file)
    assert problems == []
    (document,) = documents
    return document.value


def wrong(data: str | bytes, file: str = "f.yaml") -> list[str]:
    raw = data.encode() if isinstance(data, str) else data
    return [str(problem) for problem in read_documents(raw, file)[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ('"010"', "010"),
        ("'true'", "true"),
        ("!!str 010", "010"),
        ("0x", "0x"),
        ("0o9", "0o9"),
        ("=", "="),
    ],
)
def test_scalars_are_resolved_by_the_core_schema(text: str, expected: JSON) -> None:
    found = value(f"key: {text}\n")
    assert isinstance(found, dict)
    assert found["key"] == expected
    assert type(found["key"]) is type(expected)


def test_nan_is_a_number() -> None:
    found = value("key: .nan")
    assert isinstance(found, dict)
    assert math.isnan(float(str(found["key"])))


def test_keys_that_yaml_1_1_would_turn_into_booleans_stay_text() -> None:
    assert value("on: 1\nno: 2\n") == {"on": 1, "no": 2}


def test_what_libyaml_refuses_but_yaml_1_2_allows_is_read() -> None:
    assert value("{url: https://example.com/x}") == {"url": "https://example.com/x"}


def test_json_may_be_indented_by_tabs() -> None:
    assert value('{\n\t"a": [\n\t\t1\n\t]\n}', "f.json") == {"a": [1]}


def test_a_character_that_json_writes_as_two_escapes_is_one() -> None:
    assert value('{"a": "\\ud83d\\ude00"}', "f.json") == {"a": "😀"}


def test_half_of_such_a_character_is_an_error() -> None:
    assert wrong('{"a": "\\ud83d"}') == ["f.yaml:1:7: a: half of a surrogate pair is no character"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(width=64),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values.filter(lambda v: v is not None and "\x00" not in json.dumps(v)))
def test_json_is_read_as_json(given_value: JSON) -> None:
    text = json.dumps(given_value)
    if "NaN" in text or "Infinity" in text:
        return  # these are not JSON
    assert value(text, "f.json") == json.loads(text)


def test_several_documents_are_located_in_their_file() -> None:
    text = "# a comment\na: 1\n---\n---\nb:\n  - 1\n  - {c: 2}\n...\n"
    documents, problems = read_documents(text.encode(), "f.yaml")
    assert problems == []
    assert [document.value for document in documents] == [{"a": 1}, {"b": [1, {"c": 2}]}]
    second = documents[1]
    assert second.locate(()) == Location("f.yaml", 5, 1)
    assert second.locate(("b",)) == Location("f.yaml", 5, 1)
    assert second.locate(("b", 0)) == Location("f.yaml", 6, 5)
    assert second.locate(("b", 1, "c")) == Location("f.yaml", 7, 6)


def test_what_is_not_there_is_located_at_the_nearest_thing_around_it() -> None:
    (document,) = read_documents(b"a:\n  b: 1\n", "f.yaml")[0]
    assert document.locate(("a", "c", "d")) == Location("f.yaml", 1, 1)
    assert document.locate(("a", "b", "c")) == Location("f.yaml", 2, 3)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert value("\ufeffa: 1") == {"a": 1}


def test_anchors_and_merges_serve_a_sweep() -> None:
    text = """
base: &base {epochs: 3, lr: 0.1}
low: {<<: *base, lr: 0.01}
both: {<<: [{epochs: 9}, *base]}
quoted: {"<<": *base}
"""
    assert value(text) == {
        "base": {"epochs": 3, "lr": 0.1},
        "low": {"epochs": 3, "lr": 0.01},
        "both": {"epochs": 9, "lr": 0.1},
        "quoted": {"<<": {"epochs": 3, "lr": 0.1}},
    }


def test_a_value_given_later_wins_over_a_merged_one_given_before() -> None:
    assert value("base: &b {x: 1}\nderived:\n  <<: *b\n  x: 2\n") == {
        "base": {"x": 1},
        "derived": {"x": 2},
    }


def test_changing_one_use_of_an_anchor_does_not_change_the_other() -> None:
    found = value("a: &a {x: {y: 1}}\nb: *a\nc: {<<: *a}\n")
    assert isinstance(found, dict)
    for name in ("b", "c"):
        part = found[name]
        assert isinstance(part, dict)
        part["x"] = "changed"
    assert found["a"] == {"x": {"y": 1}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ['f.yaml:3:1: a: the key "a" is given twice, first in line 1']),
        ("p:\n  1: x\n", ['f.yaml:2:3: p: expected a string as key, found "1"']),
        ("? [x]\n: y\n", ["f.yaml:1:3: expected a string as key, found a list"]),
        ("? {}\n: y\n", ["f.yaml:1:3: expected a string as key, found a mapping"]),
        ("a: !foo x\n", ["f.yaml:1:4: a: the tag !foo is not allowed"]),
        ("- !!python/name:os.system x\n", ["f.yaml:1:3: [0]: the tag !!python/name:os.system is"]),
        ("a: !Ref {b: c}\n", ["f.yaml:1:4: a: the tag !Ref is not allowed"]),
        ("a: *b\n", ["f.yaml:1:4: a: the alias *b is not defined"]),
        ("a: &a [*a]\n", ["f.yaml:1:8: a[0]: the alias *a is used inside itself"]),
        ("a: {<<: 3}\n", ["f.yaml:1:9: a: expected a mapping or a list of mappings after <<"]),
        ("a: [1\n", ["f.yaml:2:1: not valid YAML"]),
        ("a: b: c\n", ["f.yaml:1:5: not valid YAML"]),
        ("a: \x00\n", ["f.yaml:1:4: the character U+0000 is not allowed"]),
        ("a: 1\nb: \x07\n", ["f.yaml:2:4: the character U+0007 is not allowed"]),
        (b"a: 1\nb: \xff\n", ["f.yaml:2:1: the file is not UTF-8 text"]),
        (f"a: {'1' * 101}", ["f.yaml:1:4: a: a number has more than 100 digits"]),
    ],
)
def test_what_is_wrong_is_located(text: str | bytes, expected: list[str]) -> None:
    found = wrong(text)
    assert len(found) == len(expected)
    for one, start in zip(found, expected, strict=True):
        assert one.startswith(start)


def test_everything_wrong_with_the_keys_of_a_file_is_said_at_once() -> None:
    assert len(wrong("a: 1\na: 2\n2: x\n---\nb: !x y\n")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#" * (LARGEST_FILE + 1), "the file is larger than 1 MiB"),
        ("[" * 65 + "]" * 65, "values are nested deeper than 64"),
        ("[" * 100_000, "values are nested deeper than 64"),
        ("- 1\n" * 100_001, "the file has more than 100000 values"),
        ("--- 1\n" * 1001, "the file has more than 1000 documents"),
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 12)),
            "the file has more than 100000 values once aliases are expanded",
        ),
        (
            "".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else ''}]\n" for n in range(70)),
            "values are nested deeper than 64 once aliases are expanded",
        ),
        (
            "big: &big {"
            + ", ".join(f"k{n}: 1" for n in range(1000))
            + "}\n"
            + "".join(f"m{n}: {{<<: *big}}\n" for n in range(1000)),
            "the file has more than 100000 values once aliases are expanded",
        ),
        (
            "x: &x {a: 1}\ny: {<<: [" + "*x, " * 50_000 + "]}\n",
            "the file has more than 100000 values once aliases are expanded",
        ),
        (
            "--- &a ["
            + "1, " * 900
            + "]\n"
            + "".join(f"--- [&a [{'1,' * 90}], {'*a, ' * 90}]\n" for _ in range(90)),
            "the file has more than 100000 values once aliases are expanded",
        ),
        (
            f'long: &long "{"x" * 500_000}"\nall: [{"*long, " * 100}]\n',
            "the file has more than 4 MiB once aliases are expanded",
        ),
        (
            f'long: &long {{key: "{"x" * 500_000}"}}\n'
            + "".join(f"m{n}: {{<<: *long}}\n" for n in range(100)),
            "the file has more than 4 MiB once aliases are expanded",
        ),
    ],
    ids=lambda text: str(text)[:20],
)
def test_bounds_hold(text: str, message: str) -> None:
    found = wrong(text)
    assert len(found) == 1
    assert message in found[0]


def test_values_at_the_bounds_are_read() -> None:
    nested = value("[" * 64 + "]" * 64)
    assert nested == json.loads("[" * 64 + "]" * 64)
    documents, problems = read_documents(b"--- 1\n" * 1000, "f.yaml")
    assert (len(documents), problems) == (1000, [])


def test_documents_before_a_syntax_error_are_kept() -> None:
    documents, problems = read_documents(b"a: 1\n---\nb: [\n", "f.yaml")
    assert [document.value for document in documents] == [{"a": 1}]
    assert len(problems) == 1
