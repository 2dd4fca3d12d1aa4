"""``update`` of a bucket: where it may stand."""

from __future__ import annotations

import pytest

from reconciler.manifests.loader import read_file

DATASET = (
    "kind: Dataset\nmetadata: {name: d}\nspec:\n  source:\n    bucket: {url: 's3://b/d', %s}\n"
)
WEIGHTS = (
    "kind: Model\nmetadata: {name: m}\nspec:\n  source: {git: {url: ., path: src}}\n"
    "  load:\n    from: {url: 's3://b/m', %s}\n"
)


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        (DATASET % "update: Pin, revision: a", "spec.source.bucket", "no meaning with a revision"),
        (DATASET % "update: Always", "spec.source.bucket.update", "Follow"),
        (WEIGHTS % "update: Pin", "spec.load.from.update", "unknown field"),
    ],
)
def test_what_cannot_be_observed_is_said_with_line_and_field(
    text: str, field: str, said: str
) -> None:
    (problem,) = read_file("d.yaml", text.encode()).problems
    assert (problem.field, problem.location.file) == (field, "d.yaml")
    assert problem.location.line >= 4
    assert said in problem.message


@pytest.mark.parametrize("mode", ["Pin", "Follow"])
def test_a_bucket_is_observed_where_update_says_so(mode: str) -> None:
    (manifest,) = read_file("d.yaml", (DATASET % f"update: {mode}").encode()).manifests
    assert manifest.observed is not None
    assert manifest.observed.follow == (mode == "Follow")
    (other,) = read_file("d.yaml", (DATASET % "revision: v1").encode()).manifests
    assert other.observed is None
