"""A build on this engine: the source tree, read-only, and its virtual environment."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reconciler.engine import FailureClass, Result, RunPhase
from reconciler.engines.local import state as states
from reconciler.engines.local.claim import Claim
from reconciler.engines.local.environment import for_installer
from reconciler.engines.local.fsync import (
    encode,
    make_read_only,
    make_writable,
    read_json,
    remove_tree,
    sync_directory,
    sync_tree,
)
from reconciler.engines.local.fsync import replace as replace_file
from reconciler.engines.local.launch import Command
from reconciler.engines.local.layout import Image, Layout
from reconciler.engines.local.marker import last_attempt, log_of
from reconciler.engines.local.run_context import Carrier, RunFailedError
from reconciler.engines.local.venv import Requirements, requirements_of, steps
from reconciler.types import JSON

_VERSION = 1


def image_result(image: Image) -> Result | None:
    """The complete image in a directory, with its environment, as a build's result, or None."""
    return Result(image=image.path.as_uri()) if _record(image) is not None else None


def image_environment(layout: Layout, image: Image) -> Path | None:
    """The virtual environment of a complete image, if it has one.

    Raises RunFailedError where the image or its environment is gone.
    """
    record = _record(image)
    env = record.get("env") if record else None
    if record is None:
        raise RunFailedError(
            f"the image {image.path} is not complete any more; it has to be built again",
            FailureClass.INFRASTRUCTURE,
        )
    return layout.envs / str(env) if env else None


def carry_out(run: Carrier, environ: dict[str, str]) -> Result:
    """Make the image. Raises as :class:`Carrier` does, and RequirementsError and OSError."""
    image = run.layout.image(run.job.key)
    claim = run.claim(run.job.key, "another build of the same key to end")
    try:
        if (done := image_result(image)) is not None:
            return done
        run.not_lost()
        run.save(replace(run.state, phase=RunPhase.RUNNING, reason="", started=states.now()))
        _place(run, image)
        requirements = requirements_of(image.tree)
        env = None
        if requirements is not None:
            env = requirements.environment(run.job.key)
            _provide(run, requirements, env, image, claim, environ)
        make_read_only(image.tree)
        sync_tree(image.path)
        record: JSON = {
            "version": _VERSION,
            "key": run.job.key,
            "commit": run.job.commit,
            "tree": run.job.tree,
            "env": env,
        }
        replace_file(image.record, encode(record))
        sync_directory(image.path.parent)
        return Result(image=image.path.as_uri())
    finally:
        claim.release()


def _record(image: Image) -> dict[str, JSON] | None:
    try:
        record = read_json(image.record)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        return None
    env = record.get("env")
    layout = Layout(image.path.parent.parent)
    return None if env and not (layout.envs / f"{env}.json").exists() else record


def _place(run: Carrier, image: Image) -> None:
    """Take over the exported tree, which may have happened before we were killed."""
    source = run.run.source
    if source.is_dir():
        remove_tree(image.tree)
        image.path.mkdir(exist_ok=True)
        source.rename(image.tree)
    if not image.tree.is_dir():
        raise RunFailedError(
            "the exported source is not there any more", FailureClass.INFRASTRUCTURE
        )


def _provide(
    run: Carrier,
    requirements: Requirements,
    env: str,
    image: Image,
    claim: Claim,
    environ: dict[str, str],
) -> None:
    """See that the environment is there: made by us, or by another build while we wait."""
    complete = run.layout.envs / f"{env}.json"
    if complete.exists():
        return
    with closing(_Held(run.claim(f"env-{env}", "another build of the same environment"))) as held:
        if not complete.exists():
            run.with_retries(
                lambda: _install(
                    run, requirements, run.layout.envs / env, image, [claim, held.claim], environ
                )
            )
            sync_tree(run.layout.envs / env)
            replace_file(complete, encode({"version": _VERSION, "requirements": requirements.text}))


class _Held:
    def __init__(self, claim: Claim) -> None:
        self.claim = claim

    def close(self) -> None:
        self.claim.release()


def _install(
    run: Carrier,
    requirements: Requirements,
    env: Path,
    image: Image,
    claims: list[Claim],
    environ: dict[str, str],
) -> None:
    scratch = run.layout.scratch(run.job.name)
    remove_tree(scratch)
    remove_tree(env)
    scratch.mkdir(parents=True)
    cwd, file = image.tree, image.tree / "requirements.txt"
    project = None
    if requirements.text is None:
        # Build backends write into the project; the tree stays as it was committed.
        cwd = project = scratch / "project"
        shutil.copytree(image.tree, project, symlinks=True)
        make_writable(project)
    elif not file.is_file():
        file = scratch / "requirements.txt"
        file.write_text(requirements.text, encoding="utf-8")
    attempt = last_attempt(run.run.logs) + 1
    output = run.begin(attempt=attempt, log=log_of(run.run.logs, attempt))
    started = states.now()
    try:
        for argv in steps(env, None if project else file, project):
            left = run.job.timeout - (states.now() - started).total_seconds()
            command = Command(argv=argv, cwd=cwd, env=for_installer(environ))
            run.attempt([command], output, claims, timeout=max(left, 0.0), place=env.parent)
        make_read_only(env, directories_only=True)
    finally:
        output.close()
        remove_tree(scratch)
