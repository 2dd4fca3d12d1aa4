"""What builds leave on the disk of the local engine, as it stands there."""

from __future__ import annotations

#: The record of an environment.
REQUIREMENTS = {"version": 1, "requirements": "torch==2.9.0\n", "shared": True}


def image_record(key: str, env: str) -> dict[str, object]:
    """The record of an image with an environment."""
    commit, tree = "c" * 40, "7" * 40
    return {"version": 1, "key": key, "commit": commit, "tree": tree, "env": env, "project": False}
