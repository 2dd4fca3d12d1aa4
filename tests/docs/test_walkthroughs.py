"""Whoever follows a page, command by command, sees what it shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.docs.reader import CHECKOUT, Reader
from tests.docs.reading import PAGES, ROOT, blocks
from tests.e2e.site import git
from tests.processes import run

LONGER = r"/name: tilted-gentle/,/params:/s/epochs: 5\b/epochs: 20/"

#: Pages whose commands are typed below, and the others with what runs theirs.
FOLLOWED = {
    "README.md",
    "docs/tutorial.md",
    "docs/review.md",
    "docs/operations.md",
    "docs/security.md",
    "docs/deploy.md",
    "examples-repo/README.md",
}
ELSEWHERE = {
    "CONTRIBUTING.md": ".ci/run, which makes what it names and runs this very test",
    "docs/progress.md": "lines of a command, which tests/engines/local/test_progress.py has",
    "docs/reliability.md": "tests/simulator, which simulates as it says",
}


def test_every_page_with_commands_is_followed() -> None:
    typed = {b.page for page in PAGES for b in blocks(page) if b.is_typed}
    assert typed == FOLLOWED | set(ELSEWHERE)


@pytest.mark.slow("installs the examples' requirements, and trains them as the page says")
def test_the_tutorial(tmp_path: Path) -> None:
    Reader(_folder(tmp_path), path=(CHECKOUT,)).follow("docs/tutorial.md")


def test_the_page_on_security(tmp_path: Path) -> None:
    Reader(_folder(tmp_path), path=(CHECKOUT,)).follow("docs/security.md")


@pytest.mark.slow("installs the examples' requirements, and trains them as the page says")
@pytest.mark.timeout(900)
def test_the_readme(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    Reader(checkout, edits=(LONGER,), path=(tmp_path / "empty/bin",)).follow("README.md")


@pytest.mark.slow("installs the examples' requirements, and trains them as the page says")
@pytest.mark.timeout(600)
def test_the_readme_of_the_examples(tmp_path: Path) -> None:
    Reader(_demo(tmp_path), edits=(LONGER,), path=(CHECKOUT,)).follow("examples-repo/README.md")


@pytest.mark.slow("installs the examples' requirements, and trains them as the page says")
@pytest.mark.timeout(600)
def test_the_pages_on_review_and_on_operations(tmp_path: Path) -> None:
    demo = _demo(tmp_path)
    _run("run", "--once", folder=demo)
    Reader(demo, path=(CHECKOUT,)).follow("docs/operations.md")

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(demo), str(clone))
    base = clone / "models/base.yaml"
    base.write_text(base.read_text().replace("epochs: 20", "epochs: 30"))
    git(clone, "commit", "--quiet", "--all", "--message", "Train the base longer")
    Reader(clone, path=(CHECKOUT,)).follow("docs/review.md")


def test_the_page_on_deployment(own_control_plane: Cluster, tmp_path: Path) -> None:
    kubectl = own_control_plane.binaries["kubectl"]
    variables = {"KUBECONFIG": str(own_control_plane.kubeconfig)}
    checkout = _checkout(tmp_path)
    (checkout / "rclone.conf").write_text("[store]\ntype = s3\n")
    reader = Reader(checkout, path=(kubectl.parent,), variables=variables)
    reader.follow("docs/deploy.md")
    made = own_control_plane.kubectl("get", "deployments,secrets,roles", "--all-namespaces")
    for name in ("deployment.apps/reconciler", "secret/git", "secret/rclone", "secret/registry"):
        assert name in made


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "you"
    folder.mkdir()
    return folder


def _checkout(tmp_path: Path) -> Path:
    """The files of this one that a clone would have, with what is not committed yet."""
    folder = _folder(tmp_path)
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _demo(tmp_path: Path) -> Path:
    """What ``reconciler init`` makes."""
    _run("init", "demo", folder=tmp_path)
    return tmp_path / "demo"


def _run(*arguments: str, folder: Path) -> None:
    command = [sys.executable, "-m", "reconciler", *arguments]
    done = run(command, cwd=folder)
    assert done.returncode == 0, done.stderr
