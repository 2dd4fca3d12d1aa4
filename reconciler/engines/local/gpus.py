"""The GPUs of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path

_DEADLINE = 20.0  # a driver in trouble hangs its tools
_DEVICE = re.compile(r"nvidia\d+")


def find_gpus() -> tuple[str, ...]:
    """Ids as CUDA_VISIBLE_DEVICES takes them; where the daemon has that set, those alone."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        named = (gpu.strip() for gpu in given.split(","))
        # CUDA sees those before the first that is none; -1 is the usual way to hide them all.
        return tuple(gpu for gpu in takewhile(lambda gpu: not gpu.startswith("-"), named) if gpu)
    return tuple(str(number) for number in range(_count()))


def _count() -> int:
    if (tool := shutil.which("nvidia-smi")) is not None:
        try:
            done = subprocess.run(
                [tool, "-L"], capture_output=True, text=True, timeout=_DEADLINE, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        if done.returncode == 0:
            return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return sum(_DEVICE.fullmatch(path.name) is not None for path in Path("/dev").iterdir())
