"""The files of a tree together: duplicates, references, cycles."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.collection import Collection, amend, collect
from reconciler.manifests.loader import read_file
from reconciler.types import Kind, Location, ObjectRef
from tests.manifests.reading import dataset, model, only, read, together, yaml


def derived(name: str, base: str, **reference: Any) -> dict[str, Any]:
    return model(name, source={"model": {"name": base, **reference}})


def ref(name: str, kind: Kind = Kind.MODEL, namespace: str = "default") -> ObjectRef:
    return ObjectRef(kind, namespace, name)


def test_objects_and_others_of_all_files_are_counted() -> None:
    found = together(
        a=yaml(model("a"), {"apiVersion": "v1", "kind": "Secret"}), b=yaml(dataset("a")), c="- 1\n"
    )
    assert set(found.objects) == {ref("a"), ref("a", Kind.DATASET)}
    assert (found.others, found.files, found.problems, found.invalid) == (2, 3, (), frozenset())


def test_an_object_defined_twice_is_invalid_and_the_first_place_is_named() -> None:
    found = together(b=yaml(model()), a="# first\n" + yaml(model()), c=yaml(model("other")))
    (problem,) = found.problems
    assert problem.location.file == "b.yaml"
    assert problem.field == "metadata.name"
    assert problem.message == "Model default/m is defined already, in a.yaml:2:32"
    assert found.invalid == {ref("m")}
    assert set(found.objects) == {ref("other")}


def test_all_but_the_first_of_several_are_told() -> None:
    found = together(a=yaml(model(), model(), model()))
    assert [p.location.line for p in found.problems] == [3, 5]


def test_names_are_the_namespace_s_and_the_kind_s() -> None:
    elsewhere = model()
    elsewhere["metadata"]["namespace"] = "elsewhere"
    assert len(together(a=yaml(model(), dataset("m"), elsewhere)).objects) == 3


@given(st.permutations(range(5)))
def test_the_order_of_files_does_not_matter(order: list[int]) -> None:
    contents = [
        read(yaml(derived("a", "b"), derived("b", "a")), "0.yaml"),
        read(yaml(model("m"), model("m")), "1.yaml"),
        read(yaml(model("m"), derived("c", "gone")), "2.yaml"),
        read("kind: Modle\n", "3.yaml"),
        read(yaml(model("fine"), derived("also-fine", "fine")), "4.yaml"),
    ]
    found = collect(contents[n] for n in order)
    expected = collect(contents)
    assert found.problems == expected.problems
    assert found.objects == expected.objects
    assert found.invalid == expected.invalid == {ref(name) for name in ("a", "b", "m", "c")}
    places = [(p.location.file, p.location.line) for p in found.problems]
    assert places == sorted(places)


def test_a_dangling_reference_is_placed_at_its_name() -> None:
    text = "kind: Model\nmetadata: {name: a}\nspec:\n  source:\n    model:\n      name: bse\n"
    found = together(a=text, b=yaml(model("base")))
    (problem,) = found.problems
    assert problem.location == Location("a.yaml", 6, 7)
    assert problem.field == "spec.source.model.name"
    assert problem.message == 'there is no Model default/bse; did you mean "base"?'
    assert problem.object == ref("a")
    assert set(found.objects) == {ref("base")}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"dataset": {"name": "b"}}, "there is no Dataset default/b; there is a Model default/b"),
        ({"dataset": {"name": "zzzzz"}}, "there is no Dataset default/zzzzz"),
        (
            {"dataset": {"name": "d", "namespace": "team"}},
            "there is no Dataset team/d; there is a Dataset default/d",
        ),
    ],
)
def test_what_is_likely_meant_is_said(reference: dict[str, Any], message: str) -> None:
    found = together(a=yaml(model("a", training=reference), model("b"), dataset("d")))
    (problem,) = found.problems
    assert problem.message == message
    assert problem.field == "spec.training.dataset.name"


def test_of_two_of_that_name_the_one_of_the_kind_that_is_referred_to_is_meant() -> None:
    found = together(a=yaml(derived("a", "d", namespace="x"), model("d"), dataset("d")))
    (problem,) = found.problems
    assert problem.message == "there is no Model x/d; there is a Model default/d"


def test_a_reference_means_its_own_namespace_unless_it_says_another() -> None:
    base, own, other = model("base"), derived("a", "base"), derived("b", "base", namespace="x")
    base["metadata"]["namespace"] = own["metadata"]["namespace"] = "x"
    assert together(a=yaml(base, own, other)).problems == ()
    assert [r for r, _, _ in only(yaml(own)).references] == [ref("base", namespace="x")]


def test_a_reference_to_an_invalid_object_is_not_dangling() -> None:
    found = together(a=yaml(derived("a", "base")), b=yaml(model("base", suspend=3)))
    assert [p.object for p in found.problems] == [ref("base")]
    assert set(found.objects) == {ref("a")}


def test_a_reference_to_a_key_needs_its_object_too() -> None:
    assert together(a=yaml(derived("a", "gone", key="a" * 40))).invalid == {ref("a")}


def test_a_file_that_cannot_be_read_is_named_where_an_object_is_missed() -> None:
    found = together(a=yaml(derived("a", "lost")), b="kind: [Model\n")
    assert next(p.message for p in found.problems) == (
        "there is no Model default/lost; it may be in b.yaml, which cannot be read"
    )


def test_single_files_may_refer_to_what_is_elsewhere() -> None:
    text = yaml(model("a", source={"model": {"name": "b"}}, training={"dataset": {"name": "d"}}))
    assert together(complete=False, a=text).problems == ()
    assert len(together(complete=True, a=text).problems) == 2


def test_an_unknown_cluster_is_an_error_and_a_known_one_is_not_looked_into() -> None:
    text = yaml(derived("a", "b", cluster="east"))
    for complete in (True, False):
        (problem,) = together(complete=complete, a=text).problems
        assert problem.message == 'cluster "east" is not configured under clusters'
        assert problem.field == "spec.source.model.cluster"
    assert together(clusters=("east",), a=text).problems == ()


def test_every_object_in_a_circle_is_told_of_it_from_where_it_stands() -> None:
    found = together(
        a=yaml(derived("a", "b")), b=yaml(derived("b", "c")), c=yaml(derived("c", "a"))
    )
    assert [(p.location.file, p.field, p.message) for p in found.problems] == [
        ("a.yaml", "spec.source.model.name", "the references go in a circle: a → b → c → a"),
        ("b.yaml", "spec.source.model.name", "the references go in a circle: b → c → a → b"),
        ("c.yaml", "spec.source.model.name", "the references go in a circle: c → a → b → c"),
    ]
    assert found.objects == {}


def test_an_object_that_refers_to_itself_is_a_circle() -> None:
    (problem,) = together(a=yaml(derived("a", "a"))).problems
    assert problem.message == "the references go in a circle: a → a"


def test_a_circle_over_namespaces_names_them() -> None:
    one, two = derived("a", "a", namespace="y"), derived("a", "a", namespace="x")
    one["metadata"]["namespace"], two["metadata"]["namespace"] = "x", "y"
    messages = {p.message for p in together(a=yaml(one, two)).problems}
    assert "the references go in a circle: x/a → y/a → x/a" in messages


def test_what_leads_into_a_circle_is_not_in_it() -> None:
    for names in permutations(["a", "b", "c"]):
        lead, one, two = names
        found = together(x=yaml(derived(lead, one), derived(one, two), derived(two, one)))
        assert found.invalid == {ref(one), ref(two)}
        assert set(found.objects) == {ref(lead)}


def test_a_reference_with_a_key_closes_no_circle() -> None:
    assert together(a=yaml(derived("a", "b"), derived("b", "a", key="a" * 40))).problems == ()


def test_a_reference_to_another_cluster_closes_no_circle() -> None:
    assert together(clusters=("east",), a=yaml(derived("a", "a", cluster="east"))).problems == ()


def test_chains_and_circles_may_be_long() -> None:
    length = 1500
    chain = [derived(f"m{n}", f"m{n + 1}") for n in range(length)]
    contents = [read(yaml(document), f"{n}.yaml") for n, document in enumerate(chain)]
    assert collect([*contents, read(yaml(model(f"m{length}")), "z.yaml")]).problems == ()
    closed = collect([*contents, read(yaml(derived(f"m{length}", "m0")), "z.yaml")])
    assert len(closed.problems) == length + 1
    assert all(len(p.message) < 300 for p in closed.problems)
    assert closed.problems[0].message.endswith("(1489 more) → m0")


def amended(before: dict[str, str], after: dict[str, str]) -> Collection | None:
    """The collection of files, once some of them say something else."""
    old = {path: read_file(path, text.encode()) for path, text in before.items()}
    new = {path: read_file(path, text.encode()) for path, text in after.items()}
    return amend(collect(old.values()), [old[path] for path in new], list(new.values()))


A, B = "kind: Model\nmetadata: {name: a}\n", "kind: Model\nmetadata: {name: b}\n"
IMAGE = "spec: {source: {image: {ref: 'r@sha256:%s'}}, load: {params: {n: %d}}}\n"
ONE, TWO = IMAGE % ("0" * 64, 1), IMAGE % ("0" * 64, 2)
ON_A = "spec: {source: {model: {name: a}}, training: {params: {n: %d}}}\n"


def test_files_whose_objects_and_references_stay_are_put_in_place() -> None:
    before = {"a.yaml": A + ONE, "b.yaml": B + ON_A % 1, "c.yaml": "kind: Other\napiVersion: v1\n"}
    after = {"a.yaml": A + TWO, "b.yaml": B + ON_A % 2, "c.yaml": "# nothing\n"}
    found = amended(before, after)
    again = collect([read_file(path, text.encode()) for path, text in after.items()])
    assert found == again
    assert list(found.objects) == list(again.objects)


@pytest.mark.parametrize(
    "after",
    [
        {"b.yaml": B + ONE},  # it refers to nothing any more
        {"b.yaml": B + ON_A.replace("name: a", "name: c") % 1},  # or to something else
        {"a.yaml": A.replace("name: a", "name: c") + ONE},  # it is another object
        {"a.yaml": "# nothing\n"},
        {"a.yaml": A + ONE.replace("params", "parms")},
    ],
)
def test_all_files_are_looked_at_where_more_has_changed(after: dict[str, str]) -> None:
    assert amended({"a.yaml": A + ONE, "b.yaml": B + ON_A % 1}, after) is None


def test_all_files_are_looked_at_where_something_was_wrong() -> None:
    assert amended({"a.yaml": A, "b.yaml": B + ONE}, {"b.yaml": B + TWO}) is None
