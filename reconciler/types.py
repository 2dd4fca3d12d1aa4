"""Types that every layer shares, independent of YAML, Git, Jobs and files.

A value is checked once, where it enters the program, and kept in one of these types from then on:
code that gets a :data:`TaskKey` or an :class:`ObjectRef` need not check it again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType, Self, TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
#: Numbers by name. An integer is kept as one.
Metrics: TypeAlias = Mapping[str, int | float]

#: The content hash of a task over its inputs: 40 lower-case hex digits.
TaskKey = NewType("TaskKey", str)
#: The hash of a task's execution (resources, timeout, …): 40 lower-case hex digits.
ExecutionHash = NewType("ExecutionHash", str)
#: A task's key without the trees of followed sources: 40 lower-case hex digits. Two runs that
#: differ only in the commit of a followed branch have the same one.
RequestHash = NewType("RequestHash", str)
#: A key (of resolved inputs) or a request hash (of requested inputs): the same Merkle hash over the
#: same fields. A followed source is in a key as its tree, in a request hash as its name.
Hash = str
#: A Git commit id and a Git tree id: 40 (or, with SHA-256 repositories, 64) hex digits.
Commit = NewType("Commit", str)
TreeId = NewType("TreeId", str)
#: The digest of a listing of a bucket's folder: 40 lower-case hex digits.
ListingDigest = NewType("ListingDigest", str)

#: The prefix of this project's annotations and labels.
GROUP = "substratus.ai"
API_VERSION = f"{GROUP}/v1"


class Kind(enum.StrEnum):
    """The kind of an object that a manifest declares."""

    MODEL = "Model"
    DATASET = "Dataset"

    __hash__ = str.__hash__  # an enum's own is written in Python

    @property
    def plural(self) -> str:
        """The kind's folder name, in buckets and on the status branch."""
        return f"{self.value.lower()}s"


class TaskKind(enum.StrEnum):
    """The kind of a unit of work.

    The order is the one in which an object needs them.
    """

    BUILD = "build"
    LOAD = "load"
    TRAIN = "train"
    EVALUATE = "evaluate"

    __hash__ = str.__hash__

    @property
    def letter(self) -> str:
        """The letter that stands for the task in a run's name."""
        return self.value[0]

    def label(self, *, for_evaluation: bool) -> str:
        """Name the task beside the others of its object.

        One with a test of its own source has two builds.
        """
        return f"evaluation {self}" if for_evaluation else self.value


class ObjectRef(NamedTuple):
    """An object's identity within one cluster.

    A tuple, as it is the key of nearly every table.
    """

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ForeignRef:
    """An object of another cluster."""

    cluster: str
    ref: ObjectRef

    def __str__(self) -> str:
        return f"{self.ref} of cluster {self.cluster}"


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file.

    Lines and columns count from 1; 0 means the file as a whole.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake that a user can correct: place, field and expected value.

    ``field`` is the path within the document (``spec.training.params``), empty where the
    document as a whole is meant. ``object`` is the object it concerns, where that is known.
    """

    location: Location
    field: str
    message: str
    object: ObjectRef | None = None

    def __str__(self) -> str:
        place = f"{self.location}: {self.field}" if self.field else str(self.location)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemEntry:
    """A problem as documents have it: flat, and without its object."""

    file: str
    line: int = 0
    column: int = 0
    field: str
    message: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Make the entry of a problem."""
        place = problem.location
        return cls(
            file=place.file,
            line=place.line,
            column=place.column,
            field=problem.field,
            message=problem.message,
        )

    @property
    def problem(self) -> Problem:
        """The problem of the entry."""
        return Problem(Location(self.file, self.line, self.column), self.field, self.message)


@dataclass(frozen=True, slots=True)
class ProblemList:
    """The errors of a document: of ``validate``, and of ``sync.yaml``."""

    errors: tuple[ProblemEntry, ...] = ()

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Self:
        """Make the list of problems, in their order."""
        return cls(tuple(map(ProblemEntry.of, problems)))


@dataclass(frozen=True, slots=True)
class Gpu:
    """GPUs of one type. An empty type means any."""

    type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resource requests of a run.

    ``cpu`` is in cores, memory, disk and shared memory in bytes. None means that nothing is
    requested. ``nodes`` above 1 starts that many ranks.
    """

    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    shm: int | None = None
    gpu: Gpu | None = None
    nodes: int = 1

    @property
    def gpus(self) -> int:
        """GPUs over all nodes."""
        return self.gpu.count * self.nodes if self.gpu else 0


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of a Secret of the object's namespace.

    On the local engine it is a file of ``local.secrets``.
    """

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """A Git source of a manifest.

    ``url`` is resolved and absolute. An empty ``url`` is this repository at the head being synced
    (``.`` in the manifest). At most one of branch, tag and commit is set; none means the remote's
    HEAD.
    """

    url: str
    path: str = ""
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A Git source's commit, and its path's tree id there."""

    commit: Commit
    tree: TreeId


@dataclass(frozen=True, slots=True)
class BucketSource:
    """A bucket's folder of data, observed from a namespace.

    The credentials that read it are those of the namespace.
    """

    url: str
    namespace: str


@dataclass(frozen=True, slots=True)
class DataListing:
    """The content of a bucket's folder at one time.

    ``digest`` is over the names, sizes and versions of all files; ``size`` is in bytes.
    """

    digest: ListingDigest
    files: int
    size: int

    def __str__(self) -> str:
        noun = "file" if self.files == 1 else "files"
        return f"{self.digest[:12]} ({self.files:,} {noun}, {self.size:,} bytes)"


class SourceField(enum.StrEnum):
    """A field of a manifest that names a source, by its path."""

    OBJECT = "spec.source"
    EVALUATION = "spec.evaluation.source"

    __hash__ = str.__hash__

    @property
    def path(self) -> tuple[str, ...]:
        """The names that lead to the field."""
        return tuple(self.value.split("."))


#: A source as an object asks for it, and as a look-up finds it.
SourceRequest: TypeAlias = GitSource | BucketSource
FoundSource: TypeAlias = ResolvedSource | DataListing


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """The folder of a Git commit that a build run builds.

    With ``rerun`` no layer is taken from a build with another one.
    """

    url: str
    commit: Commit
    tree: TreeId
    path: str = ""
    dockerfile: str = "Dockerfile"
    build_args: Mapping[str, str] = field(default_factory=dict)
    submodules: bool = False
    rerun: str = ""


class Verify(enum.StrEnum):
    """A check of an artifact before its use.

    Of the sizes of its files, of their content too, or of content that a trusted key has signed.
    """

    SIZES = "sizes"
    DIGESTS = "digests"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Mounted:
    """An input of a run: its key and its directory's URL.

    ``cluster`` is the other cluster whose status named the URL, within what ``clusters`` allows it.
    ``external``: a manifest named the URL, so the directory has no marker. ``listing`` is what is
    in it, if that is observed.
    """

    key: TaskKey
    url: str
    cluster: str | None = None
    external: bool = False
    listing: ListingDigest | None = None
