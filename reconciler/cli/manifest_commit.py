"""Changes of one manifest in a clone, as patch or commit.

A commit is made by the git binary, with the user's hooks and signing key. One that is refused
leaves everything as it was.
"""

from __future__ import annotations

import difflib
import io
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.options import load_if_there, open_clone
from reconciler.cli.select import one, removed_error, with_removed
from reconciler.config import Setup
from reconciler.git import GitError, LocalRepository, is_local, local_path, run_as_user
from reconciler.manifests import Collection, Manifest, set_suspend
from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedManifest:
    """A manifest in the work tree of a clone, to be edited.

    ``record`` is the recorded status, None before the first sync; ``objects`` are all at HEAD.
    """

    setup: Setup | None
    repository: LocalRepository
    root: Path
    ref: ObjectRef
    manifest: Manifest
    record: ObjectStatus | None
    objects: Mapping[ObjectRef, Manifest]
    text: str

    @property
    def is_synced(self) -> bool:
        """True if the recorded status is of the manifest at HEAD."""
        known = self.record.manifest if self.record is not None else None
        return known is not None and known.digest == self.manifest.digest

    @classmethod
    def find(
        cls, name: str, *, namespace: str | None, kind: str | None, folder: Path, config_file: Path
    ) -> EditedManifest:
        """Find the manifest of a name or key at HEAD.

        Raises ClickException and UsageError.
        """
        repository = open_clone(folder)
        setup = load_if_there(config_file)
        _check_clone(setup, repository)
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
        try:
            text = file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{file} cannot be read: {error}") from error
        return cls(
            setup=setup,
            repository=repository,
            root=root,
            ref=ref,
            manifest=manifest,
            record=planning.state.records.get(ref),
            objects=found.objects,
            text=text,
        )

    def patch(self, changed: str) -> str:
        """Return the change as a patch for `git apply`."""
        return _patch(self.manifest.file, self.text, changed)

    def apply(self, changed: str, subject: str, what: str, *, effect: str, dry_run: bool) -> None:
        """Print the change as a patch, or commit it.

        Raises as :meth:`commit` does.
        """
        if dry_run:
            click.echo(self.patch(changed), nl=False)
        else:
            click.echo(self.commit(changed, subject, what, effect=effect))

    def commit(self, changed: str, subject: str, what: str, *, effect: str = "takes effect") -> str:
        """Commit the change, and return what was done and the next step.

        ``effect`` says what the sync does then.

        Raises ClickException for a file with other changes, and ReconcilerError where git refuses.
        """
        file = self.manifest.file
        if run_as_user(self.root, "status", "--porcelain", "--", file):
            raise click.ClickException(f"{file} has changes that are not committed")
        _commit(self.root, file, changed.encode(), subject)
        step = _next_step(self.root, self.repository, self.setup)
        step = step.replace("…", effect)
        return f"Committed {what} in {file}; {step}."


def commit_suspend(edited: EditedManifest, *, suspend: bool, dry_run: bool) -> None:
    """Commit ``spec.suspend``, or print the patch; no-op where it is so already."""
    ref = edited.ref
    if edited.manifest.document.spec.suspend is suspend:
        so = f"{ref} is suspended already" if suspend else f"{ref} is not suspended"
        click.echo(f"{so}; nothing to commit.")
        return
    edited.apply(
        set_suspend(edited.text, file=edited.manifest.file, ref=ref, suspend=suspend),
        f"{'Suspend' if suspend else 'Resume'} {ref}",
        f"spec.suspend: {'true' if suspend else 'false'}",
        effect="starts nothing new of it" if suspend else "runs what is missing",
        dry_run=dry_run,
    )


def _check_clone(setup: Setup | None, repository: LocalRepository) -> None:
    """Raise ClickException for a clone of another repository than a local ``repository.url``."""
    if setup is None or not is_local(setup.repository_url):
        return
    root = repository.work_tree or repository.path
    meant = local_path(setup.repository_url).resolve()
    remotes = {path.resolve() for path in repository.local_remotes()}
    if not remotes & {meant, meant / ".git"} and not _is_followed(root, setup.repository_url):
        raise click.ClickException(
            f"{root} is no clone of repository.url, {meant}; name one with --repo"
        )


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


def _next_step(root: Path, repository: LocalRepository, setup: Setup | None) -> str:
    """Return the step after the commit by which the daemon follows it."""
    if setup is None:
        return "push it; then it …" if repository.remote_url() else "with the next sync it …"
    branch, current = setup.config.repository.branch, run_as_user(root, "branch", "--show-current")
    into = "" if current == branch else f"merge it into {branch}"
    if _is_followed(root, setup.repository_url):
        return f"{into}; then it …" if into else "with the next sync it …"
    return f"{into} and push it; then it …" if into else "push it; then it …"


def _is_followed(root: Path, url: str) -> bool:
    """Return whether a URL names the repository of a work tree."""
    place = run_as_user(root, "rev-parse", "--path-format=absolute", "--git-common-dir")
    with suppress(GitError):
        return is_local(url) and LocalRepository.open(local_path(url)).path.resolve() == Path(place)
    return False


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
        run_as_user(root, "commit", "--quiet", "--message", message, "--", path)
    except BaseException:
        _replace(file, before)
        raise


def _replace(file: Path, data: bytes) -> None:
    """Replace a file's content in one step; keep its mode.

    A full disk leaves the old content.
    """
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".reconciler-", delete=False) as new:
        try:
            new.write(data)
            new.flush()
            shutil.copymode(file, new.name)
            Path(new.name).replace(file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
