"""Loads and trainings: what a container finds, and what it may do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import rfc8785

from reconciler.engine import report_token
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.manifests.rules import LARGEST_PARAMS
from reconciler.types import JSON, Gpu, Resources, SecretKey
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
from tests.specs import load, train


def test_a_training_finds_its_directories_where_the_contract_says(
    settings: ClusterSettings,
) -> None:
    mounts = mounts_of(main_of(train(), settings))
    assert "readOnly" not in mounts["/model/saved"]
    assert mounts["/base-model/saved"]["readOnly"] is True
    assert mounts["/data"]["readOnly"] is True
    assert mounts["/params"]["readOnly"] is True
    assert "readOnly" not in mounts["/scratch"]


def test_a_dataset_is_loaded_into_its_data_directory(settings: ClusterSettings) -> None:
    container = main_of(load(), settings)
    assert "readOnly" not in mounts_of(container)["/data"]
    assert "/model/saved" not in mounts_of(container)
    environment = environment_of(container)
    assert environment["DATA_DIR"] == "/data"
    assert "MODEL_DIR" not in environment


def test_the_variables_are_those_of_the_contract(settings: ClusterSettings) -> None:
    environment = environment_of(main_of(train(), settings))
    assert environment["MODEL_DIR"] == "/model/saved"
    assert environment["BASE_MODEL_DIR"] == "/base-model/saved"
    assert environment["DATA_DIR"] == "/data"
    assert environment["SCRATCH_DIR"] == "/scratch"
    assert environment["PARAMS_FILE"] == "/params/params.json"
    assert environment["PARAM_EPOCHS"] == "3"
    assert environment["PARAM_LEARNING_RATE"] == "0.5"
    assert environment["PARAM_NAME"] == "a$(b)"
    assert "PARAM_LAYERS" not in environment
    assert environment["WANDB_MODE"] == "offline"


def test_what_looks_like_a_reference_reaches_the_command_as_it_is(
    settings: ClusterSettings,
) -> None:
    words = [expand(word) for word in main_of(train(), settings)["command"]]
    assert words[-3:] == ["train.sh", "--price", "$(HOME) $$5"]


def test_the_wrapper_is_told_what_it_has_to_do(settings: ClusterSettings) -> None:
    environment = environment_of(main_of(train(), settings))
    assert environment["RECONCILER_KEY"] == train().key
    assert environment["RECONCILER_ARTIFACT"] == "/model/saved"
    assert environment["RECONCILER_GPUS"] == "2"
    assert environment["RECONCILER_SECRETS"] == "HF_TOKEN"
    assert '"params": {"epochs": 3' in environment["RECONCILER_LINEAGE"]
    assert "RECONCILER_STAGE" not in environment


def test_of_a_staged_bucket_the_wrapper_gets_both_places_and_most_of_the_grace(
    tmp_path: Path,
) -> None:
    settings = settings_of(
        tmp_path,
        buckets={"default": {"url": "gs://models", "driver": "rclone", "sync": "5m"}},
        kubernetes={"profiles": {"spot": {"spec": {"terminationGracePeriodSeconds": 24}}}},
    )
    spec = train(profile="spot")
    environment = environment_of(main_of(spec, settings))
    assert environment["RECONCILER_STAGE"] == environment["MODEL_DIR"]
    assert environment["RECONCILER_ARTIFACT"] == "/.reconciler-bucket/mount"
    assert environment["RECONCILER_SYNC"] == "300"
    assert environment["RECONCILER_RCLONE"] == "127.0.0.1:5572"
    assert pod_of(spec, settings)["terminationGracePeriodSeconds"] == 24
    assert environment["RECONCILER_GRACE"] == "8"


def test_params_come_from_the_pods_own_annotation(settings: ClusterSettings) -> None:
    job = job_of(train(), settings)
    template = job["spec"]["template"]
    assert json.loads(template["metadata"]["annotations"]["substratus.ai/params"]) == train().params
    (item,) = named(template["spec"]["volumes"], "params")["downwardAPI"]["items"]
    assert item["path"] == "params.json"
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['substratus.ai/params']"


def test_a_secret_is_named_and_never_told(settings: ClusterSettings) -> None:
    found = environment_of(main_of(train(), settings))["HF_TOKEN"]
    assert json.loads(found) == {"secretKeyRef": {"name": "hf", "key": "token"}}


def test_the_reconcilers_own_secrets_are_not_for_manifests(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, registry={"url": "registry.example.com/models", "secret": "push"}
    )
    spec = train(secret_env={"A": SecretKey("push", ".dockerconfigjson")})
    with pytest.raises(RenderError, match='secretEnv A names the Secret "push"') as caught:
        job_of(spec, settings)
    assert not caught.value.permanent


def test_resources_are_requested_and_limited_but_for_cpu(settings: ClusterSettings) -> None:
    assert main_of(train(), settings)["resources"] == {
        "requests": {
            "cpu": "3500m",
            "memory": "16Gi",
            "ephemeral-storage": "100Gi",
            "nvidia.com/gpu": "2",
        },
        "limits": {"memory": "16Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "2"},
    }
    volumes = pod_of(train(), settings)["volumes"]
    assert named(volumes, "shm")["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert named(volumes, "scratch")["emptyDir"] == {"sizeLimit": "100Gi"}


def test_nothing_asked_for_is_nothing_rendered(settings: ClusterSettings) -> None:
    assert main_of(load(), settings)["resources"] == {}
    assert "/dev/shm" not in mounts_of(main_of(load(), settings))


def test_a_gpu_type_is_a_node_selector_and_tolerations(settings: ClusterSettings) -> None:
    pod = pod_of(train(), settings)
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_gpus_of_any_type_need_no_table(settings: ClusterSettings) -> None:
    spec = train(resources=Resources(gpu=Gpu("", 1)))
    assert main_of(spec, settings)["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert "nodeSelector" not in pod_of(spec, settings)


def test_an_unknown_gpu_type_says_which_are_known(settings: ClusterSettings) -> None:
    with pytest.raises(RenderError, match=r'"amd-mi300".*known: nvidia-l4'):
        job_of(train(resources=Resources(gpu=Gpu("amd-mi300", 1))), settings)


def test_a_pod_keeps_to_the_baseline_and_gains_nothing(settings: ClusterSettings) -> None:
    pod = pod_of(train(), settings)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "privileged" not in container["securityContext"]


def test_a_service_account_that_is_asked_for_brings_its_token(settings: ClusterSettings) -> None:
    pod = pod_of(train(service_account="trainer"), settings)
    assert pod["serviceAccountName"] == "trainer"
    assert pod["automountServiceAccountToken"] is True


def test_nodes_pull_with_the_registrys_secret(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, registry={"url": "registry.example.com/models", "secret": "push"}
    )
    assert pod_of(train(), settings)["imagePullSecrets"] == [{"name": "push"}]


def test_a_run_without_a_command_cannot_be_rendered(settings: ClusterSettings) -> None:
    with pytest.raises(RenderError, match="no command"):
        job_of(replace(train(), command=()), settings)


def test_the_largest_params_fit_into_what_a_kernel_takes(settings: ClusterSettings) -> None:
    ones: list[JSON] = [1.0] * ((LARGEST_PARAMS - 7) // 2)
    params: dict[str, JSON] = {"a": ones}
    assert len(rfc8785.dumps(params)) >= LARGEST_PARAMS - 2
    pod = pod_of(train(params=params), settings)
    longest = max(len(v["name"] + v.get("value", "")) for v in pod["containers"][0]["env"])
    assert longest < 100 << 10  # of 128 KiB for a variable


def test_a_pod_reports_with_the_token_of_its_run(tmp_path: Path) -> None:
    key, ca = tmp_path / "key", tmp_path / "ca"
    key.write_text("a key of this test alone\n")
    ca.write_text("PEM")
    progress = {"url": "https://reconciler.example.com/", "keyFile": str(key), "caFile": str(ca)}
    spec = train()
    template = job_of(spec, settings_of(tmp_path, server={"progress": progress}))["spec"][
        "template"
    ]
    (container,) = template["spec"]["containers"]
    environment = environment_of(container)
    url = f"https://reconciler.example.com/progress/{spec.name}"
    assert environment["KUBEFLOW_TRAINER_SERVER_URL"] == environment["RECONCILER_REPORTS"] == url
    assert environment["KUBEFLOW_TRAINER_SERVER_TOKEN"] == "/.reconciler-reports/token"
    assert environment["KUBEFLOW_TRAINER_SERVER_CA_CERT"] == "/.reconciler-reports/ca.crt"
    assert environment["RECONCILER_CA"] == "/.reconciler-reports/ca.crt"
    annotations = template["metadata"]["annotations"]
    token = report_token(b"a key of this test alone", spec.name)
    assert annotations["substratus.ai/progress-token"] == token
    assert annotations["substratus.ai/progress-ca"] == "PEM"
    (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == "reports"]
    files = [item["path"] for item in volume["downwardAPI"]["items"]]
    assert files == ["token", "ca.crt"]


def test_without_the_key_at_hand_a_pod_is_rendered_without_a_token(tmp_path: Path) -> None:
    progress = {"url": "http://reconciler:8080", "keyFile": "not-here"}
    settings = settings_of(tmp_path, server={"progress": progress})
    annotations = job_of(train(), settings)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["substratus.ai/progress-token"] == "unknown"


def test_a_training_may_stall(settings: ClusterSettings) -> None:
    spec = replace(train(), stall=1800.0)
    assert environment_of(main_of(spec, settings))["RECONCILER_STALL"] == "1800"
    assert "RECONCILER_STALL" not in environment_of(main_of(train(), settings))
