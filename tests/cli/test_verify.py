"""``verify``: an artifact's files against what was recorded of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from obstore.store import LocalStore

from reconciler import stores
from reconciler.engines.local.marker import make_durable, write_marker
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example
from tests.e2e.saved_site import SavedSite
from tests.e2e.site import Site
from tests.signing_keys import KeyFiles, make_keys, sign_with_tool

SAVE = 'cd "$MODEL_DIR"; mkdir "deep dir"; echo weights >weights; echo x >"deep dir/ü"'
CONFIG = ("--config", "reconciler.yaml")
BASE = ObjectRef(Kind.MODEL, "default", "digits-base")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def config_of(example: Example, **sections: Any) -> str:
    file = example.root.parent / "reconciler.yaml"
    file.write_text(json.dumps({"repository": {"url": str(example.root)}, **sections}))
    return str(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SavedSite:
    """A model ``a`` with an artifact of two files."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.trained("a", SAVE)
    assert site.sync().returncode == 0
    return SavedSite.of(site)


@pytest.fixture
def site(trained: SavedSite, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Site:
    """That model; ``cli`` comes first as it changes folders."""
    site = trained.restored()
    monkeypatch.chdir(site.root)
    return site


def flip(file: Path) -> None:
    """Change a bit of a file, as a disk may."""
    file.parent.chmod(0o755)
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


def grow(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"more")


def remove(file: Path) -> None:
    file.parent.chmod(0o755)
    file.unlink()


def add(file: Path) -> None:
    file.parent.chmod(0o755)
    file.with_name("new").write_text("x")


def test_an_artifact_that_is_as_it_was_made_is_valid(site: Site, cli: Cli) -> None:
    said = cli("verify", "a", *CONFIG, code=0)
    assert said.out.endswith(": 2 files, 10 B, all as they were made\n")
    key = site.statuses()["a"]["artifact"]["key"]
    for words in (("a", key[:6]), (key[:12],), ("a", key)):
        assert cli("verify", *words, *CONFIG, code=0).out == said.out


@pytest.mark.parametrize(
    ("damage", "path", "fault"),
    [
        (flip, "weights", "content"),
        (grow, "weights", "size"),
        (remove, "weights", "missing"),
        (add, "new", "unlisted"),
        (lambda file: flip(file.parent / "deep dir" / "ü"), "deep dir/ü", "content"),
        (lambda file: remove(file.parent / "completed.json"), "completed.json", "missing"),
    ],
)
def test_a_file_that_is_not_as_it_was_made_is_named(
    site: Site, cli: Cli, damage: Callable[[Path], None], path: str, fault: str
) -> None:
    damage(site.artifact("a") / "weights")
    told = json.loads(cli("verify", "a", "--format", "json", *CONFIG, code=1).out)
    assert told["valid"] is False
    assert [(each["path"], each["fault"]) for each in told["faults"]] == [(path, fault)]
    assert cli("verify", "a", *CONFIG, code=1).out.startswith(f"{path}: ")


def test_the_key_that_signed_is_named(site: Site, cli: Cli) -> None:
    keys, other = make_keys(site.root), make_keys(site.root, "other")
    url = (site.root / "state/buckets/default").as_uri()
    demanded = {"default": {"url": url, "verify": "signature"}}
    site.configure(signing={"keyFile": keys.private.name})
    assert cli("verify", "a", *CONFIG, code=0).out.endswith("all as they were made\n")
    site.configure(signing={"keyFile": keys.private.name}, buckets=demanded)
    assert cli("verify", "a", *CONFIG, code=1).out.startswith("model.sig: is not there: ")

    sign(site.artifact("a"), keys)
    assert cli("verify", "a", *CONFIG, code=0).out.endswith(f"; signed by {keys.private}\n")
    told = json.loads(cli("verify", "a", "--format", "json", *CONFIG, code=0).out)
    assert told["signer"] == str(keys.private)
    site.configure(signing={"publicKeyFiles": [other.public.name]})
    said = cli("verify", "a", *CONFIG, code=1).out
    assert said.startswith("model.sig: it is by a key that is not trusted")
    site.configure()
    assert "signed by" not in cli("verify", "a", *CONFIG, code=0).out


def sign(folder: Path, keys: KeyFiles) -> None:
    """Sign a finished artifact, as its owner may by hand."""
    folder.chmod(0o755)
    sign_with_tool(folder, keys)


def test_an_earlier_artifact_is_verified_by_its_key(site: Site, cli: Cli) -> None:
    old = site.artifact("a")
    site.trained("a", SAVE, params={"epochs": 2})
    assert site.sync().returncode == 0
    flip(old / "weights")
    assert cli("verify", "a", *CONFIG, code=0).out.startswith("Model default/a, artifact ")
    assert cli("verify", "a", old.name[:8], *CONFIG, code=1).out.startswith("weights: ")
    assert "no artifact of Model default/a has a key" in cli("verify", "a", "0" * 40, code=1).err


def test_of_a_file_without_digest_the_size_is_compared(site: Site, cli: Cli) -> None:
    marker = site.artifact("a") / "completed.json"
    content = json.loads(marker.read_text())
    for file in content["files"]:
        del file["sha256"]
    marker.parent.chmod(0o755)
    marker.chmod(0o644)
    marker.write_text(json.dumps(content))
    flip(marker.parent / "weights")
    out = cli("verify", "a", *CONFIG, code=0).out
    assert out.endswith("all as they were made; of all only the sizes are known\n")


def test_an_artifact_in_a_store_is_read_there(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example, folder = in_bucket(tmp_path, "s3://bucket")
    disk = LocalStore(tmp_path / "bucket", mkdir=True)

    def open_store(url: str) -> tuple[LocalStore, str]:
        return disk, unquote(urlsplit(url).path).strip("/")

    monkeypatch.setattr(stores, "_open", open_store)
    said = cli("verify", "digits-base", "--config", config_of(example), code=1)
    assert said.out.startswith("completed.json: is not there\n")
    for path in ("weights", "deep dir/ü", "deep dir/empty"):
        write(folder / path, path if path != "deep dir/empty" else "")
    write(folder / "logs/attempt-1.log", "output")
    now = datetime.now(UTC)
    write_marker(
        folder, key=folder.name, lineage={}, metrics={}, started=now, finished=now,
        gpu_seconds=0, attempt=1, digests=make_durable(folder),
    )  # fmt: skip
    write(folder / "a folder, as a FUSE file system makes it", "")
    assert cli("verify", "digits-base", "--config", config_of(example), code=0).out.endswith(
        ": 3 files, 18 B, all as they were made\n"
    )
    keys = make_keys(tmp_path)
    sign_with_tool(folder, keys, ignored=(folder / "a folder, as a FUSE file system makes it",))
    config = config_of(example, signing={"publicKeyFiles": [str(keys.public)]})
    said = cli("verify", "digits-base", "--config", config, code=0)
    assert said.out.endswith(f"; signed by {keys.public}\n")
    demanding = {"default": {"url": "s3://bucket", "verify": "signature"}}
    signing = {"publicKeyFiles": [str(make_keys(tmp_path, "other").public)]}
    config = config_of(example, signing=signing, buckets=demanding)
    said = cli("verify", "digits-base", "--config", config, code=1)
    assert said.out.startswith("model.sig: it is by a key that is not trusted")
    (folder / "model.sig").unlink()
    said = cli("verify", "digits-base", "--config", config, code=1)
    assert said.out.startswith("model.sig: is not there")
    flip(folder / "weights")
    add(folder / "weights")
    remove(folder / "deep dir" / "ü")
    said = cli("verify", "digits-base", "--format", "json", "--config", config_of(example), code=1)
    assert sorted((each["path"], each["fault"]) for each in json.loads(said.out)["faults"]) == [
        ("deep dir/ü", "missing"),
        ("new", "unlisted"),
        ("weights", "content"),
    ]


@pytest.mark.parametrize(
    ("bucket", "told"),
    [
        ("pvc://claim/models", "`verify: digests` for its bucket"),
        ("file:///not/here", "on the disk of the machine that made it"),
    ],
)
def test_what_cannot_be_read_from_here_says_what_to_do(
    cli: Cli, tmp_path: Path, bucket: str, told: str
) -> None:
    example, _ = in_bucket(tmp_path, bucket)
    assert told in cli("verify", "digits-base", "--config", config_of(example), code=1).err


def in_bucket(tmp_path: Path, bucket: str) -> tuple[Example, Path]:
    """An example whose artifacts are in a bucket, and a folder for the one of its base."""
    example = Example(tmp_path / "clone", bucket=bucket)
    example.sync()
    artifact = example.records[BASE].artifact
    assert artifact is not None
    return example, tmp_path / "bucket" / urlsplit(artifact.url).path.strip("/")


def test_an_external_artifact_has_nothing_to_compare_with(
    site: Site, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    url = (tmp_path / "data").as_uri()
    site.write(
        "d.yaml",
        f"kind: Dataset\nmetadata: {{name: d}}\nspec: {{source: {{bucket: {{url: '{url}'}}}}}}\n",
    )
    site.configure(allow={"buckets": [f"{url}*"]})
    assert site.sync().returncode == 0
    key = site.statuses()["d"]["artifact"]["key"]
    for words in (("d",), ("d", key)):
        assert "is external" in cli("verify", *words, *CONFIG, code=1).err
