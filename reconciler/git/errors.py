"""What goes wrong with a remote, as a sentence that is fit for a status file."""

from __future__ import annotations

import re

from reconciler.errors import ReconcilerError

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


class GitError(ReconcilerError):
    """A Git operation failed. The message names the URL without its secrets, and what to do."""


def redact(text: str) -> str:
    """The text with the user and password of every URL in it left out."""
    return _USERINFO.sub("", text)


#: What libgit2 and servers say, and what it means to the person who has to put it right.
_MEANINGS = (
    (r"too many redirects|authentication|401|403|credentials", "authentication was refused"),
    (r"callback returned unsupported credentials", "no credentials that the server accepts"),
    (r"unknown host key|hostkey|host key|certificate check", "its host key is not the known one"),
    (r"404|not found|does not exist|does not appear to be a git", "there is no such repository"),
    (r"timed? ?out", "it did not answer in time"),
    (r"failed to resolve address|resolve", "its host name cannot be resolved"),
    (r"ssl|tls|certificate", "its certificate is not trusted"),
    (r"connection refused|failed to connect|could not connect", "the connection was refused"),
)


def explain(url: str, error: Exception) -> GitError:
    """A library's error as ours."""
    said = redact(str(error)).strip() or type(error).__name__
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return GitError(f"{redact(url)} cannot be read: {meaning} ({said})")
    return GitError(f"{redact(url)} cannot be read: {said}")
