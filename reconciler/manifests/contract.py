"""The names a command finds in its environment; the same on every engine."""

from __future__ import annotations

import re

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
    """The variable of a scalar param: ``learning-rate`` is ``PARAM_LEARNING_RATE``."""
    return "PARAM_" + re.sub(r"[^A-Z0-9]", "_", param.upper())


def is_reserved(name: str) -> bool:
    """Whether a manifest may not set this variable."""
    return name in RESERVED_ENV or name.startswith(RESERVED_PREFIXES)
