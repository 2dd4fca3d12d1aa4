"""Environment of a command: the one definition of it, for every engine.

Its layers, each over the one before: :data:`DEFAULTS`, the manifest's variables (``env`` and the
scalar params), the contract's. An engine adds what its machines need (``PATH``, ``HOME``, GPUs)
below the contract, and the secrets. In a cluster the wrapper around the command sets the defaults
and ``ATTEMPT``, which are known in the container alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.manifests import param_variables
from reconciler.types import JSON, Kind

#: Set unless the image or the manifest sets them: Python's output appears when it is printed.
DEFAULTS: Mapping[str, str] = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPaths:
    """Directories of a command, and the file of its params."""

    output: str
    params: str
    scratch: str
    base: str | None = None
    dataset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Processes of one attempt, and rank 0's address, where torchrun's ranks meet.

    ``rank`` is None where the engine sets ``NODE_RANK`` itself.
    """

    nodes: int
    address: str
    port: int
    rank: int | None


def output_variable(kind: Kind) -> str:
    """Return the name of the variable that holds the artifact's directory."""
    return "DATA_DIR" if kind is Kind.DATASET else "MODEL_DIR"


def manifest_variables(env: Mapping[str, str], params: Mapping[str, JSON]) -> dict[str, str]:
    """Return the manifest's variables, and over them its scalar params'."""
    return {**dict(sorted(env.items())), **dict(sorted(param_variables(params).items()))}


def contract_variables(
    paths: CommandPaths, ranks: Ranks, *, kind: Kind, attempt: int | None = None
) -> dict[str, str]:
    """Return the variables that every engine promises to a command.

    ``kind`` is that of the artifact. ``attempt`` is None where it is not known yet.
    """
    found = {
        output_variable(kind): paths.output,
        "PARAMS_FILE": paths.params,
        "SCRATCH_DIR": paths.scratch,
    }
    if paths.base is not None:
        found["BASE_MODEL_DIR"] = paths.base
    if paths.dataset is not None:
        found["DATA_DIR"] = paths.dataset
    found["NNODES"] = str(ranks.nodes)
    if ranks.rank is not None:
        found["NODE_RANK"] = str(ranks.rank)
    found |= {"MASTER_ADDR": ranks.address, "MASTER_PORT": str(ranks.port)}
    if attempt is not None:
        found["ATTEMPT"] = str(attempt)
    return found
