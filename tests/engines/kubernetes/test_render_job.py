"""The Job around the pod: identity, retries, queues, and several nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.api_types import ObjectMeta
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.job import render
from reconciler.engines.kubernetes.observer import identify
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.types import Resources
from tests.engines.kubernetes.specs import environment_of, job_of, main_of, pod_of, settings_of
from tests.specs import EXECUTION_HASH, REQUEST_HASH, build, load, train


@pytest.mark.parametrize("spec", [train(), load(), build()], ids=["train", "load", "build"])
def test_a_job_and_its_pods_say_whose_they_are(spec: RunSpec, settings: ClusterSettings) -> None:
    job = job_of(spec, settings)
    assert job["metadata"]["name"] == spec.name
    assert job["metadata"]["namespace"] == spec.namespace
    assert job["metadata"]["labels"] == spec.labels
    metadata_of_pod = job["spec"]["template"]["metadata"]
    assert metadata_of_pod["labels"] == spec.labels
    annotations = job["metadata"]["annotations"]
    assert annotations["substratus.ai/execution-hash"] == EXECUTION_HASH
    assert annotations["substratus.ai/request-hash"] == REQUEST_HASH
    assert annotations["substratus.ai/object"] == "Model default/falcon"
    assert annotations["substratus.ai/path"] == "models/falcon.yaml"
    pushed_to = f"registry.example.com/models/{spec.namespace}:{spec.key}"
    assert annotations["substratus.ai/output"] == (spec.output or pushed_to)
    of_job, of_pod = (
        identify(msgspec.convert(metadata, ObjectMeta), spec.name)
        for metadata in (job["metadata"], {"namespace": spec.namespace} | metadata_of_pod)
    )
    assert of_job == of_pod is not None, "pods whose Job was deleted are still the run"


def test_retries_are_of_the_command_and_a_disruption_is_none(settings: ClusterSettings) -> None:
    spec = job_of(train(), settings)["spec"]
    assert spec["backoffLimit"] == 2
    assert spec["podReplacementPolicy"] == "Failed"
    disrupted, *others = spec["podFailurePolicy"]["rules"]
    assert disrupted == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert {rule["action"] for rule in others} == {"FailJob"}


def test_a_rule_names_only_containers_that_are_there(settings: ClusterSettings) -> None:
    for spec in (train(), build()):
        job = job_of(spec, settings)
        pod = job["spec"]["template"]["spec"]
        there = {c["name"] for c in [*pod["containers"], *pod["initContainers"]]}
        for rule in job["spec"]["podFailurePolicy"]["rules"][1:]:
            assert rule["onExitCodes"]["containerName"] in there


def test_the_timeout_is_of_the_pod(settings: ClusterSettings) -> None:
    assert pod_of(train(timeout=90.2), settings)["activeDeadlineSeconds"] == 91
    assert pod_of(train(timeout=1e12), settings)["activeDeadlineSeconds"] == 2**31 - 1
    assert "activeDeadlineSeconds" not in job_of(train(), settings)["spec"]


def test_a_finished_job_is_kept_for_a_week_at_most(settings: ClusterSettings) -> None:
    assert job_of(train(), settings)["spec"]["ttlSecondsAfterFinished"] == 604800


def test_a_queue_gets_the_job_suspended(settings: ClusterSettings) -> None:
    job = job_of(train(queue="gpus"), settings)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["suspend"] is True
    assert "suspend" not in job_of(train(), settings)["spec"]


def test_a_template_does_not_reach_the_job_that_kueue_reads(tmp_path: Path) -> None:
    partial = {"kueue.x-k8s.io/job-min-parallelism": "1"}
    template = {"metadata": {"annotations": partial, "labels": partial}}
    kubernetes = {"templates": {"train": template}, "profiles": {"partial": template}}
    spec = train(queue="gpus", profile="partial", resources=Resources(nodes=2))
    job = job_of(spec, settings_of(tmp_path, kubernetes=kubernetes))
    assert partial.items() <= job["spec"]["template"]["metadata"]["annotations"].items()
    assert not partial.keys() & job["metadata"]["annotations"].keys()
    assert not partial.keys() & job["metadata"]["labels"].keys()


def test_a_priority_is_the_pods_priority_class(settings: ClusterSettings) -> None:
    assert pod_of(train(priority="high"), settings)["priorityClassName"] == "high"


def test_several_nodes_are_an_indexed_job_and_a_headless_service(
    settings: ClusterSettings,
) -> None:
    spec = train(resources=Resources(nodes=4), retries=3)
    job, service = render(spec, settings)
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert job["spec"]["backoffLimit"] == 0
    (disrupted,) = job["spec"]["podFailurePolicy"]["rules"]
    assert disrupted == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"batch.kubernetes.io/job-name": spec.name},
    }


def test_ranks_find_each_other_as_torchrun_expects(settings: ClusterSettings) -> None:
    spec = train(resources=Resources(nodes=4))
    environment = environment_of(main_of(spec, settings))
    assert environment["NNODES"] == "4"
    assert "job-completion-index" in environment["NODE_RANK"]
    assert environment["MASTER_ADDR"] == f"{spec.name}-0.{spec.name}"
    assert environment["MASTER_PORT"] == "29500"


def test_a_single_node_is_a_world_of_its_own(settings: ClusterSettings) -> None:
    environment = environment_of(main_of(train(), settings))
    assert environment["NNODES"] == "1"
    assert environment["NODE_RANK"] == "0"
    assert environment["MASTER_ADDR"] == "127.0.0.1"


TEMPLATES: dict[str, Any] = {
    "templates": {
        "train": {
            "metadata": {"labels": {"cost": "research"}, "annotations": {"note": "a"}},
            "spec": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "dedicated", "operator": "Exists"}],
                "containers": [
                    {
                        "name": "main",
                        "env": [
                            {"name": "NCCL_DEBUG", "value": "INFO"},
                            {"name": "MODEL_DIR", "value": "/elsewhere"},
                            {"name": "WANDB_MODE", "value": "online"},
                        ],
                        "securityContext": {"runAsNonRoot": True},
                    }
                ],
                "volumes": [{"name": "cache", "emptyDir": {}}],
            },
        }
    },
    "profiles": {
        "spot": {
            "spec": {
                "nodeSelector": {"pool": "spot"},
                "terminationGracePeriodSeconds": 25,
                "enableServiceLinks": None,
            }
        }
    },
}


def test_a_template_is_merged_in_by_name(tmp_path: Path) -> None:
    job = job_of(train(), settings_of(tmp_path, kubernetes=TEMPLATES))
    template = job["spec"]["template"]
    assert template["metadata"]["labels"]["cost"] == "research"
    assert template["metadata"]["labels"]["team"] == "vision"
    assert template["spec"]["nodeSelector"]["pool"] == "gpu"
    (main,) = template["spec"]["containers"]
    assert main["securityContext"] == {"allowPrivilegeEscalation": False, "runAsNonRoot": True}
    assert {"name": "cache", "emptyDir": {}} in template["spec"]["volumes"]
    assert {"key": "dedicated", "operator": "Exists"} in template["spec"]["tolerations"]
    environment = environment_of(main)
    assert environment["NCCL_DEBUG"] == "INFO"


def test_a_template_changes_no_variable_that_the_run_has(tmp_path: Path) -> None:
    environment = environment_of(main_of(train(), settings_of(tmp_path, kubernetes=TEMPLATES)))
    assert environment["MODEL_DIR"] == "/model/saved"
    assert environment["WANDB_MODE"] == "offline"


def test_a_profile_goes_over_the_template_and_null_removes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, kubernetes=TEMPLATES)
    pod = pod_of(train(profile="spot"), settings)
    assert pod["nodeSelector"]["pool"] == "spot"
    assert pod["terminationGracePeriodSeconds"] == 25
    assert "enableServiceLinks" not in pod


def test_an_unknown_profile_says_which_are_known(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, kubernetes=TEMPLATES)
    with pytest.raises(RenderError, match=r'"sport" \(known: spot\)'):
        job_of(train(profile="sport"), settings)


def test_a_template_is_of_its_kind_of_task_alone(tmp_path: Path) -> None:
    assert "nodeSelector" not in pod_of(load(), settings_of(tmp_path, kubernetes=TEMPLATES))
