"""Selection of manifest files: YAML and JSON, less the paths in ``.reconcilerignore``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".reconcilerignore"
SUFFIXES = (".yaml", ".yml", ".json")


def is_manifest_path(path: str) -> bool:
    """Return whether a path has the suffix of a manifest file."""
    return path.endswith(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Ignore:
    """Patterns in gitignore syntax, relative to the folder of their file."""

    spec: GitIgnoreSpec = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Ignore:
        """Parse a ``.reconcilerignore``; as in Git, an invalid line matches nothing."""
        from pathspec import GitIgnoreSpec  # noqa: PLC0415 -- 40 modules that few commands need

        lines = data.decode("utf-8-sig", "replace").splitlines()
        return cls(GitIgnoreSpec.from_lines(filter(_is_pattern, lines)))

    def matches(self, path: str) -> bool:
        """Return whether a path, relative to the folder, is ignored."""
        return self.spec.match_file(path)


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 -- as above

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
