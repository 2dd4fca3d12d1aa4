"""Classes of the manifests: their fields, and the effect of each field.

The reader, the published JSON Schema and the reference page are made from these classes.
Attributes are the YAML fields in snake_case; values are parsed (cores, bytes, seconds). Checks
that need more than one field of one object (references, duplicates) are in
:mod:`reconciler.manifests.rules` and :mod:`reconciler.manifests.collection`.

A new field:

- declares its effect in its annotation: ``Effect.KEY``, ``Effect.EXECUTION`` or ``Effect.NONE``;
  keys, execution hashes, the texts of plans and the reference page follow from that;
- has a default that means what its absence meant before. A field at its default is left out of
  keys, so the keys of existing manifests stay as they are.

A field that holds a section declares no effect: the fields of the section do. If such a field
declares one, the section is hashed as one value, and its fields have that effect.

A required section that a manifest leaves out is one object, the same in all manifests: nothing
changes a document, and the default sections of 1,000 manifests would take 5 MiB.
"""

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from reconciler.manifests import patterns
from reconciler.manifests.effects import Effect
from reconciler.manifests.fields import (
    AnnotationKey,
    Bytes,
    Cores,
    EnvName,
    LabelKey,
    LabelValue,
    Name,
    Retries,
    Seconds,
    Section,
    Subdomain,
)
from reconciler.manifests.gate_lines import GateLine, parse_gate_line
from reconciler.manifests.matrix import Combination, MatrixSection
from reconciler.manifests.sources import (
    BucketSection,
    DatasetSource,
    EvaluationSource,
    ModelSource,
    Reference,
)


class GpuSection(Section):
    """GPUs of one type per node."""

    type: Annotated[
        Annotated[str, Field(max_length=63, pattern=patterns.GPU_TYPE)] | None,
        Effect.EXECUTION,
        Field(description="As the configuration names it, such as nvidia-l4. Default: any."),
    ] = None
    count: Annotated[int, Effect.EXECUTION, Field(ge=1, le=1024)] = 1


class ResourcesSection(Section):
    """Resources of one node of the run."""

    cpu: Annotated[
        Cores | None, Effect.EXECUTION, Field(description="Cores, such as 4 or 500m.")
    ] = None
    memory: Annotated[Bytes | None, Effect.EXECUTION, Field(description="Bytes, such as 16Gi.")] = (
        None
    )
    disk: Annotated[
        Bytes | None, Effect.EXECUTION, Field(description="Fast local disk at /scratch.")
    ] = None
    shm: Annotated[
        Bytes | None, Effect.EXECUTION, Field(description="Shared memory at /dev/shm.")
    ] = None
    gpu: Annotated[GpuSection | None, Effect.EXECUTION] = None
    nodes: Annotated[
        int,
        Effect.EXECUTION,
        Field(ge=1, le=1024, description="More than one only for a training."),
    ] = 1


class SecretKeySection(Section):
    """A key of a Secret in the object's namespace."""

    name: Annotated[Subdomain, Effect.EXECUTION, Field(description="The Secret's name.")]
    key: Annotated[str, Effect.EXECUTION, Field(pattern=patterns.DATA_KEY, max_length=253)]


class RunSection(Section):
    """Fields of every task: its execution, and ``rerun``, which repeats it."""

    resources: ResourcesSection = Field(default_factory=cache(ResourcesSection))
    timeout: Annotated[Seconds, Effect.EXECUTION]
    retries: Annotated[Retries, Effect.EXECUTION]
    profile: Annotated[
        Name | None,
        Effect.EXECUTION,
        Field(description="A pod template of the daemon's configuration."),
    ] = None
    queue: Annotated[Name | None, Effect.EXECUTION, Field(description="A Kueue queue.")] = None
    priority: Annotated[
        Subdomain | None, Effect.EXECUTION, Field(description="A priority class.")
    ] = None
    service_account: Annotated[
        Subdomain | None,
        Effect.EXECUTION,
        Field(description="Default: none, and no token in the pod."),
    ] = None
    rerun: Annotated[
        str,
        Effect.KEY,
        Field(max_length=255, description="Any new value asks for the same inputs once more."),
    ] = ""


class BuildSection(RunSection):
    """The build of the image. ``timeout`` is of one attempt."""

    timeout: Annotated[Seconds, Effect.EXECUTION] = 3600.0
    retries: Annotated[Retries, Effect.EXECUTION] = 2


Command = list[Annotated[str, Field(max_length=32768)]]


class CommandSection(RunSection):
    """Fields of tasks that run a command: load and training."""

    params: Annotated[
        dict[str, Any],
        Effect.KEY,
        Field(
            default_factory=dict,
            description="What the command finds in params.json, and as PARAM_<NAME>; 64 KiB.",
        ),
    ]
    env: Annotated[
        dict[EnvName, str],
        Effect.KEY,
        Field(default_factory=dict, description="Environment variables."),
    ]
    secret_env: Annotated[
        dict[EnvName, SecretKeySection],
        Effect.EXECUTION,
        Field(default_factory=dict, description="Environment variables from Secrets."),
    ]
    stall: Annotated[
        Seconds | None,
        Effect.EXECUTION,
        Field(
            description="The longest time of an attempt without output and progress. "
            "Default: no bound.",
        ),
    ] = None


class LoadSection(CommandSection):
    """The load of initial weights or data; with ``from``, they exist already."""

    command: Annotated[
        Command,
        Effect.KEY,
        Field(
            default_factory=lambda: ["load.sh"],
            description="Program and arguments. Empty, with source.model and no training: the "
            "base's image and artifact are taken over.",
        ),
    ]
    from_: Annotated[
        BucketSection | None,
        Field(alias="from", description="Where the weights are already. Then nothing runs."),
    ] = None
    timeout: Annotated[Seconds, Effect.EXECUTION] = 21600.0
    retries: Annotated[Retries, Effect.EXECUTION] = 2

    @model_validator(mode="after")
    def _from_runs_nothing(self) -> Self:
        if self.from_ is not None:
            extra = sorted(self.model_fields_set - {"from_"})
            if extra:
                raise ValueError(
                    f"with from nothing runs; remove {', '.join(map(to_camel, extra))}"
                )
        return self


class TrainingSection(CommandSection):
    """The training: on the base's weights (Finetune), or without them (Scratch)."""

    mode: Annotated[
        Literal["Finetune", "Scratch"],
        Effect.KEY,
        Field(description="Finetune: the base's weights are mounted. Scratch: they are not."),
    ] = "Finetune"
    command: Annotated[
        Command,
        Effect.KEY,
        Field(
            min_length=1,
            default_factory=lambda: ["train.sh"],
            description="Program and arguments.",
        ),
    ]
    dataset: Annotated[
        Reference | None, Field(description="The Dataset that is mounted as /data.")
    ] = None
    matrix: Annotated[
        MatrixSection | None,
        Field(description="A sweep: a training for each combination. Default: one training."),
    ] = None
    timeout: Annotated[Seconds, Effect.EXECUTION] = 86400.0
    retries: Annotated[Retries, Effect.EXECUTION] = 0

    def with_params(self, values: Combination) -> Self:
        """Return the training of one combination of the matrix."""
        return self.model_copy(update={"params": {**self.params, **values}, "matrix": None})


def _gate_line(text: str) -> str:
    parse_gate_line(text)
    return text


class EvaluationSection(CommandSection):
    """The evaluation of a Model's artifact, and its gate."""

    command: Annotated[
        Annotated[Command, Field(min_length=1)] | None,
        Effect.KEY,
        Field(
            description="Program and arguments. It finds the artifact in MODEL_DIR, read-only, and "
            "writes RESULT_DIR/metrics.json. Default: none; the artifact's own metrics count.",
        ),
    ] = None
    source: Annotated[
        EvaluationSource | None,
        Field(
            description="The code and image of the test, built as build says. Default: those of "
            "the model."
        ),
    ] = None
    dataset: Annotated[
        Reference | None, Field(description="The Dataset that is mounted as /data.")
    ] = None
    require: Annotated[
        list[
            Annotated[
                str,
                Field(pattern=patterns.GATE_LINE, max_length=300),
                AfterValidator(_gate_line),
            ]
        ],
        Effect.NONE,
        Field(
            default_factory=list,
            max_length=50,
            description="Lines such as accuracy >= 0.95 or accuracy >= current.accuracy - 0.005, "
            "all of which the metrics must pass. current is the accepted artifact.",
        ),
    ]
    timeout: Annotated[Seconds, Effect.EXECUTION] = 86400.0
    retries: Annotated[Retries, Effect.EXECUTION] = 0

    @model_validator(mode="after")
    def _without_a_command_nothing_runs(self) -> Self:
        if self.command is None:
            extra = sorted(self.model_fields_set - {"command", "require"})
            if extra:
                names = ", ".join(map(to_camel, extra))
                raise ValueError(f"without a command nothing runs; remove {names}")
            if not self.require:
                raise ValueError("expected a command, require, or both")
        return self

    @property
    def lines(self) -> tuple[GateLine, ...]:
        """The parsed lines of ``require``."""
        return tuple(map(parse_gate_line, self.require))


class Metadata(Section):
    """Name, labels and annotations of an object, as in Kubernetes."""

    name: Annotated[Name, Effect.KEY]
    namespace: Annotated[
        Name | None, Effect.KEY, Field(description="Default: the configured one.")
    ] = None
    labels: Annotated[
        dict[LabelKey, LabelValue],
        Effect.NONE,
        Field(default_factory=dict, description="Jobs and pods get those in allow.labels."),
    ]
    annotations: Annotated[
        dict[AnnotationKey, str],
        Effect.NONE,
        Field(
            default_factory=dict,
            description="substratus.ai/retry, update, accept, prune and formerly mean something "
            "here.",
        ),
    ]


class ModelSpec(Section):
    """The source and the tasks of a Model."""

    source: ModelSource
    build: BuildSection = Field(default_factory=cache(BuildSection))
    load: LoadSection = Field(default_factory=cache(LoadSection))
    training: Annotated[
        TrainingSection | None, Field(description="Default: none; the loaded weights are it.")
    ] = None
    evaluation: Annotated[
        EvaluationSection | None,
        Field(description="A test of each new artifact. Default: none; each is accepted."),
    ] = None
    suspend: Annotated[
        bool, Effect.NONE, Field(description="Starts nothing new; what runs, goes on.")
    ] = False


class DatasetSpec(Section):
    """The source and the tasks of a Dataset."""

    source: DatasetSource
    build: BuildSection = Field(default_factory=cache(BuildSection))
    load: LoadSection = Field(default_factory=cache(LoadSection))
    suspend: Annotated[
        bool, Effect.NONE, Field(description="Starts nothing new; what runs, goes on.")
    ] = False


class ModelManifest(Section):
    """A model: weights that are loaded or trained."""

    api_version: Annotated[Literal["substratus.ai/v1"], Effect.NONE] = "substratus.ai/v1"
    kind: Annotated[Literal["Model"], Effect.KEY]
    metadata: Metadata
    spec: ModelSpec


class DatasetManifest(Section):
    """A dataset: files that trainings read."""

    api_version: Annotated[Literal["substratus.ai/v1"], Effect.NONE] = "substratus.ai/v1"
    kind: Annotated[Literal["Dataset"], Effect.KEY]
    metadata: Metadata
    spec: DatasetSpec


ManifestDocument = ModelManifest | DatasetManifest
