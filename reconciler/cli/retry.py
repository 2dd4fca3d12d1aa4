"""``reconciler retry``."""

from __future__ import annotations

import difflib
import io
import shutil
import subprocess
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning, clock
from reconciler.cli.options import config_option, load_if_there, open_clone, repo_option
from reconciler.cli.removal import removed_error
from reconciler.cli.select import kind_option, name_argument, namespace_option, one, with_removed
from reconciler.config import Setup
from reconciler.errors import ReconcilerError
from reconciler.git import GitError, LocalRepository, is_local, local_path, user_environment
from reconciler.manifests import RETRY_ANNOTATION, Collection, annotate
from reconciler.planner import ObjectStatus, TaskPhase
from reconciler.types import ObjectRef


@click.command()
@name_argument(required=True)
@click.option("--commit", is_flag=True, help="Commit the change on the branch that is checked out.")
@namespace_option
@kind_option
@repo_option
@config_option
def retry(
    name: str,
    commit: bool,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Run the failed tasks of NAME once more.

    NAME may also be a key, or the first 6 or more digits of one. A failed task runs
    again only when its inputs or settings change, to which the annotation substratus.ai/retry
    belongs. This command gives that annotation a new value: it prints a patch for `git apply`, or
    with --commit commits the change. The daemon runs the task once the commit is on the branch that
    it follows, so push it there.
    """
    repository = open_clone(folder)
    setup = load_if_there(config_file)
    planning = Planning(setup, repository)
    found = planning.read("HEAD").collection
    records = with_removed(planning.state, name)
    refs = {*found.objects, *found.invalid}
    if not any(ref.name == name for ref in refs):
        refs |= records.keys()
    ref = one(refs, name=name, namespace=namespace, kind=kind, records=records)
    if ref not in found.objects:
        raise _no_manifest(ref, found, records.get(ref))
    manifest = found.objects[ref]
    root = repository.work_tree
    if root is None:
        raise click.ClickException(f"{folder} is a bare repository: there is no file to change")
    file = root / manifest.file
    _check_failed(planning, ref)
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from error
    known = manifest.document.metadata.annotations.get(RETRY_ANNOTATION, "")
    value = _next(known, clock())
    changed = annotate(text, file=manifest.file, ref=ref, name=RETRY_ANNOTATION, value=value)
    if not commit:
        click.echo(_patch(manifest.file, text, changed), nl=False)
        return
    if _git(root, "status", "--porcelain", "--", manifest.file).strip():
        raise click.ClickException(f"{manifest.file} has changes that are not committed")
    _commit(root, manifest.file, changed.encode(), f"Retry {ref}")
    what = f"Committed {RETRY_ANNOTATION}: {value} in {manifest.file}"
    click.echo(f"{what}; {_next_step(root, repository, setup)}.")


def _no_manifest(
    ref: ObjectRef, found: Collection, record: ObjectStatus | None
) -> click.ClickException:
    """Make the error about an object without a valid manifest at HEAD."""
    problem = next((problem for problem in found.problems if problem.object == ref), None)
    if problem is None:
        return removed_error(ref)
    never = "It has never run. " if record is None or record.never_ran else ""
    return click.ClickException(
        f"{ref} is Invalid: {problem}\n{never}Mend its manifest and commit that; then what is "
        "missing runs, without a retry"
    )


def _check_failed(planning: Planning, ref: ObjectRef) -> None:
    """Print a note if nothing has failed: a retry does nothing then."""
    record = planning.state.records.get(ref)
    if record is not None and all(task.phase is not TaskPhase.FAILED for task in record.tasks):
        click.echo(
            f"Note: {ref} is {record.phase}, and none of its tasks has failed: a retry runs only "
            "what has. To make a finished artifact once more, change the section's `rerun`.",
            err=True,
        )


def _next_step(root: Path, repository: LocalRepository, setup: Setup | None) -> str:
    """Return the step after the commit that makes the daemon run it."""
    if setup is None:
        return "push it to have it run" if repository.remote_url() else "the next sync runs it"
    branch, current = setup.config.repository.branch, _git(root, "branch", "--show-current").strip()
    into = "" if current == branch else f"merge it into {branch}"
    if _is_followed(root, setup.repository_url):
        return f"{into} to have it run" if into else "the next sync runs it"
    return f"{into} and push it to have it run" if into else "push it to have it run"


def _is_followed(root: Path, url: str) -> bool:
    """Return whether a URL names the repository of a work tree."""
    place = _git(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    with suppress(GitError):
        return is_local(url) and LocalRepository.open(local_path(url)).path.resolve() == Path(place)
    return False


def _next(known: str, now: datetime) -> str:
    """The next number after a number; else the time, which is unused."""
    if not known or known.isdecimal():
        return str(int(known or 0) + 1)
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


def _patch(file: str, before: str, after: str) -> str:
    # Lines as Git has them: those of `splitlines` end at a Unicode line separator too.
    old, new = (list(io.StringIO(text, newline="\n")) for text in (before, after))
    lines = difflib.unified_diff(old, new, f"a/{file}", f"b/{file}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _commit(root: Path, path: str, data: bytes, message: str) -> None:
    """Commit a file's new content, or leave the file unchanged."""
    file = root / path
    before = file.read_bytes()
    try:
        _replace(file, data)
        _git(root, "commit", "--quiet", "--message", message, "--", path)
    except BaseException:
        _replace(file, before)
        raise


def _replace(file: Path, data: bytes) -> None:
    """Replace a file's content in one step; keep its mode.

    A full disk leaves the old content.
    """
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".retry-", delete=False) as new:
        try:
            new.write(data)
            new.flush()
            shutil.copymode(file, new.name)
            Path(new.name).replace(file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _git(root: Path, *arguments: str) -> str:
    """Run the git binary, which uses the user's hooks and signing keys."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=user_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ReconcilerError("the git command is needed, and is not installed") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise ReconcilerError(f"git {arguments[0]} failed: {said}")
    return done.stdout
