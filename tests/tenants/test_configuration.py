"""Tenants in the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.config import admission
from reconciler.manifests import Tenant
from tests.test_config import load, wrong

REPOSITORY = "repository: {url: 'https://git.test/team/models', path: prod}\n"
VERIFIED = REPOSITORY.replace("}", ", verify: {signers: all.signers}}")
FULL = f"""{VERIFIED}
guard: {{tasks: 7, gpus: 9}}
tenants:
  - name: vision
    paths: [vision/**]
    namespaces: [vision, vision-*]
    references: {{from: [shared], to: []}}
    secrets: [hf]
    serviceAccounts: [reader]
    queues: ["*"]
    priorities: [low]
    profiles: ["*"]
    images: ["registry.example.com/vision/**"]
    buckets: ["s3://vision-data/**"]
    sources: ["https://git.example.com/vision/**"]
    gpus: [nvidia-l4]
    limits: {{runs: 20, gpus: 8}}
    guard: {{gpus: 16}}
    releases: [vision/release]
    signers: vision.signers
    impersonate: {{namespace: vision, name: jobs}}
  - {{name: shared, paths: [shared/**], namespaces: [shared]}}
"""


def tenants(text: str) -> str:
    return f"{REPOSITORY}tenants: {text}\n"


def test_all_keys_of_a_tenant(tmp_path: Path) -> None:
    setup = load(tmp_path, FULL)
    vision, shared = setup.tenants.members
    assert vision == Tenant(
        name="vision",
        paths=("vision/**",),
        namespaces=("vision", "vision-*"),
        uses=("shared",),
        secrets=("hf",),
        service_accounts=("reader",),
        queues=("*",),
        priorities=("low",),
        profiles=("*",),
        images=("registry.example.com/vision/**",),
        buckets=("s3://vision-data/**",),
        sources=("https://git.example.com/vision/**",),
        gpus=("nvidia-l4",),
        limit_runs=20,
        limit_gpus=8,
        guard_tasks=7,
        guard_gpus=16,
        releases=("prod/vision/release",),
        user="system:serviceaccount:vision:jobs",
    )
    assert shared == Tenant(name="shared", paths=("shared/**",), namespaces=("shared",))
    assert setup.settings.tenants == setup.tenants == admission(setup).tenancy.tenants
    assert setup.tenants.root == "prod"


def test_without_tenants_there_is_no_border_but_namespaces(tmp_path: Path) -> None:
    assert not load(tmp_path, REPOSITORY).tenants


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[{name: a, paths: [a/**], namespaces: [a], signers: a.signers}]",
            "tenants[0].signers: needs repository.verify",
        ),
        ("[{name: a, paths: [a/**]}]", "namespaces: is required"),
        ("[{name: a, namespaces: [a]}]", "paths: is required"),
        ("[{name: a, paths: [], namespaces: [a]}]", "paths: expected at least 1 item"),
        ("[{name: a, paths: [/a], namespaces: [a]}]", "expected a path below repository.path"),
        ("[{name: a, paths: ['a/[^b]'], namespaces: [a]}]", "alone as wildcards"),
        ("[{name: a, paths: ['a/\\\\*'], namespaces: [a]}]", "alone as wildcards"),
        ("[{name: a, paths: ['a/[[:alpha:]]'], namespaces: [a]}]", "alone as wildcards"),
        ("[{name: a, paths: [a/], namespaces: [a]}]", "expected a path below repository.path"),
        ("[{name: a, paths: [../a], namespaces: [a]}]", "expected a path below repository.path"),
        ("[{name: a, paths: [a/./b], namespaces: [a]}]", "expected a path below repository.path"),
        ("[{name: a, paths: [a/b**], namespaces: [a]}]", "expected a path below repository.path"),
        ("[{name: a, paths: ['**'], namespaces: [a], releases: [../b]}]", "inside the repository"),
        ("[{name: a, paths: ['**'], namespaces: [a], secret: [b]}]", 'unknown field "secret"'),
        (
            "[{name: a, paths: ['**'], namespaces: [a], references: {from: [b]}}]",
            "tenants[0].references.from: there is no tenant b",
        ),
        (
            "[{name: a, paths: [a], namespaces: [a]}, {name: a, paths: [b], namespaces: [b]}]",
            "tenants[1].name: there are two tenants a",
        ),
        (
            "[{name: a, paths: [a], namespaces: ['a*']}, {name: b, paths: [b], namespaces: [a-1]}]",
            "tenants[1].namespaces: a-1 is of tenant a, which stands before",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in wrong(tmp_path, tenants(text))


def test_a_path_beside_the_folder_of_the_manifests_has_no_tenant(tmp_path: Path) -> None:
    found = load(tmp_path, tenants("[{name: a, paths: [a/**], namespaces: [a]}]")).tenants
    assert found.of_path("prod/a/m.yaml") is found.members[0]
    for outside in ("a/m.yaml", "prod-a/m.yaml", "test/a/m.yaml", "prod"):
        assert found.of_path(outside) is None


def test_the_first_tenant_that_matches_counts(tmp_path: Path) -> None:
    text = (
        "[{name: a, paths: [x/a/**, '*/a.yaml'], namespaces: [a]}, "
        "{name: rest, paths: ['**'], namespaces: ['*']}]"
    )
    found = replace(load(tmp_path, tenants(text)).tenants, root="")
    paths = {
        "x/a/m.yaml": "a",
        "x/a/b/m.yaml": "a",
        "x/a": "rest",
        "x/a.yaml": "a",
        "a.yaml": "rest",
        "x/y/a.yaml": "rest",
        "x/ab/m.yaml": "rest",
        "X/a/m.yaml": "rest",
    }
    owners = {path: found.of_path(path) for path in paths}
    assert {path: owner.name for path, owner in owners.items() if owner is not None} == paths
    namespaces = [found.of_namespace(name) for name in ("a", "b")]
    assert [owner.name for owner in namespaces if owner is not None] == ["a", "rest"]
