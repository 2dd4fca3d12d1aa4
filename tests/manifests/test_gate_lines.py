"""Lines of ``require``: what they mean, and what is no line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.gate_lines import GateLine, parse_gate_line
from tests.manifests.reading import model, said, yaml

METRICS = ["accuracy", "eval/loss", "f1-score", "acc@5", "latency_ms"]


@given(
    st.sampled_from(METRICS),
    st.sampled_from([">=", "<=", "==", ">", "<"]),
    st.floats(-1e9, 1e9).map(lambda number: round(number, 6)),
    st.sampled_from(["", " "]),
)
def test_a_line_compares_with_a_number(metric: str, op: str, number: float, blank: str) -> None:
    line = parse_gate_line(f"{metric}{blank}{op}{blank}{number:f}")
    assert (line.metric, line.op, line.number, line.current) == (metric, op, number, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0.0), (" - 0.005", -0.005), (" + 1e-3", 0.001), (" -0.5", -0.5)],
)
def test_a_line_compares_with_the_accepted_artifact(text: str, number: float) -> None:
    line = parse_gate_line(f"accuracy >= current.accuracy{text}")
    assert (line.current, line.number) == ("accuracy", number)
    assert line.bound({"accuracy": 0.9}) == 0.9 + number
    assert line.bound({"loss": 0.9}) is None


@pytest.mark.parametrize(
    ("op", "below", "equal", "above"),
    [
        (">=", False, True, True),
        (">", False, False, True),
        ("==", False, True, False),
        ("<=", True, True, False),
        ("<", True, False, False),
    ],
)
def test_an_operator_compares(op: str, below: bool, equal: bool, above: bool) -> None:
    line = GateLine(text="", metric="m", op=op, number=1.0)
    assert [line.holds(value, 1.0) for value in (0.0, 1.0, 2.0)] == [below, equal, above]
    assert not line.holds(math.nan, 1.0)


WRONG = {
    "no operator": "accuracy 0.9",
    "no number": "accuracy >= good",
    "an infinite number": "accuracy < inf",
    "no finite number": "accuracy < 1e999",
    "NaN": "accuracy >= nan",
    "a metric on the right": "accuracy >= loss",
    "current on the left": "current.accuracy < 1",
    "no blanks": "accuracy >= current.accuracy-0.005",
    "two comparisons": "0.9 < accuracy < 1",
    "code": "__import__('os').getpid() > 1",
    "very long": "a" * 101 + " > 1",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_no_line_is_an_error_with_its_field(text: str) -> None:
    document = model(evaluation={"require": ["accuracy > 0.5", text]})
    ((field, _),) = said(yaml(document))
    assert field == "spec.evaluation.require[1]"


@given(st.text(max_size=60))
def test_any_text_is_a_line_or_an_error(text: str) -> None:
    try:
        line = parse_gate_line(text)
    except ValueError:
        return
    assert math.isfinite(line.number)
    assert 0 < len(line.metric) <= 100


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ({}, "expected a command, require, or both"),
        ({"require": ["a > 1"], "params": {"a": 1}}, "without a command nothing runs"),
        (
            {"require": ["a > 1"], "source": {"git": {"url": "host:a"}}},
            "without a command nothing runs; remove source",
        ),
        ({"require": ["a > 1"] * 51}, "50"),
        ({"command": ["t"], "resources": {"nodes": 2}}, "only a training"),
        ({"command": ["t"], "env": {"RESULT_DIR": "/"}}, "set by the reconciler"),
    ],
)
def test_an_evaluation_has_something_to_do(evaluation: dict[str, object], expected: str) -> None:
    ((_, message),) = said(yaml(model(evaluation=evaluation)))
    assert expected in message


@pytest.mark.parametrize("key", ["", "latest", "ABCDEF123456", "12345678901"])
def test_only_a_key_is_accepted(key: str) -> None:
    document = model(evaluation={"require": ["a > 1"]})
    document["metadata"]["annotations"] = {"substratus.ai/accept": key}
    ((_, message),) = said(yaml(document))
    assert "expected the key of an artifact" in message
