"""What GitHub's published description says of the calls that are made, as a table.

From https://github.com/github/rest-api-description (2022-11-28): the operations' paths, parameters
and request bodies. Their schemas take other properties too; here those that are not described are
refused, as a misspelt one would change nothing and be noticed by nobody. The lengths are not in it:
they are what GitHub's servers answer 422 to. Gitea's description (``/swagger.v1.json``) has the
same paths below ``/api/v1``, with ``limit`` for ``per_page`` and no ``direction`` or ``base``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PAGES = {"per_page": r"[1-9]\d?|100", "page": r"[1-9]\d*"}
_GITEA_PAGES = {"limit": r"[1-9]|[1-4]\d|50", "page": r"[1-9]\d*"}


@dataclass(frozen=True)
class Operation:
    """``query`` maps a parameter to what it may be; ``body`` is a JSON Schema."""

    name: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    def match(self, method: str, path: str) -> dict[str, str] | None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path) if method == self.method else None
        return found.groupdict() if found else None


_COMMENT = {
    "type": "object",
    "required": ["body"],
    "properties": {"body": {"type": "string", "minLength": 1, "maxLength": 65_536}},
    "additionalProperties": False,
}
_STATUS = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["error", "failure", "pending", "success"]},
        "target_url": {"type": ["string", "null"]},
        "description": {"type": ["string", "null"], "maxLength": 140},
        "context": {"type": "string", "default": "default"},
    },
    "additionalProperties": False,
}


def operations(*, gitea: bool) -> list[Operation]:
    pages = _GITEA_PAGES if gitea else _PAGES
    order = {"sort": "recentupdate|oldest|priority|leastupdate|mostcomment|leastcomment"}
    if not gitea:
        order = {"sort": "created|updated|popularity|long-running", "direction": "asc|desc"}
    repo = "/repos/{owner}/{repo}"
    return [
        Operation("users/get-authenticated", "GET", "/user"),
        Operation(
            "pulls/list",
            "GET",
            f"{repo}/pulls",
            {"state": "open|closed|all", "base": ".+", **order, **pages},
        ),
        Operation(
            "repos/get-combined-status-for-ref", "GET", f"{repo}/commits/{{ref}}/status", pages
        ),
        Operation("repos/create-commit-status", "POST", f"{repo}/statuses/{{sha}}", body=_STATUS),
        Operation("issues/list-comments", "GET", f"{repo}/issues/{{issue_number}}/comments", pages),
        Operation(
            "issues/create-comment",
            "POST",
            f"{repo}/issues/{{issue_number}}/comments",
            body=_COMMENT,
        ),
        Operation(
            "issues/update-comment",
            "PATCH",
            f"{repo}/issues/comments/{{comment_id}}",
            body=_COMMENT,
        ),
    ]
