"""What a manifest may say. The published JSON Schema is written from these same classes.

Attributes are the YAML fields in snake_case. Values come out parsed (cores, bytes, seconds).
What needs more than one field of one object to judge (references, duplicates) is elsewhere.

A field added here must default to what its absence meant before, and :mod:`planner.keys` must
leave it out at that default: otherwise every key in every repository would change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from reconciler.manifests import patterns
from reconciler.manifests.quantity import parse_bytes, parse_duration, parse_quantity


class Section(BaseModel):
    """A mapping of a manifest: unknown fields and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
    )


Name = Annotated[
    str,
    Field(pattern=patterns.NAME, description="A DNS-1123 label: lower-case letters, digits, -."),
]
KeyHex = Annotated[str, Field(pattern=patterns.KEY, description="A key: 40 lower-case hex digits.")]
Subdomain = Annotated[str, Field(pattern=patterns.SUBDOMAIN, max_length=253)]
LabelKey = Annotated[str, Field(pattern=patterns.LABEL_KEY, max_length=317)]
LabelValue = Annotated[str, Field(pattern=patterns.LABEL_VALUE)]
AnnotationKey = Annotated[str, Field(pattern=patterns.ANNOTATION_KEY, max_length=317)]
EnvName = Annotated[str, Field(pattern=patterns.ENV, max_length=255)]


def _cores(value: object) -> object:
    return float(parse_quantity(_scalar(value)))


def _bytes(value: object) -> object:
    return parse_bytes(_scalar(value))


def _seconds(value: object) -> object:
    return parse_duration(_scalar(value))


def _scalar(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("expected a string or a number")
    return value


_QUANTITY_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"},
        {"type": "number", "minimum": 0},
    ]
}
_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?$", "minLength": 2},
        {"type": "number", "exclusiveMinimum": 0},
    ]
}
Cores = Annotated[
    float, BeforeValidator(_cores), WithJsonSchema(_QUANTITY_SCHEMA | {"examples": [4, "500m"]})
]
Bytes = Annotated[
    int, BeforeValidator(_bytes), WithJsonSchema(_QUANTITY_SCHEMA | {"examples": ["16Gi"]})
]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        _DURATION_SCHEMA
        | {"description": "Such as 90s, 1h30m or 2d; a number is seconds.", "examples": ["1h30m"]}
    ),
]


def _relative(path: str) -> str:
    """A path inside a repository: no absolute path, no way out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f'expected a path inside the repository, found "{path[:80]}"')
    return "/".join(parts)


RepositoryPath = Annotated[
    str,
    Field(max_length=1024, json_schema_extra={"pattern": r"^(?!(.*/)?\.\.(/|$))[^\\]*$"}),
    AfterValidator(_relative),
]
GitRef = Annotated[str, Field(min_length=1, max_length=255)]
Retries = Annotated[
    int, Field(ge=0, le=100, description="How often a command that failed is started again.")
]


class GitSection(Section):
    """An image built from a folder of a Git repository that has a Dockerfile."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="https, ssh, scp-like or file URL; ./ or ../ relative to the manifest "
            "repository's URL; or . for this repository at the head being synced.",
        ),
    ]
    path: Annotated[
        RepositoryPath, Field(description="The build context inside that repository.")
    ] = ""
    branch: Annotated[
        GitRef | None, Field(description="The branch to build. Default: the remote's HEAD.")
    ] = None
    tag: Annotated[GitRef | None, Field(description="The tag to build.")] = None
    commit: Annotated[
        Annotated[str, Field(pattern=patterns.COMMIT)] | None,
        Field(description="The commit to build, by its full id."),
    ] = None
    update: Annotated[
        Literal["Pin", "Follow"] | None,
        Field(
            description="Pin: resolved once; a newer commit is only shown, and taken by a change "
            "of source.git or of the annotation substratus.ai/update. Follow: taken by itself."
        ),
    ] = None
    dockerfile: Annotated[
        RepositoryPath, Field(description="The Dockerfile's path inside the build context.")
    ] = "Dockerfile"
    build_args: Annotated[
        dict[str, str], Field(default_factory=dict, description="ARG values of the Dockerfile.")
    ]
    submodules: Annotated[bool, Field(description="Whether submodules are fetched too.")] = False

    @model_validator(mode="after")
    def _one_ref(self) -> GitSection:
        refs = [name for name in ("branch", "tag", "commit") if getattr(self, name) is not None]
        if len(refs) > 1:
            raise ValueError(
                f"expected at most one of branch, tag and commit, found {' and '.join(refs)}"
            )
        if self.commit is not None and self.update == "Follow":
            raise ValueError("update: Follow has no meaning with a commit, which never moves")
        if self.url == ".":
            given = [f for f in (*refs, "update") if getattr(self, f) is not None]
            if given:
                raise ValueError(
                    f"url: . is this repository at the synced head; remove {' and '.join(given)}"
                )
            if not self.path:
                raise ValueError("url: . needs a path: the folder of this repository to build")
        return self

    @property
    def follow(self) -> bool:
        """Whether a newer commit is taken by itself (``url: .`` moves with the manifests)."""
        return self.update == "Follow"


class Reference(Section):
    """Another object. Without a key its current artifact is meant; with one, exactly that."""

    name: Name
    namespace: Annotated[
        Name | None, Field(description="Default: the namespace of the object that refers.")
    ] = None
    cluster: Annotated[
        Name | None, Field(description="Another cluster, as the configuration names it.")
    ] = None
    key: Annotated[
        KeyHex | None, Field(description="Pins one complete artifact. Default: the current one.")
    ] = None


class ImageSection(Section):
    """An image that exists already, pinned by digest; nothing is built."""

    ref: Annotated[
        str,
        Field(pattern=patterns.DIGEST, description="registry/name@sha256:<64 hex digits>"),
    ]


class BucketSection(Section):
    """Data or weights that are there already; nothing runs."""

    url: Annotated[
        str,
        Field(
            pattern=patterns.BUCKET,
            max_length=2048,
            description="The folder, such as s3://bucket/path.",
        ),
    ]
    revision: Annotated[
        str,
        Field(max_length=255, description="Change it when what is in the folder has changed."),
    ] = ""


class ModelSource(Section):
    """Exactly one of git, model and image."""

    git: GitSection | None = None
    model: Annotated[
        Reference | None, Field(description="A base Model: its image, and its weights as base.")
    ] = None
    image: ImageSection | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelSource:
        return _one_of(self, "git", "model", "image")


class DatasetSource(Section):
    """Exactly one of git, image and bucket."""

    git: GitSection | None = None
    image: ImageSection | None = None
    bucket: BucketSection | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> DatasetSource:
        return _one_of(self, "git", "image", "bucket")


S = TypeVar("S", bound="Section")


def _one_of(section: S, *names: str) -> S:
    found = [name for name in names if getattr(section, name) is not None]
    if len(found) != 1:
        said = " and ".join(found) if found else "none"
        raise ValueError(f"expected exactly one of {', '.join(names)}; found {said}")
    return section


class GpuSection(Section):
    """GPUs of one type per node."""

    type: Annotated[
        Annotated[str, Field(max_length=63, pattern=patterns.GPU)] | None,
        Field(description="As the configuration names it, such as nvidia-l4. Default: any."),
    ] = None
    count: Annotated[int, Field(ge=1, le=1024)] = 1


class ResourcesSection(Section):
    """What one node of the run is given."""

    cpu: Annotated[Cores | None, Field(description="Cores, such as 4 or 500m.")] = None
    memory: Annotated[Bytes | None, Field(description="Bytes, such as 16Gi.")] = None
    disk: Annotated[Bytes | None, Field(description="Fast local disk at /scratch.")] = None
    shm: Annotated[Bytes | None, Field(description="Shared memory at /dev/shm.")] = None
    gpu: GpuSection | None = None
    nodes: Annotated[
        int, Field(ge=1, le=1024, description="More than one only for a training.")
    ] = 1


class SecretKeySection(Section):
    """A key of a Secret in the object's namespace."""

    name: Annotated[Subdomain, Field(description="The Secret's name.")]
    key: Annotated[str, Field(pattern=patterns.DATA_KEY, max_length=253)]


class RunSection(Section):
    """What every task has: how it runs, and ``rerun``, which asks for the same once more."""

    resources: ResourcesSection = Field(default_factory=ResourcesSection)
    timeout: Seconds
    retries: Retries
    profile: Annotated[
        Name | None, Field(description="A pod template of the daemon's configuration.")
    ] = None
    queue: Annotated[Name | None, Field(description="A Kueue queue.")] = None
    priority: Annotated[Subdomain | None, Field(description="A priority class.")] = None
    service_account: Annotated[
        Name | None, Field(description="Default: none, and no token in the pod.")
    ] = None
    rerun: Annotated[
        str,
        Field(max_length=255, description="Any new value asks for the same inputs once more."),
    ] = ""


class BuildSection(RunSection):
    """How the image is built. ``timeout`` is of one attempt."""

    timeout: Seconds = 3600.0
    retries: Retries = 2


Command = list[Annotated[str, Field(max_length=32768)]]


class CommandSection(RunSection):
    """What a load and a training have in common."""

    params: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="What the command finds in params.json, and as PARAM_<NAME>; 64 KiB.",
        ),
    ]
    env: Annotated[
        dict[EnvName, str], Field(default_factory=dict, description="Environment variables.")
    ]
    secret_env: Annotated[
        dict[EnvName, SecretKeySection],
        Field(default_factory=dict, description="Environment variables from Secrets."),
    ]


class LoadSection(CommandSection):
    """Writes initial weights (of a Dataset: data); or, with ``from``, they are there already."""

    command: Annotated[
        Command,
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
    timeout: Seconds = 21600.0
    retries: Retries = 2

    @model_validator(mode="after")
    def _from_runs_nothing(self) -> LoadSection:
        if self.from_ is not None:
            extra = sorted(self.model_fields_set - {"from_"})
            if extra:
                raise ValueError(
                    f"with from nothing runs; remove {', '.join(map(to_camel, extra))}"
                )
        return self


class TrainingSection(CommandSection):
    """Trains: on the base's weights (Finetune), or without them (Scratch)."""

    mode: Annotated[
        Literal["Finetune", "Scratch"],
        Field(description="Finetune: the base's weights are mounted. Scratch: they are not."),
    ] = "Finetune"
    command: Annotated[
        Command,
        Field(
            min_length=1,
            default_factory=lambda: ["train.sh"],
            description="Program and arguments.",
        ),
    ]
    dataset: Annotated[
        Reference | None, Field(description="The Dataset that is mounted as /data.")
    ] = None
    timeout: Seconds = 86400.0
    retries: Retries = 0


class Metadata(Section):
    """As Kubernetes has it, as far as it means anything here."""

    name: Name
    namespace: Annotated[Name | None, Field(description="Default: the configured one.")] = None
    labels: Annotated[
        dict[LabelKey, LabelValue],
        Field(default_factory=dict, description="Copied to Jobs and Pods."),
    ]
    annotations: Annotated[
        dict[AnnotationKey, str],
        Field(
            default_factory=dict,
            description="substratus.ai/retry, update, prune and formerly mean something here.",
        ),
    ]


class ModelSpec(Section):
    """What a Model needs."""

    source: ModelSource
    build: BuildSection = Field(default_factory=BuildSection)
    load: LoadSection = Field(default_factory=LoadSection)
    training: Annotated[
        TrainingSection | None, Field(description="Default: none; the loaded weights are it.")
    ] = None
    suspend: Annotated[bool, Field(description="Starts nothing new; what runs, goes on.")] = False


class DatasetSpec(Section):
    """What a Dataset needs."""

    source: DatasetSource
    build: BuildSection = Field(default_factory=BuildSection)
    load: LoadSection = Field(default_factory=LoadSection)
    suspend: Annotated[bool, Field(description="Starts nothing new; what runs, goes on.")] = False


class ModelManifest(Section):
    """A model: weights that are loaded or trained."""

    api_version: Literal["substratus.ai/v1"] = "substratus.ai/v1"
    kind: Literal["Model"]
    metadata: Metadata
    spec: ModelSpec


class DatasetManifest(Section):
    """A dataset: files that trainings read."""

    api_version: Literal["substratus.ai/v1"] = "substratus.ai/v1"
    kind: Literal["Dataset"]
    metadata: Metadata
    spec: DatasetSpec


ManifestDocument = ModelManifest | DatasetManifest
