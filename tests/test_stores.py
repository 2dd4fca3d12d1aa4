"""Which buckets the environment has credentials for."""

from __future__ import annotations

import os

import pytest

from reconciler.stores import SCHEMES, has_credentials


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if any(name.startswith(prefix.rstrip("*")) for prefix in SCHEMES.values()):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "variable",
    [
        "AWS_REGION",
        "AWS_CA_BUNDLE",
        "AWS_ENDPOINT_URL",
        "AWS_ACCOUNT_ID",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "GOOGLE_BASE_URL",
        "AZURE_STORAGE_ACCOUNT_NAME",
    ],
)
def test_a_region_an_authority_an_address_and_a_profile_are_no_credentials(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "x")
    assert not any(map(has_credentials, ("s3://models/prod", "gs://models", "az://models")))


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("s3://models", "AWS_ACCESS_KEY_ID"),
        ("s3://models", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("s3://models", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ("s3://models", "AWS_SKIP_SIGNATURE"),
        ("gs://models", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://models", "GOOGLE_SERVICE_ACCOUNT"),
        ("gs://models", "GOOGLE_SKIP_SIGNATURE"),
        ("az://account/models", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("az://account/models", "AZURE_FEDERATED_TOKEN_FILE"),
        ("az://account/models", "AZURE_STORAGE_SAS_TOKEN"),
    ],
)
def test_each_way_of_a_store_to_credentials_is_one(
    url: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_credentials(url)
    monkeypatch.setenv(variable, "x")
    assert has_credentials(url)
    assert not has_credentials("file:///models")
