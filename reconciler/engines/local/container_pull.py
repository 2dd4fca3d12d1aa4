"""Pulls of images that manifests name."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time

from reconciler.engine import FailureClass
from reconciler.engines.local.container_program import ContainerProgram
from reconciler.engines.local.control import Stop
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.run_context import RunContext, StoppedError
from reconciler.reasons import Reason, ReasonCode

#: Seconds of a pull; images of 20 GB come over slow lines.
_LONGEST = 6 * 3600.0
_GRACE = 10.0
_MOST_SAID = 600


def pull(run: RunContext, program: ContainerProgram, image: str) -> None:
    """Pull an image. Raises RunFailedError, and StoppedError to stop."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program.path, "pull", "--quiet", "--", image],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=program.variables,
        )
        deadline = time.monotonic() + _LONGEST
        try:
            while process.poll() is None:
                if not run.control.wait(1.0):
                    raise StoppedError(run.control.stop() or Stop.TERMINATED, run.run)
                if time.monotonic() > deadline:
                    raise _failed(image, f"it took longer than {_LONGEST / 3600:g} hours")
        finally:
            _end(process)
        if process.returncode:
            output.seek(max(0, output.seek(0, os.SEEK_END) - 4 * _MOST_SAID))
            said = " ".join(output.read().decode(errors="replace").split())
            raise _failed(image, said[-_MOST_SAID:] or f"exit code {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failed(image: str, detail: str) -> RunFailedError:
    reason = Reason.of(ReasonCode.IMAGE_PULL_FAILED, image=image, detail=detail)
    return RunFailedError(reason, FailureClass.INFRASTRUCTURE)
