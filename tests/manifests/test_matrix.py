"""``spec.training.matrix``: combinations, and errors with file, line and field."""

from __future__ import annotations

import pytest

from reconciler.manifests import Combination, collect, read_file
from reconciler.manifests.schema import ModelManifest

MODEL = """\
kind: Model
metadata: {name: m}
spec:
  source: {git: {url: ., path: a}}
  training:
    params: {epochs: 3, depth: 1}
    matrix: %s
"""


def combinations(matrix: str) -> tuple[Combination, ...]:
    (manifest,) = read_file("m.yaml", (MODEL % matrix).encode()).manifests
    assert isinstance(manifest.document, ModelManifest)
    assert manifest.document.spec.training is not None
    assert manifest.document.spec.training.matrix is not None
    return manifest.document.spec.training.matrix.combinations()


def problems(matrix: str, more: str = "") -> list[str]:
    return [str(p) for p in read_file("m.yaml", (MODEL % matrix + more).encode()).problems]


def test_lists_are_combined_in_their_order() -> None:
    assert combinations("{params: {lr: [0.1, 0.01], depth: [2, 4]}}") == (
        {"lr": 0.1, "depth": 2},
        {"lr": 0.1, "depth": 4},
        {"lr": 0.01, "depth": 2},
        {"lr": 0.01, "depth": 4},
    )


def test_combinations_are_left_out_and_added() -> None:
    found = combinations(
        "{params: {lr: [1, 2], depth: [2, 4]}, exclude: [{lr: 1, depth: 4}, {lr: 2.0}],"
        " include: [{lr: 9, warmup: true}]}"
    )
    assert found == ({"lr": 1, "depth": 2}, {"lr": 9, "warmup": True})


def test_a_value_may_be_anything_that_a_param_can_be() -> None:
    assert combinations("{params: {layers: [[8, 8], {a: null}, null, x]}}")[1] == {
        "layers": {"a": None}
    }


MANY = ", ".join(map(str, range(17)))


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        ("{params: {lr: 0.1}}", "7:23: spec.training.matrix.params.lr: expected a list"),
        ("{params: {lr: []}}", ".params.lr: expected at least 1 item, found 0"),
        ("{params: [1]}", ".params: expected a mapping, found a list"),
        ("{include: [1]}", ".include[0]: expected a mapping, found the number 1"),
        ("{}", "7:5: spec.training.matrix: it has no combination"),
        ("{params: {lr: [1]}, exclude: [{lr: 1}]}", "matrix: it has no combination"),
        ("{params: {lr: [1, 2, 1.0]}}", ".params.lr[2]: this value is there already"),
        ("{params: {lr: [1, 2]}, include: [{lr: 2}]}", ".include[0]: this combination is there"),
        # The params of the section count: with its depth this is that of the list.
        ("{params: {lr: [1]}, include: [{lr: 1, depth: 1}]}", ".include[0]: this combination is"),
        ("{params: {lr: [1, .nan]}}", ".params.lr[1]: NaN and infinities are not allowed"),
        ("{params: {lr: [9007199254740993]}}", ".params.lr[0]: an integer of 2^53"),
        ("{params: {lr: [1, 2]}, exclude: [{rl: 1}]}", "exclude[0].rl: matrix.params has no such"),
        ("{params: {lr: [1, 2]}, exclude: [{lr: 3}]}", "exclude[0].lr: matrix.params.lr has no"),
        ("{params: {lr: [1], LR: [2]}}", 'params.LR: "LR" and "lr" would both be PARAM_LR'),
        ("{params: {lr: [1]}, include: [{Epochs: 2}]}", '"Epochs" and "epochs" would both be'),
        (f"{{params: {{a: [{MANY}], b: [{MANY}]}}}}", "at most 256 combinations, found 289"),
        (
            f"{{params: {{a: [{MANY}], b: [{MANY}], c: [{MANY}]}}}}",
            ".params: 4,913 combinations; 1,024 are the most before exclude",
        ),
        ("{params: {lr: [1]}, best: {metric: a, goal: most}}", 'best.goal: expected "maximize"'),
        ("{params: {lr: [1]}, best: {metric: a}}", "best.goal: is required"),
        ("{params: {lr: [1]}, best: {metric: a b, goal: minimize}}", "expected the name of a"),
        ("{params: {lr: [1]}, exlude: []}", 'unknown field "exlude"; did you mean "exclude"?'),
        ('{params: {lr: ["a\\0"]}}', "the character U+0000 is not allowed"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(matrix: str, problem: str) -> None:
    (found,) = problems(matrix)
    assert found.startswith("m.yaml:7:")
    assert problem in found


def test_large_values_count_together() -> None:
    (found,) = problems(f"{{params: {{a: [{'x' * 40000}, y], b: [{'z' * 40000}]}}}}")
    assert "params are larger than 64 KiB" in found


def test_an_evaluation_needs_to_know_the_best() -> None:
    evaluation = "  evaluation: {require: [accuracy > 1]}\n"
    (found,) = problems("{params: {lr: [1]}}", evaluation)
    assert found.startswith("m.yaml:8:3: spec.evaluation: of a matrix the best artifact")
    assert problems("{params: {lr: [1]}, best: {metric: a, goal: minimize}}", evaluation) == []


def test_a_reference_needs_an_artifact_or_a_key() -> None:
    base = read_file("m.yaml", (MODEL % "{params: {lr: [1]}}").encode())
    next_ = "kind: Model\nmetadata: {name: next}\nspec:\n  source: {model: {name: m%s}}\n"
    (problem,) = collect([base, read_file("next.yaml", (next_ % "").encode())]).problems
    assert str(problem).startswith(
        "next.yaml:4:20: spec.source.model.name: Model default/m has a matrix without best"
    )
    pinned = read_file("next.yaml", (next_ % f", key: {'a' * 40}").encode())
    assert collect([base, pinned]).problems == ()


@pytest.mark.parametrize("values", ["[1]", "[[1, 2, 3, 4], 1]"])
def test_two_params_of_one_variable_are_found_in_any_combination(values: str) -> None:
    (problem,) = problems(f"{{params: {{a-b: {values}, a_b: [2]}}}}")
    assert '"a_b" and "a-b" would both be PARAM_A_B' in problem
