"""What a command leaves is the same artifact on either engine, at whatever place it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.marker import list_files, make_links_relative, read_marker
from reconciler.reasons import ReasonCode
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import KEY
from tests.engines.local.bench import Bench, reason

#: A command's links, by name, and the file that a reader finds there. {} is MODEL_DIR.
LINKS: list[tuple[str, str, str]] = [
    ("last.ckpt", "{}/epoch1.ckpt", "last.ckpt"),
    ("sub/last.ckpt", "{}/epoch1.ckpt", "sub/last.ckpt"),
    ("sub/deep/last.ckpt", "{}/sub/other.ckpt", "sub/deep/last.ckpt"),
    ("latest", "{}/sub", "latest/other.ckpt"),
    ("sub/self", "{}", "sub/self/epoch1.ckpt"),
    ("last.ckpt", "../{name}/epoch1.ckpt", "last.ckpt"),
    ("sub/last.ckpt", "../../{name}/epoch1.ckpt", "sub/last.ckpt"),
    ("sub/last.ckpt", "../epoch1.ckpt", "sub/last.ckpt"),
    ("-last", "{}/sub/other.ckpt", "-last"),
    ("a b", "{}/-n", "a b"),
]
FILES = """mkdir -p "$MODEL_DIR/sub/deep"
cd "$MODEL_DIR"
for file in epoch1.ckpt sub/other.ckpt -n; do echo w >"$file"; done
"""


def link_of(name: str, target: str) -> str:
    """A script's line that makes the link."""
    shown = target.replace("{name}", '$(basename "$MODEL_DIR")').replace("{}", "$MODEL_DIR")
    return f'ln -s -- "{shown}" "{name}"'


@pytest.mark.parametrize(("name", "target", "read"), LINKS)
def test_a_link_holds_where_the_artifact_is_read(
    pod: MakeContainer, tmp_path: Path, name: str, target: str, read: str
) -> None:
    container = pod()
    ended = container.sh(FILES + link_of(name, target))
    assert ended.code == 0, ended.output
    assert read_marker(container.bucket, KEY) is not None
    local = tmp_path / "local"
    (local / "sub/deep").mkdir(parents=True)
    for file in ("epoch1.ckpt", "sub/other.ckpt", "-n"):
        (local / file).write_text("w\n")
    (local / name).symlink_to(target.replace("{name}", local.name).replace("{}", str(local)))
    make_links_relative(local)
    assert list_files(local) == list_files(container.bucket)
    for made in (container.bucket, local):
        moved = made.rename(tmp_path / f"moved-{made.name}")
        assert (moved / read).read_text() == "w\n"


@pytest.mark.parametrize("engine", ["local", "cluster"])
def test_a_link_that_is_relative_stays_as_it_is(
    pod: MakeContainer, tmp_path: Path, engine: str
) -> None:
    artifact = tmp_path / "local"
    if engine == "cluster":
        container = pod()
        artifact = container.bucket
        assert container.sh('cd "$MODEL_DIR"; echo w >a; ln -s a b; ln -s b c').code == 0
    else:
        artifact.mkdir()
        (artifact / "a").write_text("w\n")
        (artifact / "b").symlink_to("a")
        (artifact / "c").symlink_to("b")
        make_links_relative(artifact)
    assert [str((artifact / name).readlink()) for name in "bc"] == ["a", "b"]


async def test_the_local_engine_makes_links_relative(bench: Bench) -> None:
    body = 'echo w >"$MODEL_DIR/epoch1"; ln -s "$MODEL_DIR/epoch1" "$MODEL_DIR/last"'
    spec = await bench.succeed(body)
    assert str((bench.artifact(spec) / "last").readlink()) == "epoch1"


REFUSED: list[tuple[str, bytes]] = [
    ("the name of a file in the artifact has a line break; rename it", b"a\nb"),
    ("the name of a file in the artifact is not UTF-8; rename it", b"a\xff"),
]


@pytest.mark.parametrize(("said", "name"), REFUSED)
def test_a_name_that_no_marker_can_hold_is_refused(
    pod: MakeContainer, tmp_path: Path, said: str, name: bytes
) -> None:
    (tmp_path / "local").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "local") + b"/" + name)).touch()
    with pytest.raises(ArtifactError) as caught:
        list_files(tmp_path / "local")
    assert str(caught.value) == said
    container = pod()
    (container.workdir / "name").write_bytes(name)
    ended = container.sh('touch "$MODEL_DIR/$(cat name)"').termination
    assert (ended.reason, ended.message) == (ReasonCode.ARTIFACT_INCOMPLETE, said)


@pytest.mark.parametrize("name", ["\ufeffweights", "a\rb", " a ", "a\\nb", "\u2028"])
def test_an_odd_name_is_kept(pod: MakeContainer, name: str) -> None:
    container = pod()
    (container.workdir / "name").write_text(name, newline="")
    assert container.sh('echo w >"$MODEL_DIR/$(cat name)"').code == 0
    assert list_files(container.bucket) == [(name, 2)]
    assert read_marker(container.bucket, KEY) is not None


@pytest.mark.parametrize(("target", "said"), [
    ("/etc/passwd", 'the symbolic link "link" leads out of the artifact; copy the file instead'),
    ("$MODEL_DIR/gone", 'the symbolic link "link" in the artifact leads nowhere; remove it'),
    ("../gone", 'the symbolic link "link" in the artifact leads nowhere; remove it'),
])  # fmt: skip
async def test_a_link_that_cannot_be_kept_is_refused(
    bench: Bench, pod: MakeContainer, target: str, said: str
) -> None:
    body = f'ln -s "{target}" "$MODEL_DIR/link"'
    _, run = await bench.carry_out(body)
    ended = pod().sh(body).termination
    assert run.reason is not None
    assert (run.reason.code, reason(run)) == (ended.reason, ended.message)
    assert (ended.reason, ended.message) == (ReasonCode.ARTIFACT_INCOMPLETE, said)
