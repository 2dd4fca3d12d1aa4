"""Folders of buckets: a component counts as a whole."""

from __future__ import annotations

import pytest

from reconciler.urls import below, namespace_folder


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("s3://b/data", ""),
        ("s3://b/data/x/y/", "x/y/"),
        ("s3://b/data/", ""),
        ("s3://b/data-2/x", None),
        ("s3://b/dat", None),
        ("s3://b", None),
        ("gs://b/data/x", None),
        ("s3://b//data/x", None),
        ("s3://b/./data/x", None),
    ],
)
def test_what_is_below_a_folder_is_known_by_its_spelling(url: str, inside: str | None) -> None:
    assert below(url, "s3://b/data") == inside


def test_a_namespace_is_below_no_other() -> None:
    folder = namespace_folder("s3://b", "prod", "ml")
    assert folder == "s3://b/clusters/prod/namespaces/ml"
    assert below(namespace_folder("s3://b", "prod", "ml-2"), folder) is None
