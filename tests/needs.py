"""What a machine has to have for a test; in CI, which has everything, no test is skipped for it."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def unavailable(message: str) -> NoReturn:
    """Skip the test that runs, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def program(*names: str, package: str) -> str:
    """The first of these programs that is installed; a distribution's package has it."""
    for name in names:
        if found := shutil.which(name):
            return found
    unavailable(f"{names[0]} is not installed: apt-get install {package}")
