"""Errors of Git operations, with messages fit for a status file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from reconciler.errors import GitError, Trouble
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.urls import redact

#: Characters of a server's text that are repeated.
_LONGEST = 300


class SourceFaultError(GitError):
    """A fault of the URL or commit itself; no later try succeeds."""

    trouble = Trouble.REJECTED
    permanent = True


def unresolved(error: GitError) -> UnresolvedSource:
    """Return the state of a source that could not be read."""
    code = ReasonCode.SOURCE_INVALID if error.permanent else ReasonCode.SOURCE_UNAVAILABLE
    return UnresolvedSource(Reason.of(code, detail=str(error)))


class NoRepositoryError(GitError):
    """A folder that is in no Git repository."""

    trouble = Trouble.MISSING


class DamagedError(GitError):
    """A copy of ours cannot be read, and must be made anew."""

    trouble = Trouble.DAMAGED


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn this machine's disk errors, such as a full disk, into GitError.

    A later try may succeed. libgit2 raises two types for them, of which one is an OSError without
    a number.
    """
    try:
        yield
    except (OSError, pygit2.GitError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise GitError(f"{path} cannot be written: {why}") from error


#: Git's messages about a damaged copy of ours. Damage of the remote may read the same; making
#: a copy anew does no harm then either.
_DAMAGED = re.compile(
    r"bad object|loose object|object file|is corrupt|corrupt(ed)? (loose|pack)|packfile \S*/"
    r"|pack-[0-9a-f]{6}"
    r"|not a git repository|inflate|missing (blob|tree|commit|necessary)|all necessary objects"
    r"|unable to (read|parse|unpack)|bad (index|pack)|not a valid object|bad ref|broken ref"
    r"|unable to resolve reference|shallow file|bad config (line|file)",
    re.IGNORECASE,
)

#: Messages of git and of servers, with their meaning to the user who has to act, and the trouble.
_MEANINGS = (
    (
        r"hook declined|protected branch",
        "a hook or a rule of the server, as for a protected branch, refuses it",
        Trouble.REFUSED,
    ),
    (
        r"host key verification failed|host identification has changed",
        "its host key is not a known one; put the right one into knownHostsFile",
        Trouble.UNTRUSTED,
    ),
    (
        r"returned error: 3\d\d",
        "it sends on to another place, which is not followed; give the URL of that place",
        Trouble.REJECTED,
    ),
    (
        r"authentication failed|could not read (username|password)|permission denied"  # noqa: ISC004
        r"|returned error: 40[13]|terminal prompts disabled|too many authentication",
        "",  # worded by explain(), as it depends on whether credentials are configured
        Trouble.REFUSED,
    ),
    (
        r"dubious ownership",
        "it belongs to another user; see safe.directory in git's manual",
        Trouble.REFUSED,
    ),
    (
        r"not found|does not exist|does not appear to be a git|no such file|returned error: 404",
        "there is no such repository, or it may not be seen",
        Trouble.MISSING,
    ),
    (r"could not resolve", "its host name cannot be resolved", Trouble.UNREACHABLE),
    (r"timed? ?out|operation too slow", "it did not answer in time", Trouble.TIMEOUT),
    (r"certificate|ssl|tls", "its certificate is not trusted; see tls.caFile", Trouble.UNTRUSTED),
    (
        r"connection refused|failed to connect|couldn't connect|connection reset",
        "the connection was refused",
        Trouble.UNREACHABLE,
    ),
    (r"not allowed|transport .* not", "its protocol is not supported", Trouble.REJECTED),
    (
        # Alone, the last is what a program leaves that a limit ended before it could speak.
        r"file too large|died of signal 25|out of memory|unable to allocate|cannot allocate"  # noqa: ISC004
        r"|\A\s*fatal: fetch-pack: invalid index-pack output\s*\Z",
        "it sends more than is accepted; see sources.maxSize",
        Trouble.REJECTED,
    ),
)


def explain(url: str, said: str, *, configured: bool, verb: str = "read") -> GitError:
    """Make a GitError of git's standard error.

    ``configured``: credentials are configured for the URL. ``verb`` is what could not be done to
    it. Returns a DamagedError where the message is about a damaged repository.
    """
    shown = redact(url)
    brief = _brief(said)
    searched = re.sub(r"'[^'\n]*'", "", said)  # a repository may be called openssl
    for pattern, meaning, trouble in _MEANINGS:
        if re.search(pattern, searched, re.IGNORECASE):
            meant = meaning or (
                "authentication was refused"
                if configured
                else "it wants authentication, and no credentials are configured for it"
            )
            return GitError(f"{shown} cannot be {verb}: {meant} ({brief})", trouble)
    if _DAMAGED.search("\n".join(x for x in said.splitlines() if not x.startswith("remote:"))):
        return DamagedError(f"{shown} cannot be {verb}: {brief}")
    return GitError(f"{shown} cannot be {verb}: {brief}")


def _brief(said: str) -> str:
    """Return the line that says most.

    Servers may send anything, so it is bounded and without control characters.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    useful = [line for line in lines if not _POINTLESS.search(line)] or lines or ["?"]
    telling = [line for line in useful if re.match(r"(fatal|error|remote|ssh|!)\b", line, re.I)]
    chosen = telling or useful
    text = "".join(char if char.isprintable() else " " for char in redact(chosen[0]))
    return text[:_LONGEST]


_POINTLESS = re.compile(
    r"could not read from remote|access rights|failed to push some refs"
    r"|^(remote:\s*)?(error:)?$",  # Gitea frames its messages with these
    re.IGNORECASE,
)
