"""What docs/support.md says of CI and of versions is so."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from tests.docs.reading import ROOT

_LEGEND = re.compile(r"(?:CI|stand-in|by hand|form|no)\b|`make test-[a-z]+`")
_TARGET = re.compile(r"`make (test-[a-z]+)`")
_PARTS = re.compile(r"^for part in ([a-z ]+); do$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    version: str
    how: str


def table() -> list[Row]:
    lines = (ROOT / "docs" / "support.md").read_text().splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    assert {len(each) for each in cells} == {3}
    return [Row(*(cell.strip() for cell in each)) for each in cells[1:]]


def parts_of_ci() -> set[str]:
    """The targets that .ci/run makes besides ``make test``."""
    text = (ROOT / ".ci" / "run").read_text()
    (parts,) = _PARTS.findall(text)
    assert 'make "test-$part"' in text
    return {f"test-{part}" for part in parts.split()}


def named(word: str) -> set[str]:
    """The targets of rows that begin with a word."""
    return {
        target for row in table() if row.how.startswith(word) for target in _TARGET.findall(row.how)
    }


@pytest.mark.parametrize("row", table(), ids=lambda row: row.part)
def test_a_row_begins_with_a_word_of_the_legend(row: Row) -> None:
    assert _LEGEND.match(row.how), row.how


def test_what_is_said_to_be_in_ci_is_there_and_the_rest_is_not() -> None:
    assert named("CI") == parts_of_ci()
    alone = set(re.findall(r"^(test-[a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named("`make ") == alone - parts_of_ci()


#: The beginning of a part, and the module that its tests are built from: of these the first two
#: numbers of the version are in its row.
BUILT = [
    ("Kubernetes: API server", "kubernetes", "k8s.io/kubernetes"),
    ("a node: kubelet, containerd", "kubernetes", "k8s.io/kubernetes"),
    ("a node: kubelet, containerd", "containerd", "github.com/containerd/containerd/v2"),
    ("Job-level gangs", "kubernetes", "k8s.io/kubernetes"),
    ("Kueue: quota", "kueue", "sigs.k8s.io/kueue"),
    ("Kueue's visibility API", "kueue", "sigs.k8s.io/kueue"),
    ("Kueue: several nodes", "kueue", "sigs.k8s.io/kueue"),
    ("builds: BuildKit", "buildkit", "github.com/moby/buildkit"),
    ("layers of builds", "registry", "github.com/distribution/distribution/v3"),
    ("registry: distribution", "registry", "github.com/distribution/distribution/v3"),
    ("bucket `rclone`: an S3 server", "rclone", "github.com/rclone/rclone"),
    ("collection by Jobs", "rclone", "github.com/rclone/rclone"),
    ("scrub of `s3://`", "rclone", "github.com/rclone/rclone"),
    ("bucket `gcsfuse`", "gcsfuse", "github.com/googlecloudplatform/gcsfuse/v3"),
    ("bucket `mountpoint-s3`", "s3csi", "github.com/awslabs/mountpoint-s3-csi-driver"),
    ("bucket `mountpoint-s3`", "versitygw", "github.com/versity/versitygw"),
    ("Gitea: hooks", "gitea", "code.gitea.io/gitea"),
    ("Gitea: limits", "gitea", "code.gitea.io/gitea"),
    ("NetworkPolicies", "kuberouter", "github.com/cloudnativelabs/kube-router/v2"),
    ("kustomize overlays", "kubernetes", "k8s.io/kubernetes"),
    ("the Helm chart", "helm", "helm.sh/helm/v4"),
]


@pytest.mark.parametrize(("part", "folder", "module"), BUILT)
def test_a_version_is_that_of_the_program_that_is_tested(
    part: str, folder: str, module: str
) -> None:
    text = (ROOT / "tests" / "cluster" / "go" / folder / "go.mod").read_text()
    (found,) = re.findall(rf"^\t{re.escape(module)} v(\d+\.\d+)\.", text, re.MULTILINE)
    assert_version(part, found)


def test_versions_of_other_packages_are_those_that_are_installed() -> None:
    page = json.loads((ROOT / "tests" / "grafana" / "package.json").read_text())
    assert_version("Grafana: dashboards", numbers(page["dependencies"]["@grafana/ui"]))
    crate = (ROOT / "tests" / "cluster" / "rust" / "mountpoint" / "Cargo.toml").read_text()
    (found,) = re.findall(r'mountpoint-s3-fs = "=([\d.]+)"', crate)
    assert_version("bucket `mountpoint-s3`", numbers(found))
    (found,) = re.findall(r"^model-signing==([\d.]+)$", constraints(), re.MULTILINE)
    assert_version("signatures of artifacts, local engine", numbers(found))


def constraints() -> str:
    return (ROOT / "constraints.txt").read_text()


def numbers(version: str) -> str:
    return ".".join(version.split(".")[:2])


def assert_version(part: str, version: str) -> None:
    (row,) = (row for row in table() if row.part.startswith(part))
    assert re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", row.version), (row, version)
