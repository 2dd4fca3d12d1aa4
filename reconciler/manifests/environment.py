"""Environment variables of a command; the same on every engine."""

from __future__ import annotations

import re
from collections.abc import Mapping

import rfc8785

from reconciler.types import JSON

RESERVED_ENV = frozenset(
    {
        "MODEL_DIR",
        "BASE_MODEL_DIR",
        "DATA_DIR",
        "SCRATCH_DIR",
        "PARAMS_FILE",
        "ATTEMPT",
        "NNODES",
        "NODE_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
    }
)
RESERVED_PREFIXES = ("PARAM_", "RECONCILER_")


def env_name(param: str) -> str:
    """Name the variable of a scalar param: ``learning-rate`` is ``PARAM_LEARNING_RATE``."""
    return "PARAM_" + re.sub(r"[^A-Z0-9]", "_", param.upper())


def param_variables(params: Mapping[str, JSON]) -> dict[str, str]:
    """Make the variables of the scalar params.

    Text is unchanged; other values are canonical JSON.
    Canonical JSON as in keys: params that are equal in a key (3 and 3.0) are equal here too.
    """
    variables = {}
    for name, value in params.items():
        if isinstance(value, str):
            variables[env_name(name)] = value
        elif isinstance(value, (int, float)):
            variables[env_name(name)] = rfc8785.dumps(value).decode()
    return variables


def is_reserved(name: str) -> bool:
    """Return whether the reconciler sets this variable, so that a manifest cannot."""
    return name in RESERVED_ENV or name.startswith(RESERVED_PREFIXES)
