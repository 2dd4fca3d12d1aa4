"""``reconciler render``: what a cluster would get, from a clone and the status branch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import Cli, Said
from tests.e2e.site import Site, git
from tests.engines.kubernetes.specs import check_schema, environment_of

OTHER = """kind: Dataset
metadata: {name: squad, namespace: data}
spec:
  source: {image: {ref: "registry.example.com/squad@sha256:%s"}}
"""
GIVEN = """kind: Dataset
metadata: {name: given}
spec:
  source: {bucket: {url: "gs://models/given"}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A base that is trained, its finetune, and Datasets; nothing has been synced."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.configure(
        repository={"url": "https://git.example.com/team/models"},
        registry={"url": "registry.example.com/models"},
        buckets={"default": {"url": "gs://models/prod"}},
    )
    site.trained("base", "", params={"epochs": 3})
    site.finetune("fine", "base", params={"lr": 0.5})
    site.edit("fine.yaml", "  training:\n", "  training:\n    profile: spot\n")
    site.write("squad.yaml", OTHER % ("a" * 64))
    site.write("given.yaml", GIVEN)
    site.push()
    return site


@pytest.fixture
def at(made: Site, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Site:
    monkeypatch.chdir(made.work)
    monkeypatch.setenv("RECONCILER_CONFIG", str(made.root / "reconciler.yaml"))
    monkeypatch.setenv("RECONCILER_ENGINE", "kubernetes")
    return made


def objects(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said.err
    found = list(YAML(typ="safe").load_all(io.StringIO(said.out)))
    check_schema(found)
    return found


def test_every_task_of_an_object_is_printed_in_order(at: Site, cli: Cli) -> None:
    jobs = objects(cli("render", "base"))
    tasks = [job["metadata"]["labels"]["substratus.ai/task"] for job in jobs]
    assert tasks == ["build", "train"]
    head = git(at.work, "rev-parse", "HEAD").strip()
    assert jobs[0]["metadata"]["annotations"]["substratus.ai/commit"] == head
    (fetch,) = jobs[0]["spec"]["template"]["spec"]["initContainers"]
    assert environment_of(fetch)["SOURCE_URL"] == "https://git.example.com/team/models"


def test_without_a_registry_and_a_bucket_the_keys_to_set_are_named_with_their_file(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "prod.yaml"
    file.write_text("repository: {url: .}\n")
    said = cli("render", "base", "--config", str(file), code=64)
    assert said.err == (
        f"error: to print Kubernetes objects, `reconciler render` needs in {file}: "
        "registry: {url: …}, where images go; and buckets: {default: {url: …}}, where artifacts go "
        "(engine: local may stay)\n"
    )
    file.write_text("repository: {url: .}\nregistry: {url: registry.example.com/models}\n")
    said = cli("render", "base", "--config", str(file), code=64)
    assert "registry:" not in said.err
    assert "buckets: {default: {url: …}}" in said.err


def test_one_task_is_printed_alone(at: Site, cli: Cli) -> None:
    (job,) = objects(cli("render", "base", "--task", "train"))
    assert job["metadata"]["labels"]["substratus.ai/task"] == "train"


def test_an_image_that_is_not_built_stands_there_by_its_tag(at: Site, cli: Cli) -> None:
    said = cli("render", "base")
    build, train = objects(said)
    key = build["metadata"]["labels"]["substratus.ai/key"]
    (main,) = train["spec"]["template"]["spec"]["containers"]
    assert main["image"] == f"registry.example.com/models/default:{key}"
    assert f"# {main['image']} is not built yet" in said.out


def test_a_base_is_mounted_from_where_it_will_be(
    at: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_KUBERNETES__PROFILES", "{spot: {}}")
    (job,) = objects(cli("render", "fine"))
    _, base = objects(cli("render", "base"))
    where = base["metadata"]["annotations"]["substratus.ai/output"]
    volumes = {v["name"]: v for v in job["spec"]["template"]["spec"]["volumes"]}
    options = volumes["base"]["csi"]["volumeAttributes"]["mountOptions"]
    assert f"only-dir={where.removeprefix('gs://models/').rstrip('/')}" in options


def test_what_cannot_be_rendered_says_why_and_the_rest_is_printed(at: Site, cli: Cli) -> None:
    said = cli("render", "fine", code=1)
    assert 'kubernetes.profiles has no profile "spot"' in said.err


def test_the_beginning_of_a_key_stands_for_its_task(at: Site, cli: Cli) -> None:
    _, train = objects(cli("render", "base"))
    key = train["metadata"]["labels"]["substratus.ai/key"]
    assert objects(cli("render", key[:12])) == [train]
    assert "no object is called bass" in cli("render", "bass", code=1).err


def test_a_namespace_is_asked_for_by_name(at: Site, cli: Cli) -> None:
    (job,) = objects(cli("render", "squad", "--namespace", "data"))
    assert job["metadata"]["namespace"] == "data"
    missing = cli("render", "squad", code=1)
    assert "no object at head is called squad in default; there is one in data" in missing.err


def test_an_object_for_which_nothing_runs_says_so(at: Site, cli: Cli) -> None:
    said = cli("render", "given", code=0)
    assert said.out == ""
    assert "nothing runs for it" in said.err


def test_without_a_cluster_in_the_configuration_it_is_bad_usage(
    at: Site, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text("repository: {url: .}\n")
    said = cli("render", "base", "--config", str(file), code=64)
    assert "registry" in said.err
