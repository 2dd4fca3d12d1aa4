"""Calls to remotes: list refs, fetch, push; deadlines and errors.

The git command talks, for the reasons that :mod:`reconciler.git.command` gives; what it has fetched
is then read without it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from reconciler.errors import GitError
from reconciler.git.access import Access, access, without_secrets
from reconciler.git.command import LARGEST_ERROR, Done, LateError, run_git
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import explain
from reconciler.types import Commit
from reconciler.urls import normal_url, redact

#: Seconds for a look-up or a push. A fetch may take longer, as the first one brings everything.
DEFAULT_TIMEOUT = 60.0
FETCH_PATIENCE = 10
#: Bytes of a fetch of what others name: a source, or a pull request.
LARGEST_FETCH = 256 << 20
#: Bytes of memory and of output for a look-up: some 500,000 refs. A server may send them for ever.
LOOK_UP_MEMORY = 256 << 20
LARGEST_LOOK_UP = 64 << 20

_REF_LINE = re.compile(r"(?:ref: (?P<target>\S+)|(?P<id>[0-9a-f]{40,64}))\t(?P<name>\S+)")
_ADVERTISEMENT = "/info/refs"


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """The refs that a remote advertises.

    Tags are peeled; ``head`` is the name that its HEAD points to.
    """

    commits: Mapping[str, Commit]
    head: str | None = None


class PushRejectedError(Exception):
    """The branch has moved since it was last fetched."""


@dataclass(slots=True)
class Transport:
    """Calls to remotes, each with the credentials of its URL.

    ``home`` is a folder of our own, for the files that git and ssh read. ``timeout`` is in
    seconds. ``allowed`` says which URLs a redirect may lead to. Safe to use from several threads.
    """

    credentials: CredentialTable
    home: Path
    timeout: float = DEFAULT_TIMEOUT
    allowed: Callable[[str], bool] = lambda _: True
    _moved: dict[str, str] = field(default_factory=dict, repr=False)

    def list_refs(self, url: str, patterns: Sequence[str] = ()) -> RemoteRefs:
        """Return a remote's refs: those that end in a pattern, or all.

        Raises GitError.
        """
        done = self._call(
            url,
            lambda at: ["ls-remote", "--quiet", "--symref", "--", at, *patterns],
            "read",
            largest=LARGEST_LOOK_UP,
            memory=LOOK_UP_MEMORY,
        )
        commits: dict[str, Commit] = {}
        head = None
        for line in done.out.splitlines():
            found = _REF_LINE.fullmatch(line)
            if found is None:
                continue
            if found["target"] is not None:
                head = found["target"] if found["name"] == "HEAD" else head
            else:
                # The peeled entry of an annotated tag follows the tag itself.
                commits[found["name"].removesuffix("^{}")] = Commit(found["id"])
        return RemoteRefs(commits, head)

    def fetch(
        self,
        path: Path,
        url: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        largest: int | None = None,
        patience: float = 1.0,
    ) -> None:
        """Fetch the missing objects into the bare repository at ``path``.

        ``depth`` is of history: 0 fetches what an earlier fetch of some depth has left out, None
        leaves the depth as it is. ``largest`` bounds the bytes of one file. ``patience`` multiplies
        the timeout of a fetch.

        Raises GitError, LateError, and DamagedError where our repository is at fault.
        """
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
        options.append("--update-shallow")  # the other side may be a shallow clone itself
        if depth:
            options.append(f"--depth={depth}")
        elif depth == 0 and (path / "shallow").exists():
            options.append("--unshallow")
        self._call(
            url,
            lambda at: [f"--git-dir={path}", "fetch", *options, "--", at, *refspecs],
            "read",
            timeout=self.timeout * FETCH_PATIENCE * patience,
            largest=largest,
        )

    def push(self, path: Path, url: str, commit: Commit, ref: str) -> None:
        """Push a commit to a ref, never by force.

        Raises PushRejectedError where the ref has moved, and GitError.
        """

        def command(at: str) -> list[str]:
            options = ["--porcelain", "--quiet", "--no-verify", "--no-signed"]
            return [f"--git-dir={path}", "push", *options, "--", at, f"{commit}:{ref}"]

        self._call(url, command, "pushed to", rejected=_rejection)

    def replace(
        self, path: Path, url: str, commit: Commit | None, ref: str, *, expected: Commit | None
    ) -> None:
        """Set or delete a ref that is at its expected commit.

        ``expected`` is None for a ref that is not there. Raises PushRejectedError where the ref has
        moved, and GitError.
        """
        lease = f"--force-with-lease={ref}:{expected or ''}"

        def command(at: str) -> list[str]:
            options = ["--porcelain", "--quiet", "--no-verify", "--no-signed", lease]
            return [f"--git-dir={path}", "push", *options, "--", at, f"{commit or ''}:{ref}"]

        self._call(url, command, "pushed to", rejected=_rejection)

    def _call(
        self,
        url: str,
        command: Callable[[str], list[str]],
        verb: str,
        *,
        timeout: float | None = None,
        rejected: Callable[[Done], str | None] = lambda _: None,
        largest: int | None = None,
        memory: int | None = None,
    ) -> Done:
        patience = timeout or self.timeout
        way = self._access(url)
        done = self._run(way, command, patience, largest, memory)
        if done.code != 0 and "returned error: 30" in done.err:
            moved = self._follow(url, way)
            if moved is not None:
                self._moved[url] = moved
                way = self._access(url)
                done = self._run(way, command, patience, largest, memory)
        if done.code == 0:
            return done
        why = rejected(done)
        if why is not None:
            raise PushRejectedError(redact(why))
        said = without_secrets(f"{done.err}\n{done.out[:LARGEST_ERROR]}", way.secrets)
        raise explain(url, said, configured=way.configured, verb=verb)

    def _access(self, url: str) -> Access:
        return access(self._moved.get(url, url), self.credentials, self.home, self.timeout)

    def _run(
        self,
        way: Access,
        command: Callable[[str], list[str]],
        timeout: float,
        largest: int | None = None,
        memory: int | None = None,
    ) -> Done:
        try:
            return run_git(
                command(way.url), env=way.env, timeout=timeout, largest=largest, memory=memory
            )
        except LateError as error:
            raise LateError(f"{redact(way.url)}: {error}") from error

    def _follow(self, url: str, way: Access) -> str | None:
        """Return the target of a redirect, if it stays on the host.

        Forges redirect to add ``.git``, or after a rename. Git would follow a redirect to any host,
        and a URL that is allowed must not lead to one that is not, such as a service that only this
        host can reach. Raises GitError for a target that is not allowed.
        """
        with tempfile.NamedTemporaryFile(dir=self.home) as trace:
            env = {**way.env, "GIT_TRACE_CURL": trace.name, "GIT_TRACE_CURL_NO_DATA": "1"}
            run_git(["ls-remote", "--", way.url, "HEAD"], env=env, timeout=self.timeout)
            text = Path(trace.name).read_text(errors="replace")
        found = re.findall(r"<= Recv header: location: (\S+)", text, re.IGNORECASE)
        if not found:
            return None
        target = urljoin(f"{way.url}{_ADVERTISEMENT}", found[-1])
        path, marker, _ = target.partition(_ADVERTISEMENT)
        if not marker or urlsplit(path)[:2] != urlsplit(url)[:2]:
            return None
        try:
            moved = normal_url(path)
        except GitError:
            return None
        if not self.allowed(moved):
            raise GitError(
                f"{redact(url)} redirects to {redact(moved)}, which is not in sources.allow"
            )
        return moved


#: Answers to a push where another one came first. Any other refusal, as by a hook or a protected
#: branch, would be the same at the next try.
_FIRST = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to update ref"
    r"|failed to lock|incorrect old value|reference already exists|unable to lock"
    # Our copy is shallow, and its oldest commit is gone from the remote: the branch was replaced.
    r"|shallow update not allowed"
)


#: The answer where a branch has the name of a folder of ours, or the other way round.
_IN_THE_WAY = "exists; cannot create"


def _rejection(done: Done) -> str | None:
    if _IN_THE_WAY in done.err:
        return None
    for line in done.out.splitlines():
        if line.startswith("!") and _FIRST.search(line):
            return line
    return None
