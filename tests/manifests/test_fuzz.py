"""Whatever is in a file, reading it ends, in manifests or in problems that are in the file."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.manifests.collection import collect
from reconciler.manifests.loader import read_file
from tests.manifests.reading import dataset, model, yaml

#: libyaml counts the line breaks of YAML 1.1.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

fragments = st.sampled_from(
    [
        "kind: Model\n", "kind: List\n", "items:\n", "- ", "  ", "metadata: {name: a}\n", "spec:\n",
        "source: {git: {url: https://x.y/z}}\n", "&a ", "*a", "<<: ", "!t ", "!!str ", "{", "}",
        "[", "]", ",", ": ", "? ", "---\n", "...\n", "%YAML 1.2\n", "%TAG ! !\n", "'", '"',
        "\\ud83d", "\\U00110000", "|\n", ">-\n", "\t", "#", "\r", "\x85", "\u2028", "\ufeff",
        "1e999", "0x", "~", "on", "training: {}\n", "params: {a: .nan}\n", "\x00",
        "apiVersion: substratus.ai/v1\n",
    ]
)  # fmt: skip
texts = st.lists(fragments | st.text(max_size=3), max_size=30).map("".join)


def check(data: bytes, path: str) -> None:
    content = read_file(path, data)
    lines = len(_BREAK.findall(data.decode("utf-8", "replace"))) + 1
    for problem in content.problems:
        assert problem.location.file == path
        assert 0 <= problem.location.line <= lines
        assert problem.message
        str(problem).encode()
    assert not content.broken or content.problems
    found = collect([content])
    assert not found.objects.keys() & found.invalid


@given(st.binary(max_size=200), st.sampled_from(["f.yaml", "f.json"]))
@example(b"\xef\xbb\xbf", "f.yaml")
@example(b"", "f.yaml")
def test_any_bytes_are_read(data: bytes, path: str) -> None:
    check(data, path)


@settings(max_examples=400)
@given(texts, st.sampled_from(["f.yaml", "f.json"]))
@example('{a: https://x, b: "\\U00110000"}', "f.yaml")
@example('{a: https://x, b: "\\Uffffffff"}', "f.yaml")
def test_anything_like_yaml_is_read(text: str, path: str) -> None:
    check(text.encode(), path)


valid = yaml(
    model(
        training={
            "params": {"epochs": 3, "lr": 0.1},
            "env": {"A": "b"},
            "dataset": {"name": "d"},
            "resources": {"gpu": {"type": "l4", "count": 1}, "cpu": "500m"},
        }
    ),
    dataset(),
)


@settings(max_examples=400)
@given(st.data())
def test_a_manifest_with_a_few_characters_changed_is_read(data: st.DataObject) -> None:
    text = valid
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 8, len(text))))
        text = text[:start] + data.draw(fragments | st.text(max_size=2)) + text[end:]
    check(text.encode(), "f.yaml")
