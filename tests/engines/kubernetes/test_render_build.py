"""Builds: the commit that is fetched, the credentials that go where, and what pushes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.types import Resources
from reconciler.urls import has_prefix
from tests.engines.kubernetes.specs import (
    environment_of,
    expand,
    job_of,
    main_of,
    mounts_of,
    named,
    pod_of,
    settings_of,
)
from tests.specs import COMMIT, CONTEXT, KEY, build


def arguments(settings: ClusterSettings, **changes: Any) -> list[str]:
    spec = build(**changes)
    return [expand(text) for text in main_of(spec, settings)["args"]]


def source(settings: ClusterSettings, **changes: Any) -> dict[str, Any]:
    pod = pod_of(build(**changes), settings)
    return named(pod["initContainers"], "source")


def test_a_build_pushes_its_key_as_a_tag(settings: ClusterSettings) -> None:
    image, context, *options = arguments(settings)
    assert image == f"registry.example.com/models/default:{KEY}"
    assert context == "/source/context/images/falcon"
    assert f"type=image,name={image},push=true" in options


@pytest.mark.parametrize(
    ("resources", "requests"),
    [
        (Resources(), {"cpu": "500m", "memory": "1Gi"}),
        (Resources(memory=512 << 20), {"cpu": "500m", "memory": "512Mi"}),
        (Resources(cpu=4, memory=8 << 30), {"cpu": "4", "memory": "8Gi"}),
    ],
)
def test_every_container_of_a_build_requests_cpu_and_memory(
    settings: ClusterSettings, resources: Resources, requests: dict[str, str]
) -> None:
    pod = pod_of(replace(build(), resources=resources), settings)
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["requests"] == requests
        # A limit is the manifest's alone.
        assert container["resources"].get("limits", {}).get("memory") == (
            requests["memory"] if resources.memory else None
        )


def test_a_template_changes_what_a_build_requests(tmp_path: Path) -> None:
    main = {"name": "main", "resources": {"requests": {"memory": "4Gi"}}}
    settings = settings_of(
        tmp_path, kubernetes={"templates": {"build": {"spec": {"containers": [main]}}}}
    )
    found = main_of(replace(build(), resources=Resources()), settings)["resources"]
    assert found == {"requests": {"cpu": "500m", "memory": "4Gi"}}


def test_the_resolved_commit_is_fetched_and_nothing_else(settings: ClusterSettings) -> None:
    environment = environment_of(source(settings))
    assert environment["SOURCE_URL"] == CONTEXT.url
    assert environment["SOURCE_COMMIT"] == COMMIT
    assert environment["SOURCE_SUBMODULES"] == "false"
    assert environment_of(source(settings, submodules=True))["SOURCE_SUBMODULES"] == "true"


def test_this_repository_is_fetched_by_its_url(settings: ClusterSettings) -> None:
    environment = environment_of(source(settings, url=""))
    assert environment["SOURCE_URL"] == "https://git.example.com/team/models"


def test_a_repository_on_the_daemons_disk_is_not_a_pods(settings: ClusterSettings) -> None:
    with pytest.raises(RenderError, match="a pod cannot read the source file:///srv/a"):
        job_of(build(url="file:///srv/a"), settings)


def test_dockerfile_and_build_args_are_passed_as_they_are(settings: ClusterSettings) -> None:
    found = arguments(settings, dockerfile="docker/Dockerfile.gpu")
    assert "filename=docker/Dockerfile.gpu" in found
    assert "build-arg:CUDA=12" in found
    assert "build-arg:PRICE=$5" in found


def test_the_sources_secret_goes_by_the_longest_prefix_and_to_the_fetch_alone(
    tmp_path: Path,
) -> None:
    credentials = [
        {"prefix": "https://git.example.com", "buildSecret": "git-all"},
        {"prefix": "https://git.example.com/team/", "buildSecret": "git-team"},
        {"prefix": "https://git.example.com/te", "buildSecret": "git-other"},
    ]
    settings = settings_of(tmp_path, sources={"credentials": credentials})
    pod = pod_of(build(), settings)
    volume = named(pod["volumes"], "git-credentials")
    assert volume["secret"]["secretName"] == "git-team"
    (fetch,) = pod["initContainers"]
    assert mounts_of(fetch)["/git-credentials"]["readOnly"] is True
    assert "/git-credentials" not in mounts_of(main_of(build(), settings))


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("ssh://git@git.example.com/", "git@git.example.com:team/a"),
        ("git@git.example.com:", "git@git.example.com:team/a"),
        ("git@git.example.com:team", "ssh://git@git.example.com/team/a"),
        ("https://GIT.example.com:443/team/", "https://git.example.com/team/a"),
    ],
)
def test_a_build_fetches_with_the_secret_of_what_the_daemon_reads_with(
    tmp_path: Path, prefix: str, url: str
) -> None:
    credentials = [{"prefix": prefix, "username": "u", "passwordFile": "p", "buildSecret": "git"}]
    settings = settings_of(tmp_path, sources={"credentials": credentials})
    pod = pod_of(build(url=url), settings)
    assert named(pod["volumes"], "git-credentials")["secret"]["secretName"] == "git"
    assert has_prefix(url, prefix)


def test_a_source_without_credentials_gets_none(tmp_path: Path) -> None:
    credentials = [{"prefix": "https://elsewhere.example.com", "buildSecret": "other"}]
    settings = settings_of(tmp_path, sources={"credentials": credentials})
    assert "/git-credentials" not in mounts_of(source(settings))


def test_the_registrys_secret_goes_to_the_builder_alone(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, registry={"url": "registry.example.com/models", "secret": "push"}
    )
    volume = named(pod_of(build(), settings)["volumes"], "docker")
    assert volume["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    container = main_of(build(), settings)
    assert mounts_of(container)["/docker"]["readOnly"] is True
    assert environment_of(container)["DOCKER_CONFIG"] == "/docker"
    assert "/docker" not in mounts_of(source(settings))


def test_a_private_authority_comes_along_in_an_annotation(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    settings = settings_of(tmp_path, tls={"caFile": "ca.pem"})
    template = job_of(build(), settings)["spec"]["template"]
    assert template["metadata"]["annotations"]["substratus.ai/ca"].startswith("-----BEGIN")
    assert mounts_of(source(settings))["/ca"]["readOnly"] is True


def test_an_insecure_registry_is_said_to_buildkit_twice(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, registry={"url": "10.0.0.1:5000/m", "insecure": True})
    assert any(text.endswith("registry.insecure=true") for text in arguments(settings))
    config = environment_of(main_of(build(), settings))["BUILDKITD_CONFIG"]
    assert '[registry."10.0.0.1:5000"]\nhttp = true' in config


def test_buildkit_is_rootless_unless_configured(tmp_path: Path) -> None:
    rootless = main_of(build(), settings_of(tmp_path))["securityContext"]
    assert rootless["runAsUser"] == 1000
    assert "privileged" not in rootless
    settings = settings_of(tmp_path, kubernetes={"builder": "buildkit-privileged"})
    assert main_of(build(), settings)["securityContext"] == {"privileged": True}


def test_buildkits_own_image_goes_with_the_way_it_runs(tmp_path: Path) -> None:
    rootless = settings_of(tmp_path, kubernetes={"images": {}})
    assert rootless.images.buildkit.endswith("-rootless")
    privileged = settings_of(tmp_path, kubernetes={"images": {}, "builder": "buildkit-privileged"})
    assert not privileged.images.buildkit.endswith("-rootless")


@pytest.mark.parametrize("container", ["source", "main"])
def test_kubernetes_changes_nothing_in_a_script(settings: ClusterSettings, container: str) -> None:
    pod = pod_of(build(), settings)
    _, _, script, _ = named([*pod["initContainers"], *pod["containers"]], container)["command"]
    assert "$$" not in script
    names = set(environment_of(named([*pod["initContainers"], *pod["containers"]], container)))
    assert not [name for name in names if f"$({name})" in script]


def test_submodules_are_fetched_within_the_allow_list(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sources={"allow": ["https://*", "ssh://git@host:2222/a/*"]})
    allow = environment_of(source(settings, submodules=True))["SOURCE_ALLOW"]
    assert allow == "https * * - *\nssh git host 2222 a/*"


def _cache(settings: ClusterSettings, **changes: Any) -> dict[str, str]:
    """The options of a build's cache, each with its attributes."""
    options = arguments(settings, **changes)
    flags = ("--import-cache", "--export-cache")
    return {text: options[n + 1] for n, text in enumerate(options) if text in flags}


def test_the_layers_of_a_source_are_kept_in_its_namespaces_repository(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    found = _cache(settings)
    kind, ref = found["--import-cache"].split(",")
    assert kind == "type=registry"
    assert re.fullmatch(r"ref=registry\.example\.com/models/default:cache-[0-9a-f]{16}", ref)
    assert found["--export-cache"] == (
        f"{kind},{ref},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    )
    assert _cache(settings, commit="9" * 40, build_args={"A": "1"}) == found
    others = [
        _cache(settings, **change)
        for change in (
            {"url": "https://git.example.com/other.git"},
            {"path": "images/other"},
            {"dockerfile": "Other.Dockerfile"},
            {"rerun": "2"},
        )
    ]
    texts = [found["--import-cache"], *(each["--import-cache"] for each in others)]
    assert len(set(texts)) == len(texts)


def test_no_layers_are_kept_where_the_configuration_says_so(tmp_path: Path) -> None:
    registry = {"url": "registry.example.com/models", "cache": False}
    assert _cache(settings_of(tmp_path, registry=registry)) == {}


def test_a_cache_in_an_insecure_registry_is_asked_as_the_registry_is(tmp_path: Path) -> None:
    registry = {"url": "registry.example.com:5000", "insecure": True}
    for text in _cache(settings_of(tmp_path, registry=registry)).values():
        assert ",registry.insecure=true" in text


def _attestations(folder: Path, chosen: dict[str, Any], **images: str) -> list[str]:
    settings = settings_of(
        folder,
        registry={"url": "registry.example.com/models", "attestations": chosen},
        kubernetes={"images": images},
    )
    return [text for text in arguments(settings) if text.startswith(("attest:", "vcs:"))]


def test_a_build_attests_nothing_unless_the_configuration_says_so(tmp_path: Path) -> None:
    assert _attestations(tmp_path, {}) == []


@pytest.mark.parametrize("mode", ["min", "max"])
def test_provenance_names_the_commit_of_the_source(tmp_path: Path, mode: str) -> None:
    assert _attestations(tmp_path, {"provenance": mode}) == [
        f"attest:provenance=mode={mode}",
        f"vcs:source={CONTEXT.url}",
        f"vcs:revision={COMMIT}",
    ]


def test_an_sbom_is_written_by_buildkits_own_image_or_the_configured_one(tmp_path: Path) -> None:
    assert _attestations(tmp_path, {"sbom": True}) == ["attest:sbom="]
    mirrored = f"mirror.example.com/scanner@sha256:{'4' * 64}"
    assert _attestations(tmp_path, {"sbom": True}, sbom=mirrored) == [
        f"attest:sbom=generator={mirrored}"
    ]


@pytest.mark.parametrize("chosen", [{"provenance": "min"}, {"sbom": True}])
def test_build_arguments_do_not_change_what_is_attested(
    tmp_path: Path, chosen: dict[str, Any]
) -> None:
    args = {"BUILDKIT_ATTEST_SBOM": "generator=mine.example.com/scanner"}
    registry = {"url": "registry.example.com/models", "attestations": chosen}
    with pytest.raises(RenderError, match="BUILDKIT_ATTEST_SBOM in buildArgs would change"):
        job_of(build(build_args=args), settings_of(tmp_path, registry=registry))
    free = settings_of(tmp_path)
    assert f"build-arg:BUILDKIT_ATTEST_SBOM={args['BUILDKIT_ATTEST_SBOM']}" in arguments(
        free, build_args=args
    )
