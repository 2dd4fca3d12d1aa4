"""A packed document has the values and the places of what was read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from reconciler.manifests import read_file
from reconciler.manifests.packed import MOST_PACKED, PackedDocument
from reconciler.manifests.yaml import Document, scan_documents
from reconciler.manifests.yaml_nodes import Node, Path

TEXTS = {
    "scalars": "a: 1\nb: -1.5\nc: .inf\nd: true\ne: null\nf: text\ng: 010\n",
    "large integer": f"a: {10**40}\n",
    "other letters": 'a: "naïve \\u0000 \\ud83d\\ude80"\nключ: значение\n',
    "lists": "a:\n- 1\n- [2, [], {}]\n- b: 3\n  c: [4]\n",
    "aliases": "a: &x {b: [1, 2]}\nc: *x\nd: [*x, *x]\n",
    "merge": "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n",
    "a scalar": "text\n",
    "block text": "a: |\n  one\n  two\nb: >-\n  three\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_values_and_places_are_the_same(text: str) -> None:
    (document,), failure = scan_documents(text.encode(), "a.yaml")
    assert failure is None
    assert not document.flaws
    found = PackedDocument.of(document).document()
    assert repr(found.value) == repr(document.value)
    paths = list(_paths(document.root))
    assert list(_paths(found.root)) == paths
    for path in (*paths, ("nowhere",), (0, "a"), (*paths[-1], "below")):
        assert found.locate(path) == document.locate(path)


def test_a_manifest_has_its_document() -> None:
    spec = b"spec: {source: {git: {url: ., path: a}}}\n"
    text = b"# Its first line.\nkind: Model\nmetadata: {name: a}\n" + spec
    (found,) = read_file("a.yaml", text, default_namespace="default").manifests
    assert str(found.locate(("spec", "source", "git", "url"))) == "a.yaml:4:23"
    assert found.source.value == {
        "kind": "Model",
        "metadata": {"name": "a"},
        "spec": {"source": {"git": {"url": ".", "path": "a"}}},
    }


def test_one_whose_aliases_stand_for_much_is_not_expanded() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 4)]
    (document,), _ = scan_documents("\n".join(lines).encode(), "a.yaml")
    assert document.root.size > MOST_PACKED
    tracemalloc.start()
    try:
        found = PackedDocument.of(document)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert found.document() == document


def _paths(node: Node, above: Path = ()) -> Iterator[Path]:
    yield above
    for key, (_, _, child) in (node.children or {}).items():
        yield from _paths(child, (*above, key))
    for number, item in enumerate(node.items or ()):
        yield from _paths(item, (*above, number))


def test_a_document_of_a_file_with_several_is_at_its_place() -> None:
    documents, _ = scan_documents(b"a: 1\n---\nb: 2\n", "a.yaml")
    found = [PackedDocument.of(document).document() for document in documents]
    assert [(d.file, d.locate(()).line) for d in found] == [("a.yaml", 1), ("a.yaml", 3)]
    assert all(isinstance(document, Document) for document in found)
