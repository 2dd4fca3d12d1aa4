"""What is put into the pod for the wrapper."""

from __future__ import annotations

import json

from reconciler.engines.kubernetes.wrapper import environment, install_container, literal, wrapped


def test_the_init_container_keeps_to_the_restricted_standard() -> None:
    context = install_container("busybox@sha256:1")["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_scripts_are_small_enough_for_every_pod() -> None:
    assert len(json.dumps(install_container("busybox"))) < 54_000


def test_nothing_is_left_for_the_kubelet_to_replace() -> None:
    assert literal("$(HOME) $$ $x") == "$$(HOME) $$$$ $$x"
    assert wrapped(["train.sh", "$(A)"])[2:] == ["/.reconciler/wrapper.sh", "train.sh", "$$(A)"]
    variables = environment(key="k", lineage={"params": {"a": "$(B)"}}, artifact="/model/saved")
    values = {v["name"]: v["value"] for v in variables}
    assert values["RECONCILER_LINEAGE"] == '"params": {"a": "$$(B)"}'


def test_the_ranks_of_a_job_know_it_by_its_uid() -> None:
    variables = environment(key="k", lineage={}, artifact="/model/saved", nodes=2)
    (run,) = [v for v in variables if v["name"] == "RECONCILER_RUN"]
    assert "controller-uid" in json.dumps(run["valueFrom"])
