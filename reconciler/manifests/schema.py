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

from reconciler.manifests.quantity import parse_duration, parse_quantity

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_DIGEST = r"^[^@\s]{1,512}@sha256:[0-9a-f]{64}$"
_KEY = r"^[0-9a-f]{40}$"


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
    Field(pattern=NAME_PATTERN, description="A DNS-1123 label: lower-case letters, digits and -."),
]
KeyHex = Annotated[str, Field(pattern=_KEY, description="A key: 40 lower-case hex digits.")]


def _cores(value: object) -> object:
    return float(parse_quantity(_scalar(value)))


def _bytes(value: object) -> object:
    return int(parse_quantity(_scalar(value)))


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
    float, BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA | {"examples": ["1h30m"]})
]


def _relative(path: str) -> str:
    """A path inside a repository: no absolute path, no way out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f'expected a path inside the repository, found "{path[:80]}"')
    return "/".join(parts)


RepositoryPath = Annotated[str, Field(max_length=1024), AfterValidator(_relative)]


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
    path: RepositoryPath = ""
    branch: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    tag: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None
    update: Literal["Pin", "Follow"] | None = None
    dockerfile: RepositoryPath = "Dockerfile"
    build_args: dict[str, str] = Field(default_factory=dict)
    submodules: bool = False

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
    namespace: Name | None = None
    cluster: Name | None = None
    key: KeyHex | None = None


class ImageSection(Section):
    """An image that exists already, pinned by digest; nothing is built."""

    ref: Annotated[
        str,
        Field(pattern=_DIGEST, description="registry/name@sha256:<64 hex digits>"),
    ]


class BucketSection(Section):
    """Data or weights that are there already; nothing runs."""

    url: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$", max_length=2048)]
    revision: Annotated[str, Field(max_length=255)] = ""


class ModelSource(Section):
    """Exactly one of git, model and image."""

    git: GitSection | None = None
    model: Reference | None = None
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

    type: (
        Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
        | None
    ) = None
    count: Annotated[int, Field(ge=1, le=1024)] = 1


class ResourcesSection(Section):
    """What one node of the run is given."""

    cpu: Cores | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    shm: Bytes | None = None
    gpu: GpuSection | None = None
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1


class SecretKeySection(Section):
    """A key of a Secret in the object's namespace."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]


class RunSection(Section):
    """What every task has: how it runs, and ``rerun``, which asks for the same once more."""

    resources: ResourcesSection = Field(default_factory=ResourcesSection)
    timeout: Seconds
    retries: Annotated[int, Field(ge=0, le=100)]
    profile: Name | None = None
    queue: Name | None = None
    priority: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")] | None = None
    service_account: Name | None = None
    rerun: Annotated[str, Field(max_length=255)] = ""


class BuildSection(RunSection):
    """How the image is built. ``timeout`` is of one attempt."""

    timeout: Seconds = 3600.0
    retries: Annotated[int, Field(ge=0, le=100)] = 2


Command = list[Annotated[str, Field(max_length=32768)]]


class CommandSection(RunSection):
    """What a load and a training have in common."""

    params: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    secret_env: dict[str, SecretKeySection] = Field(default_factory=dict)


class LoadSection(CommandSection):
    """Writes initial weights (of a Dataset: data); or, with ``from``, they are there already."""

    command: Command = Field(default_factory=lambda: ["load.sh"])
    from_: Annotated[BucketSection | None, Field(alias="from")] = None
    timeout: Seconds = 21600.0
    retries: Annotated[int, Field(ge=0, le=100)] = 2

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

    mode: Literal["Finetune", "Scratch"] = "Finetune"
    command: Annotated[Command, Field(min_length=1)] = Field(default_factory=lambda: ["train.sh"])
    dataset: Reference | None = None
    timeout: Seconds = 86400.0
    retries: Annotated[int, Field(ge=0, le=100)] = 0


class Metadata(Section):
    """As Kubernetes has it, as far as it means anything here."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class ModelSpec(Section):
    """What a Model needs."""

    source: ModelSource
    build: BuildSection = Field(default_factory=BuildSection)
    load: LoadSection = Field(default_factory=LoadSection)
    training: TrainingSection | None = None
    suspend: bool = False


class DatasetSpec(Section):
    """What a Dataset needs."""

    source: DatasetSource
    build: BuildSection = Field(default_factory=BuildSection)
    load: LoadSection = Field(default_factory=LoadSection)
    suspend: bool = False


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
