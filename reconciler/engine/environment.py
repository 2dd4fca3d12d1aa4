"""Environment of a command: the one definition of it, for every engine.

Its layers, each over the one before: :data:`DEFAULTS`, the manifest's variables (``env`` and the
scalar params), the contract's. An engine adds what its machines need (``PATH``, ``HOME``, GPUs)
below the contract, and the secrets. In a cluster the wrapper around the command sets the defaults,
as the container alone knows the image's variables, and ``ATTEMPT``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import rfc8785

from reconciler.types import JSON, Kind

#: Of an evaluation: the directory that it writes.
RESULT_DIR = "RESULT_DIR"
#: Mount points in a container, on either engine.
MODEL, BASE, DATA, RESULT = "/model/saved", "/base-model/saved", "/data", "/result"
SCRATCH, PARAMS = "/scratch", "/params/params.json"
#: Variables of the contract, which a manifest cannot set.
RESERVED_ENV = frozenset(
    {
        "MODEL_DIR",
        "BASE_MODEL_DIR",
        "DATA_DIR",
        RESULT_DIR,
        "SCRATCH_DIR",
        "PARAMS_FILE",
        "PROGRESS_FILE",
        "ATTEMPT",
        "NNODES",
        "NODE_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "KUBEFLOW_TRAINER_SERVER_URL",
        "KUBEFLOW_TRAINER_SERVER_TOKEN",
        "KUBEFLOW_TRAINER_SERVER_CA_CERT",
    }
)
RESERVED_PREFIXES = ("PARAM_", "RECONCILER_")
#: Set unless the image, the daemon's environment or the manifest sets them: text is UTF-8, and
#: Python's output appears when it is printed. Python leaves no files beside the source, which may
#: be read-only. No value has a blank: the wrapper gets them as words.
DEFAULTS: Mapping[str, str] = {
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPaths:
    """Directories of a command, and its files for params and progress.

    ``artifact`` is set for an evaluation alone: what it is of.
    """

    output: str
    params: str
    progress: str
    scratch: str
    base: str | None = None
    dataset: str | None = None
    artifact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportServer:
    """A server of Kubeflow Trainer's protocol, which a command may report to.

    ``token`` and ``ca`` are files; without ``ca``, the machine's own certificates count.
    """

    url: str
    token: str
    ca: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which the SDK and `transformers` find the server."""
        found = {
            "KUBEFLOW_TRAINER_SERVER_URL": self.url,
            "KUBEFLOW_TRAINER_SERVER_TOKEN": self.token,
        }
        return found | ({"KUBEFLOW_TRAINER_SERVER_CA_CERT": self.ca} if self.ca else {})


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
    """Return the name of the variable that holds an object's artifact."""
    return "DATA_DIR" if kind is Kind.DATASET else "MODEL_DIR"


def manifest_variables(env: Mapping[str, str], params: Mapping[str, JSON]) -> dict[str, str]:
    """Return the manifest's variables, and over them its scalar params'."""
    return {**dict(sorted(env.items())), **dict(sorted(param_variables(params).items()))}


def contract_variables(
    paths: CommandPaths,
    ranks: Ranks,
    *,
    kind: Kind,
    attempt: int | None = None,
    reports: ReportServer | None = None,
) -> dict[str, str]:
    """Return the variables that every engine promises to a command.

    ``kind`` is that of the artifact. ``attempt`` is None where it is not known yet. ``reports`` is
    None where no server takes reports.
    """
    own = {output_variable(kind): paths.output}
    if paths.artifact is not None:
        own = {output_variable(kind): paths.artifact, RESULT_DIR: paths.output}
    found = {
        **own,
        "PARAMS_FILE": paths.params,
        "PROGRESS_FILE": paths.progress,
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
    return found | (reports.variables if reports is not None else {})
