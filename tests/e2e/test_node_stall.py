"""Attempts that neither print nor report: ended after their stall on both engines, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests import processes
from tests.e2e.node_site import NodeSite, daemon, until
from tests.e2e.site import Site

_HANG = "echo begun\nexec sleep 100000\n"
_MAKE = 'echo made >"$MODEL_DIR/weights"\n'
_STALL = "5s"


@pytest.mark.timeout(900)
def test_a_pod_that_hangs_is_ended_tried_again_and_explained(node_site: NodeSite) -> None:
    site = node_site
    source = {"image": {"ref": site.cluster.images["python"]}}
    _models(site, source, hang=["sh", "-c", _HANG], make=["sh", "-c", _MAKE])
    site.push()
    with daemon(site):
        until(lambda: _both_failed(site), what="the end of both")
        _check(site, site.environment())


@pytest.mark.timeout(600)
def test_a_process_that_hangs_is_ended_tried_again_and_explained(site: Site) -> None:
    for name, text in (("hang", _HANG), ("make", _MAKE)):
        site.write(f"src/{name}.sh", f"#!/bin/sh\n{text}", executable=True)
    source = {"git": {"url": ".", "path": "src"}}
    _models(site, source, hang=["./hang.sh"], make=["./make.sh"])
    site.push()
    with site.running():
        until(lambda: _both_failed(site), what="the end of both")
        _check(site, {})


def _models(
    site: Site, source: Mapping[str, Any], *, hang: Sequence[str], make: Sequence[str]
) -> None:
    """Write a Model whose training hangs, and one whose evaluation does."""
    hanging = {"mode": "Scratch", "command": hang, "stall": _STALL, "retries": 1}
    evaluation = {"command": hang, "stall": _STALL}
    specs = {
        "hangs": {"source": source, "training": hanging},
        "judged": {
            "source": source,
            "training": {"mode": "Scratch", "command": make},
            "evaluation": evaluation,
        },
    }
    for name, spec in specs.items():
        manifest = {"kind": "Model", "metadata": {"name": name}, "spec": spec}
        site.write(f"{name}.yaml", json.dumps(manifest))


def _both_failed(site: Site) -> bool:
    return site.phases() == {"hangs": "Failed", "judged": "Failed"}


def _check(site: Site, environment: Mapping[str, str]) -> None:
    statuses = site.statuses()
    for name, task, attempts in (("hangs", "train", 2), ("judged", "evaluate", 1)):
        status = statuses[name]
        assert status["reason"] == "Stalled", status
        (found,) = [each for each in status["tasks"] if each["task"] == task]
        assert found["attempts"] == attempts
        why = processes.run(
            site.command("why", name), cwd=site.root, env={**os.environ, **environment}
        )
        assert "neither printed nor reported progress for 5 s" in why.stdout, why
