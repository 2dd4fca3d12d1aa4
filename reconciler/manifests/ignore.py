"""Which files are read: YAML and JSON, less what ``.reconcilerignore`` names."""

from __future__ import annotations

from dataclasses import dataclass, field

from pathspec import GitIgnoreSpec

IGNORE_FILE = ".reconcilerignore"
SUFFIXES = (".yaml", ".yml", ".json")


def is_manifest_path(path: str) -> bool:
    """Whether a file may hold manifests, by its name."""
    return path.endswith(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Ignore:
    """Patterns in gitignore syntax, relative to the folder that the file is in."""

    spec: GitIgnoreSpec = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Ignore:
        """Read a ``.reconcilerignore``; a line that is no pattern ignores nothing, as for Git."""
        lines = data.decode("utf-8-sig", "replace").splitlines()
        return cls(GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line)))

    def matches(self, path: str) -> bool:
        """Whether the file at this path, relative to the folder, is left out."""
        return self.spec.match_file(path)


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
