"""Interface of drivers, which turn directories into parts of a pod."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.config import DriverName
from reconciler.engines.kubernetes.pod_parts import Fragment
from reconciler.types import Verify


class Writes(enum.StrEnum):
    """The way of a command's writes into the bucket.

    DIRECT: it writes into the mounted directory. STAGED: on local disk, from where the wrapper
    copies what is complete: for mounts that are no file system (no rename, no append, no fsync).
    """

    DIRECT = "direct"
    STAGED = "staged"


class Ability(enum.StrEnum):
    """Something that a mounted bucket can be relied on to do.

    APPEND: to a file that was closed. RENAME_FILE: to a name that is taken, too. RENAME_FOLDER:
    with files in it. SYMLINK: to make one, and to read it in this and other mounts.

    ATOMIC_RENAME: in one step, for whoever reads and for a kill. STORED_SYMLINK: whoever reads the
    store without this driver sees a link too. OWNERS: users and modes are those of whoever wrote.
    """

    APPEND = "append"
    RENAME_FILE = "rename-file"
    RENAME_FOLDER = "rename-folder"
    SYMLINK = "symlink"
    ATOMIC_RENAME = "atomic-rename"
    STORED_SYMLINK = "stored-symlink"
    OWNERS = "owners"


#: What commands, and the wrapper's log, do in a directory that is written directly.
DIRECT_NEEDS = frozenset(
    {Ability.APPEND, Ability.RENAME_FILE, Ability.RENAME_FOLDER, Ability.SYMLINK}
)
#: What the wrapper does without where it must.
_REPLACEABLE = frozenset({Ability.ATOMIC_RENAME, Ability.STORED_SYMLINK})
#: A disk, or a file system of the network that is as good as one.
FILE_SYSTEM = frozenset(Ability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A configured bucket.

    ``url`` has no ``/`` at its end; ``sync`` is in seconds.
    """

    url: str
    driver: DriverName
    writes: Writes
    sync: float = 600.0
    inventory: bool = True
    verify: Verify | None = None
    mount_options: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = None
    remote: str | None = None

    @property
    def scheme(self) -> str:
        """Scheme of the bucket's URL."""
        return self.url.partition("://")[0]

    @property
    def container(self) -> str:
        """First part of the URL: the bucket proper, container or claim."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def folder(self) -> str:
        """Folder of the bucket proper: the rest of the URL, or nothing."""
        return "/".join(filter(None, self.url.partition("://")[2].split("/")[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory of a bucket, as one pod is to have it.

    ``name`` tells the directories of a pod apart: artifact, base, dataset. ``path`` is within the
    bucket proper, not empty, without ``..`` and slashes at its ends.
    """

    name: str
    bucket: Bucket
    path: str
    read_only: bool
    namespace: str
    instance: str
    rclone_image: str

    @property
    def url(self) -> str:
        """URL of the directory, for messages."""
        return f"{self.bucket.scheme}://{self.bucket.container}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory, ready to be put into a pod.

    ``volume`` is the name of one of the fragment's volumes; ``sub_path`` the directory in it, as a
    volumeMount takes it; ``inside`` what of that is the directory, where a subPath would
    not do. ``barrier`` is where a staged driver answers whether everything has arrived.
    """

    volume: str
    fragment: Fragment
    sub_path: str = ""
    inside: str = ""
    propagation: str | None = None
    barrier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A way to mount buckets.

    ``scheme``: None takes any URL, if the driver is configured by name.

    ``can`` is what was seen to work, or what its documentation promises; on all else nothing
    relies. ``takes`` are the keys of a bucket's configuration that mean something to it.
    """

    name: DriverName
    scheme: str | None
    can: frozenset[Ability]
    takes: frozenset[str]
    mount: Callable[[Directory], Mount]

    @property
    def writes(self) -> tuple[Writes, ...]:
        """The ways of writes that it allows, its own first."""
        if self.can >= DIRECT_NEEDS:
            return Writes.DIRECT, Writes.STAGED
        return (Writes.STAGED,)

    @property
    def lacks(self) -> tuple[Ability, ...]:
        """Abilities that the wrapper does without where writes are direct."""
        return tuple(sorted(_REPLACEABLE - self.can))
