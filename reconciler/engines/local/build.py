"""Builds: a source tree, read-only, and its virtual environment.

The environment of the dependencies (:mod:`.requirements`) is shared by all images that ask for the
same. A project that is itself installed gets a small environment of its own in its image, on top of
the shared one: a commit that changes code alone installs that code alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from reconciler.engine import FailureClass, Result, RunPhase, warnings_of
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.fsync import (
    encode,
    make_read_only,
    read_json,
    remove_tree,
    sync_directory,
    sync_tree,
)
from reconciler.engines.local.fsync import replace as replace_file
from reconciler.engines.local.installation import Installation
from reconciler.engines.local.layout import ImageDirectory, RootLayout
from reconciler.engines.local.lfs import lfs_warning
from reconciler.engines.local.requirements import requirements_of
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.use import in_use
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON

_VERSION = 1


def image_result(image: ImageDirectory) -> Result | None:
    """Return the complete image of a directory as a result, or None."""
    record = _record(image)
    if record is None:
        return None
    return Result(image=image.path.as_uri(), warnings=warnings_of(record.get("warnings")))


def image_environments(layout: RootLayout, image: ImageDirectory) -> tuple[Path, ...]:
    """Return the virtual environments of a complete image.

    That of its commands comes first.
    Raises RunFailedError where the image or an environment is gone.
    """
    record = _record(image)
    if record is None:
        raise RunFailedError(
            Reason.of(ReasonCode.IMAGE_GONE, image=str(image.path)), FailureClass.INFRASTRUCTURE
        )
    own = (image.env,) if record.get("project") else ()
    env = record.get("env")
    return (*own, layout.envs / str(env)) if env else own


def execute(run: RunContext, environ: dict[str, str]) -> Result:
    """Make the image. Raises RunFailedError, StoppedError and OSError."""
    spec = run.spec
    context = spec.build
    assert context is not None
    image = run.layout.image(spec.key)
    lock = run.lock(run.layout.key_lock(spec.key), ReasonCode.WAITING_FOR_SAME_KEY)
    try:
        with ExitStack() as uses:
            uses.enter_context(in_use(run.layout, spec.key))
            if (done := image_result(image)) is not None:
                return done
            run.not_lost()
            begun = replace(run.state, phase=RunPhase.RUNNING, started=run.clock.now())
            run.save(begun.because(None))
            _place(run, image)
            requirements = requirements_of(image.tree)
            if requirements is not None:
                requirements = Installation(run, image, lock, environ, uses).provide(requirements)
            make_read_only(image.tree)
            sync_tree(image.path)
            record: dict[str, JSON] = {
                "version": _VERSION,
                "key": spec.key,
                "commit": context.commit,
                "tree": context.tree,
                "env": requirements.environment(spec.key) if requirements is not None else None,
                "project": requirements is not None and requirements.layered,
            }
            if (warning := lfs_warning(image.tree)) is not None:
                record["warnings"] = [warning.to_json()]
            replace_file(image.record, encode(record))
            sync_directory(image.path.parent)
            return Result(image=image.path.as_uri(), warnings=(warning,) if warning else ())
    finally:
        lock.release()


def environment_of(image: ImageDirectory) -> str | None:
    """Return the name of an image's environment, which may be gone."""
    env = _read(image).get("env")
    return str(env) if env else None


def _read(image: ImageDirectory) -> dict[str, JSON]:
    """Read an image's record; empty without one of this version."""
    try:
        record = read_json(image.record)
    except (OSError, ValueError):
        return {}
    known = isinstance(record, dict) and record.get("version") == _VERSION
    return record if known and isinstance(record, dict) else {}


def _record(image: ImageDirectory) -> dict[str, JSON] | None:
    """Read the record of an image that is complete, with its environment."""
    record, env = _read(image), environment_of(image)
    layout = RootLayout(image.path.parent.parent)
    there = env is None or layout.environment_record(env).exists()
    return record if record and there else None


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
