"""Builds by Docker or Podman, from the source's own Dockerfile."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.engine import FailureClass
from reconciler.engines.local.container_program import (
    ContainerProgram,
    root_name,
)
from reconciler.engines.local.container_terms import ContainerTerms
from reconciler.engines.local.failures import ContainerError, RunFailedError
from reconciler.engines.local.fsync import remove_tree
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.marker import last_attempt, log_of
from reconciler.engines.local.records import ImageRecord
from reconciler.engines.local.runtime import BuildOrder
from reconciler.reasons import Reason, ReasonCode


def build_image(order: BuildOrder, terms: ContainerTerms) -> ImageRecord:
    """Build and tag the image of a source. Raises RunFailedError and OSError."""
    run, image = order.run, order.image
    context = run.spec.build
    assert context is not None
    _check_files(image.tree, context.dockerfile)
    found = run.with_retries(lambda: _once(order, terms))
    # The image has what it needs of them. An earlier runtime may have left an environment.
    for folder in (image.tree, image.env):
        remove_tree(folder)
    return ImageRecord(
        key=run.spec.key,
        commit=context.commit,
        tree=context.tree,
        env=None,
        project=False,
        container=found,
    )


def repository(root: Path) -> str:
    """Return the repository of a root's images. Tags are keys."""
    return f"localhost/reconciler-{root_name(root)}"


def _once(order: BuildOrder, terms: ContainerTerms) -> str:
    run, tree = order.run, order.image.tree
    context = run.spec.build
    assert context is not None
    program = ContainerProgram(terms.program, order.environ)
    scratch = run.layout.scratch(run.spec.name)
    remove_tree(scratch)
    scratch.mkdir(parents=True)
    attempt = last_attempt(run.run.logs) + 1
    output = run.begin(attempt=attempt, log=log_of(run.run.logs, attempt))
    tag = f"{repository(run.layout.root)}:{run.spec.key}"
    arguments = (f"--build-arg={name}={value}" for name, value in context.build_args.items())
    argv = (
        program.path,
        "build",
        f"--tag={tag}",
        f"--file={tree / context.dockerfile}",
        "--force-rm",
        *(("--no-cache",) if context.rerun else ()),
        *arguments,
        str(tree),
    )
    try:
        run.attempt(
            [RankCommand(argv=argv, cwd=scratch, env=program.variables)],
            output,
            [order.lock],
            timeout=run.spec.timeout,
            place=scratch,
        )
        image = program.image(tag)
    finally:
        output.close()
        remove_tree(scratch)
    if image is None:
        raise ContainerError(f"{program.name} has built {tag} and does not have it")
    return image.id


def _check_files(tree: Path, dockerfile: str) -> None:
    """Raise RunFailedError for a Dockerfile that is none of the source's.

    The program would follow a link out of the tree, and quote what it finds there in its errors.
    """
    if not (tree / dockerfile).is_file():
        raise _refused(
            f"the source has no {dockerfile}, which local.runtime: docker and podman build by; add "
            "it, or name it as source.git.dockerfile"
        )
    for name in (dockerfile, f"{dockerfile}.dockerignore", ".dockerignore", ".containerignore"):
        path = tree / name
        if os.path.lexists(path) and not path.resolve().is_relative_to(tree.resolve()):
            raise _refused(f"{name} is a link that leads out of the source")


def _refused(detail: str) -> RunFailedError:
    reason = Reason.of(ReasonCode.BUILD_FAILED, detail=detail)
    return RunFailedError(reason, FailureClass.COMMAND)
