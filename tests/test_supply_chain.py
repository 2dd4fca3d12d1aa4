"""Dependencies by their hashes: what is locked, and what the image installs of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOTS: dict[str, list[str]] = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-build.lock": PROJECT["build-system"]["requires"],
}
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def _locked(file: str) -> dict[str, tuple[Requirement, list[str]]]:
    """The requirements in a lock by name, each with its hashes."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for entry in (ROOT / file).read_text().replace("\\\n", " ").splitlines():
        text, *hashes = entry.split(" --hash=")
        requirement = Requirement(text)
        found[canonicalize_name(requirement.name)] = requirement, hashes
    return found


def _needed(texts: list[str], extras: frozenset[str] = frozenset({""})) -> Iterator[str]:
    """Names of what is needed on this machine, and of what that needs."""
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield canonicalize_name(requirement.name)
            inner = distribution(requirement.name).requires or []
            yield from _needed(inner, frozenset({"", *requirement.extras}))


def test_all_that_the_daemon_needs_is_locked_and_nothing_else() -> None:
    locked = {
        name
        for name, (requirement, _) in _locked("requirements.lock").items()
        if requirement.marker is None or requirement.marker.evaluate()
    }
    assert locked == set(_needed(ROOTS["requirements.lock"]))


@pytest.mark.parametrize("file", ROOTS)
def test_a_lock_is_within_the_bounds_of_the_project_and_of_its_constraints(file: str) -> None:
    locked = _locked(file)
    pins = map(Requirement, (ROOT / "constraints.txt").read_text().splitlines())
    pinned = {str(canonicalize_name(pin.name)): pin.specifier for pin in pins}
    for name, (requirement, _) in locked.items():
        assert requirement.specifier == pinned[name]
    for root in map(Requirement, ROOTS[file]):
        requirement, _ = locked[canonicalize_name(root.name)]
        (version,) = (each.version for each in requirement.specifier)
        assert root.specifier.contains(version)


@pytest.mark.parametrize("file", ROOTS)
def test_a_lock_has_hashes_of_everything_and_no_address(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert text.count("--hash=") == len(_HASH.findall(text))
    for requirement, hashes in _locked(file).values():
        assert requirement.url is None
        assert hashes


def test_the_image_installs_nothing_without_a_hash() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    commands = re.findall(r"bin/pip\b[^&\n]*? (install|wheel) ([^&\n]*)", dockerfile)
    assert [name for name, _ in commands] == ["install", "install", "wheel", "install"]
    for _, options in commands:
        assert "--require-hashes" in options or "--no-index --no-deps" in options


def test_the_image_is_not_root_and_its_base_can_be_named_by_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line.split()[1] for line in dockerfile if line.startswith("FROM ")] == ["${BASE}"] * 2
    users = [line for line in dockerfile if line.startswith("USER ")]
    assert users == ["USER 65532:65532"]
    assert dockerfile.index(users[0]) < dockerfile.index('ENTRYPOINT ["reconciler"]')
