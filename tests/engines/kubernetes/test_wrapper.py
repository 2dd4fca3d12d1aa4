"""The wrapper on a bucket that is a file system: the contract between a command and its artifact."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler.engines.kubernetes.termination import TerminationState
from reconciler.engines.local.marker import read_marker
from reconciler.run import FailureClass
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import KEY, LINEAGE, log


def test_a_command_that_succeeds_leaves_an_artifact_that_either_engine_takes(
    pod: MakeContainer,
) -> None:
    container = pod(gpus=2)
    ended = container.sh(
        'echo weights >"$MODEL_DIR/w.bin"; echo "{\\"accuracy\\": 0.97}" >"$MODEL_DIR/metrics.json"'
    )
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    marker = read_marker(container.bucket, KEY)
    assert marker is not None
    assert marker.result("x").metrics == {"accuracy": 0.97}
    assert {name: marker.content[name] for name in LINEAGE} == LINEAGE
    assert marker.content["attempt"] == 1
