"""Sources of an object (``spec.source``), and references to other objects.

How a field declares its effect: :mod:`reconciler.manifests.schema`.
"""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from reconciler.manifests import patterns
from reconciler.manifests.effects import Effect
from reconciler.manifests.fields import (
    BucketUrl,
    GitRef,
    GitUrl,
    KeyHex,
    Name,
    RepositoryPath,
    Section,
)


class GitSection(Section):
    """An image built from a Git folder that has a Dockerfile."""

    url: Annotated[
        GitUrl,
        Effect.KEY,
        Field(
            description="https, ssh, scp-like or file URL; ./ or ../ relative to the manifest "
            "repository's URL; or . for this repository at the head being synced.",
        ),
    ]
    path: Annotated[
        RepositoryPath, Effect.KEY, Field(description="The build context inside that repository.")
    ] = ""
    branch: Annotated[
        GitRef | None,
        Effect.KEY,
        Field(description="The branch to build. Default: the remote's HEAD."),
    ] = None
    tag: Annotated[GitRef | None, Effect.KEY, Field(description="The tag to build.")] = None
    commit: Annotated[
        Annotated[str, Field(pattern=patterns.COMMIT)] | None,
        Effect.KEY,
        Field(description="The commit to build, by its full id."),
    ] = None
    update: Annotated[
        Literal["Pin", "Follow"] | None,
        Effect.KEY,
        Field(
            description="Pin, the default: resolved once; a newer commit is only shown, as "
            "condition UpdateAvailable, and taken by a change of source.git or of the annotation "
            "substratus.ai/update. Follow: taken by itself, within sources.interval, and at once "
            "by a push that changes the manifest."
        ),
    ] = None
    dockerfile: Annotated[
        RepositoryPath,
        Effect.KEY,
        Field(description="The Dockerfile's path inside the build context."),
    ] = "Dockerfile"
    build_args: Annotated[
        dict[str, str],
        Effect.KEY,
        Field(default_factory=dict, description="ARG values of the Dockerfile."),
    ]
    submodules: Annotated[
        bool, Effect.KEY, Field(description="Whether submodules are fetched too.")
    ] = False

    @model_validator(mode="after")
    def _one_ref(self) -> Self:
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
        """Return whether newer commits are used automatically; False for ``url: .``."""
        return self.update == "Follow"


class Reference(Section):
    """Another object: its current artifact, or the one with the given key."""

    name: Annotated[Name, Effect.KEY]
    namespace: Annotated[
        Name | None,
        Effect.KEY,
        Field(description="Default: the namespace of the object that refers."),
    ] = None
    cluster: Annotated[
        Name | None,
        Effect.KEY,
        Field(description="Another cluster, as the configuration names it."),
    ] = None
    key: Annotated[
        KeyHex | None,
        Effect.KEY,
        Field(description="Pins one complete artifact. Default: the current one."),
    ] = None


class ImageSection(Section):
    """An image that exists already, pinned by digest; nothing is built."""

    ref: Annotated[
        str,
        Effect.KEY,
        Field(
            pattern=patterns.DIGEST,
            max_length=patterns.LONGEST_IMAGE + len("@sha256:") + 64,
            description="registry/name@sha256:<64 hex digits>",
        ),
    ]


class BucketSection(Section):
    """Data or weights that exist already; nothing runs."""

    url: Annotated[
        BucketUrl,
        Effect.KEY,
        Field(description="The folder, such as s3://bucket/path."),
    ]
    revision: Annotated[
        str,
        Effect.KEY,
        Field(
            max_length=255,
            description="Change it when what is in the folder has changed: any text, such as a "
            "lakeFS commit, a Hugging Face revision or the md5 of a DVC file.",
        ),
    ] = ""


class ObservedBucketSection(BucketSection):
    """Data that exists already, and whether changes of it are looked for."""

    update: Annotated[
        Literal["Pin", "Follow"] | None,
        Effect.KEY,
        Field(
            description="Has the folder observed: the names, sizes and times of all its files are "
            "one digest, taken once within sources.interval. Pin: it is recorded; another one is "
            "only shown, as condition UpdateAvailable, and taken by a change of source.bucket or "
            "of the annotation substratus.ai/update. Follow: another one is taken by itself. "
            "Without, nothing is looked at: the data counts as the same until url or revision "
            "change."
        ),
    ] = None

    @model_validator(mode="after")
    def _revision_or_update(self) -> Self:
        if self.revision and self.update is not None:
            raise ValueError(
                f"update: {self.update} has no meaning with a revision, which names the data; "
                "remove one of them"
            )
        return self

    @property
    def follow(self) -> bool:
        """Return whether another listing is used automatically."""
        return self.update == "Follow"


class ModelSource(Section):
    """Exactly one of git, model and image."""

    git: GitSection | None = None
    model: Annotated[
        Reference | None, Field(description="A base Model: its image, and its weights as base.")
    ] = None
    image: ImageSection | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        return _one_of(self, "git", "model", "image")


class EvaluationSource(Section):
    """The test's own code, beside that of the model."""

    git: GitSection


class DatasetSource(Section):
    """Exactly one of git, image and bucket."""

    git: GitSection | None = None
    image: ImageSection | None = None
    bucket: ObservedBucketSection | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        return _one_of(self, "git", "image", "bucket")


S = TypeVar("S", bound="Section")


def _one_of(section: S, *names: str) -> S:
    found = [name for name in names if getattr(section, name) is not None]
    if len(found) != 1:
        listed = " and ".join(found) if found else "none"
        raise ValueError(f"expected exactly one of {', '.join(names)}; found {listed}")
    return section
