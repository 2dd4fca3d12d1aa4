"""What holds for every run, whatever a manifest says."""

from __future__ import annotations

import json
import re
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.job import dump, render
from reconciler.engines.kubernetes.pod_parts import cores, size
from reconciler.planner.names import run_name
from reconciler.types import (
    JSON,
    BuildContext,
    Commit,
    ExecutionHash,
    Gpu,
    Kind,
    Mounted,
    ObjectRef,
    Resources,
    SecretKey,
    TaskKey,
    TaskKind,
    TreeId,
)
from tests.engines.kubernetes.specs import CONFIG, check_schema, environment_of, expand, settings_of
from tests.specs import labels, train

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

hexes = st.text("0123456789abcdef", min_size=40, max_size=40)
names = st.from_regex(NAME, fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
variables = st.from_regex(re.compile(r"[A-Z][A-Z0-9_]{0,20}"), fullmatch=True).filter(
    lambda name: not name.startswith(("PARAM_", "RECONCILER_"))
)
urls = st.builds(
    "{}{}/{}/".format,
    st.sampled_from(["gs://models/", "s3://data/", "pvc://claim.a/", "file:///srv/", "swift://x/"]),
    names,
    hexes,
)
resources = st.builds(
    Resources,
    cpu=st.none() | st.floats(0.001, 512),
    memory=st.none() | st.integers(1, 1 << 42),
    disk=st.none() | st.integers(1, 1 << 42),
    shm=st.none() | st.integers(1, 1 << 38),
    gpu=st.none() | st.builds(Gpu, st.sampled_from(["", "nvidia-l4"]), st.integers(1, 16)),
    nodes=st.integers(1, 8),
)
scalars: st.SearchStrategy[JSON] = st.none() | st.booleans() | st.integers(-9, 9) | texts
params: st.SearchStrategy[dict[str, JSON]] = st.dictionaries(names, scalars, max_size=4)
contexts = st.builds(
    BuildContext,
    url=st.sampled_from(["", "https://git.example.com/a", "git@git.example.com:a"]),
    commit=hexes.map(Commit),
    tree=hexes.map(TreeId),
    path=st.sampled_from(["", "a", "a/b"]),
    build_args=st.dictionaries(variables, texts, max_size=3),
    submodules=st.booleans(),
)


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    """Any run that a planner orders."""
    task = draw(st.sampled_from(TaskKind))
    ref = ObjectRef(draw(st.sampled_from(Kind)), draw(names), draw(names))
    key, execution_hash = TaskKey(draw(hexes)), ExecutionHash(draw(hexes))
    asked = draw(resources)
    building = task is TaskKind.BUILD
    owner = None if building else ref
    spec = train(
        task=task,
        key=key,
        execution_hash=execution_hash,
        namespace=ref.namespace,
        object=owner,
        name=run_name(
            instance="default",
            namespace=ref.namespace,
            ref=owner,
            task=task,
            key=key,
            execution_hash=execution_hash,
        ),
        labels=labels(task, owner),
        resources=asked if task is TaskKind.TRAIN else replace(asked, nodes=1),
        timeout=draw(st.floats(0.1, 1e7)),
        retries=draw(st.integers(0, 100)),
        queue=draw(st.none() | names),
        priority=draw(st.none() | names),
        service_account=draw(st.none() | names),
        profile=draw(st.none() | st.just("spot")),
    )
    if building:
        return replace(
            spec,
            build=draw(contexts),
            image=None,
            command=(),
            params={},
            env={},
            secret_env={},
            output=None,
            base=None,
            dataset=None,
        )
    mounted = st.none() | st.builds(Mounted, hexes.map(TaskKey), urls)
    return replace(
        spec,
        command=tuple(draw(st.lists(texts, min_size=1, max_size=3))),
        params=dict(draw(params)),
        env=draw(st.dictionaries(variables, texts, max_size=3)),
        secret_env=draw(st.dictionaries(variables, st.builds(SecretKey, names, names), max_size=2)),
        output=draw(urls),
        output_kind=ref.kind,
        base=draw(mounted) if ref.kind is Kind.MODEL else None,
        dataset=draw(mounted) if task is TaskKind.TRAIN and ref.kind is Kind.MODEL else None,
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> ClusterSettings:
    return settings_of(
        tmp_path_factory.mktemp("any"),
        buckets={
            "default": {"url": "gs://models"},
            "data": {"url": "s3://data", "inventory": False},
            "claim": {"url": "pvc://claim.a"},
            "disk": {"url": "file:///srv"},
            "any": {"url": "swift://x", "driver": "rclone", "secret": "swift-secret"},
        },
        registry={"url": "registry.example.com/models", "secret": "registry-secret"},
        kubernetes={
            **CONFIG["kubernetes"],
            "profiles": {"spot": {"spec": {"nodeSelector": {"pool": "spot"}}}},
        },
    )


any_run = settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking a whole run takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@any_run
@given(spec=specs())
def test_every_object_is_one_that_kubernetes_knows(spec: RunSpec, cluster: ClusterSettings) -> None:
    objects = render(spec, cluster)
    check_schema(objects)
    assert objects[0]["kind"] == "Job"
    for item in objects:
        metadata = item["metadata"]
        assert NAME.fullmatch(metadata["name"])
        for value in metadata["labels"].values():
            assert LABEL.fullmatch(value)


@any_run
@given(spec=specs())
def test_a_pod_is_consistent(spec: RunSpec, cluster: ClusterSettings) -> None:
    pod = render(spec, cluster)[0]["spec"]["template"]["spec"]
    volumes = [volume["name"] for volume in pod["volumes"]]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert len(volumes) == len(set(volumes))
    assert len(containers) == len({container["name"] for container in containers})
    mounted = {mount["name"] for c in containers for mount in c["volumeMounts"]}
    assert mounted == set(volumes)
    assert all(NAME.fullmatch(name) for name in volumes)
    for container in containers:
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(paths) == len(set(paths))


@any_run
@given(spec=specs())
def test_the_same_run_is_always_the_same(spec: RunSpec, cluster: ClusterSettings) -> None:
    assert json.dumps(render(spec, cluster)) == json.dumps(render(spec, cluster))


@any_run
@given(spec=specs())
def test_a_job_is_suspended_only_for_a_queue(spec: RunSpec, cluster: ClusterSettings) -> None:
    assert render(spec, cluster)[0]["spec"].get("suspend", False) is (spec.queue is not None)


@any_run
@given(spec=specs())
def test_a_command_and_its_variables_arrive_as_written(
    spec: RunSpec, cluster: ClusterSettings
) -> None:
    if spec.build is not None:
        return
    (main,) = render(spec, cluster)[0]["spec"]["template"]["spec"]["containers"]
    environment = environment_of(main)
    for name, value in spec.env.items():
        if name not in ("MODEL_DIR", "DATA_DIR"):
            assert environment[name] == value
    words = [expand(word) for word in main["command"]]
    assert words[-len(spec.command) :] == list(spec.command)


@any_run
@given(spec=specs())
def test_a_secret_is_a_file_or_a_reference(spec: RunSpec, cluster: ClusterSettings) -> None:
    """Nothing of a Secret can stand in an object: rendering never sees one. What can be wrong is
    whom it reaches: the reconciler's own Secrets reach no container of a command.
    """
    pod = render(spec, cluster)[0]["spec"]["template"]["spec"]
    own = {
        volume["name"]
        for volume in pod["volumes"]
        if volume.get("secret", {}).get("secretName") in cluster.own_secrets
    }
    if spec.build is None:
        (main,) = pod["containers"]
        assert not own & {mount["name"] for mount in main["volumeMounts"]}
    for container in [*pod["containers"], *pod["initContainers"]]:
        for variable in container.get("env", []):
            reference: dict[str, Any] = variable.get("valueFrom", {}).get("secretKeyRef", {})
            assert reference.get("name") not in cluster.own_secrets


@any_run
@given(spec=specs())
def test_a_reader_of_yaml_1_1_reads_what_was_rendered(
    spec: RunSpec, cluster: ClusterSettings
) -> None:
    objects = render(spec, cluster)
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    assert list(reader.load_all(dump(objects))) == objects


@given(st.integers(1, 1 << 60))
def test_a_size_is_exact(value: int) -> None:
    text = size(value)
    unit = text.lstrip(string.digits)
    power = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}[unit]
    assert int(text.removesuffix(unit)) << power == value


@given(st.floats(0.001, 10000))
def test_cores_are_never_less_than_asked(value: float) -> None:
    text = cores(value)
    found = int(text[:-1]) / 1000 if text.endswith("m") else int(text)
    assert value <= found + 1e-9
    assert found < value + 0.001 + 1e-9
