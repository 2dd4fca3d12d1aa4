"""Builds: the image of a source tree.

Without containers it is the tree, read-only, and its virtual environment. The environment of the
dependencies (:mod:`.requirements`) is shared by all images that ask for the same. A project that is
itself installed gets a small environment of its own in its image, on top of the shared one: a
commit that changes code alone installs that code alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from reconciler.engine import FailureClass, Result, ResultWarning, RunPhase, usable_warnings
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.fsync import remove_tree, sync_directory
from reconciler.engines.local.layout import ImageDirectory, RootLayout
from reconciler.engines.local.records import IMAGE, ImageRecord, read_record, write_record
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import BuildOrder
from reconciler.engines.local.use import in_use
from reconciler.reasons import Reason, ReasonCode


def image_result(image: ImageDirectory, *, containers: bool | None = None) -> Result | None:
    """Return the complete image of a directory as a result, or None.

    ``containers`` selects container images or source trees; None takes either.
    """
    record = _record(image)
    if record is None or containers not in (None, record.container is not None):
        return None
    return Result(image=image.path.as_uri(), warnings=usable_warnings(record.warnings))


def image_environments(layout: RootLayout, image: ImageDirectory) -> tuple[Path, ...]:
    """Return the virtual environments of a complete image.

    That of its commands comes first.
    Raises RunFailedError where the image or an environment is gone.
    """
    record = _record(image)
    if record is None or record.container is not None:
        raise image_gone(str(image.path))
    own = (image.env,) if record.project else ()
    return (*own, layout.envs / record.env) if record.env else own


def container_image(image: ImageDirectory) -> str:
    """Return the id of a complete container image. Raises RunFailedError without one."""
    record = _record(image)
    if record is None or record.container is None:
        raise image_gone(str(image.path))
    return record.container


def image_gone(image: str) -> RunFailedError:
    """Return the failure of a run whose image is gone."""
    gone = Reason.of(ReasonCode.IMAGE_GONE, image=image)
    return RunFailedError(gone, FailureClass.INFRASTRUCTURE)


def execute(run: RunContext, environ: dict[str, str]) -> Result:
    """Make the image. Raises RunFailedError, StoppedError and OSError."""
    spec = run.spec
    image = run.layout.image(spec.key)
    containers = run.allocation.containers is not None
    lock = run.lock(run.layout.key_lock(spec.key), ReasonCode.WAITING_FOR_SAME_KEY)
    try:
        with ExitStack() as uses:
            uses.enter_context(in_use(run.layout, spec.key))
            if (done := image_result(image, containers=containers)) is not None:
                return done
            run.not_lost()
            begun = replace(run.state, phase=RunPhase.RUNNING, started=run.clock.now())
            run.save(begun.because(None))
            _place(run, image)
            warning = lfs_warning(image.tree)
            order = BuildOrder(run=run, image=image, lock=lock, environ=environ, uses=uses)
            warnings = (warning,) if warning is not None else ()
            record = replace(run.runtime.build(order), warnings=warnings)
            write_record(image.record, IMAGE, record)
            sync_directory(image.path.parent)
            return Result(image=image.path.as_uri(), warnings=record.warnings)
    finally:
        lock.release()


def environment_of(image: ImageDirectory) -> str | None:
    """Return the name of an image's environment, which may be gone."""
    record = _read(image)
    return record.env if record is not None else None


def _read(image: ImageDirectory) -> ImageRecord | None:
    """Read an image's record; None without one of this version."""
    try:
        return read_record(image.record, IMAGE)
    except (OSError, ValueError):
        return None


def _record(image: ImageDirectory) -> ImageRecord | None:
    """Read the record of an image that is complete, with its environment."""
    record = _read(image)
    if record is None or record.env is None:
        return record
    layout = RootLayout(image.path.parent.parent)
    return record if layout.environment_record(record.env).exists() else None


def _place(run: RunContext, image: ImageDirectory) -> None:
    """Move the exported tree into place, unless an earlier supervisor did."""
    source = run.run.source
    if source.is_dir():
        remove_tree(image.tree)
        image.path.mkdir(exist_ok=True)
        source.rename(image.tree)
    if not image.tree.is_dir():
        lost = Reason.of(
            ReasonCode.INFRASTRUCTURE_FAILED, detail="the exported source is not there any more"
        )
        raise RunFailedError(lost, FailureClass.INFRASTRUCTURE)


_FIRST_LINE = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST = 1024
#: Pointers that a warning names; others are counted.
_NAMED = 3


def lfs_warning(tree: Path) -> ResultWarning | None:
    """Return the warning of a source with pointers, if it has any."""
    found = sorted(_pointers(tree))
    if not found:
        return None
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    files = ", ".join(found[:_NAMED]) + more
    return ResultWarning.of(Reason.of(ReasonCode.GIT_LFS_POINTERS, files=files))


def _pointers(tree: Path) -> Iterator[str]:
    for folder, _, files in os.walk(tree):
        for path in (Path(folder, name) for name in files):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
                continue
            with path.open("rb") as file:
                if file.readline(_LARGEST) == _FIRST_LINE:
                    yield path.relative_to(tree).as_posix()
