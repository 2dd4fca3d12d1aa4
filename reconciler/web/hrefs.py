"""Paths of pages."""

from __future__ import annotations

from reconciler.planner import status_path
from reconciler.types import ObjectRef


def object_href(ref: ObjectRef) -> str:
    """Return the path of an object's page.

    Names are DNS labels, and need no quoting.
    """
    return f"/objects/{status_path(ref).removesuffix('.yaml')}"
