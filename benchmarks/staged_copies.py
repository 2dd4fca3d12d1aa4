"""Copies of a staged bucket, out and back, beside ``rclone copy`` of the same files.

The wrapper's own scripts run on a real ``rclone mount`` with the driver's own flags, of a real S3
server. The first attempt leaves files and fails: from the end of its command to that of the
container they are digested, copied to the bucket and listed there. The second attempt gets them
back: from the start of the container to that of its command. The baseline copies the same files to
the same server, and from it, with as many transfers at a time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from reconciler.engines.kubernetes.buckets import rclone
from reconciler.engines.kubernetes.buckets.interface import Bucket, Directory, Writes
from tests.cluster.build import programs
from tests.cluster.ports import free
from tests.e2e.site import until
from tests.engines.kubernetes.container import KEY, Container
from tests.store_servers import BUCKET, StoreServer, s3_server

MIB = 1 << 20
ROUNDS = 5
#: Files of a folder at most.
FOLDER = 1_000
#: 0.9 of the bandwidth of the baseline.
AIM = 1 / 0.9
#: The wrapper's own pauses, which tests shorten.
PAUSES = {"RECONCILER_POLL": "1", "RECONCILER_SETTLE": "5"}


@dataclass(frozen=True, slots=True)
class Shape:
    """So many files of so many bytes."""

    name: str
    title: str
    files: int
    size: int


LARGE = Shape("large", "4 of 256 MiB", 4, 256 * MIB)
SMALL = Shape("small", "2,000 of 10 KB", 2_000, 10_000)
LARGEST = Shape("largest", "4 of 1 GiB", 4, 1024 * MIB)
MOST = Shape("most", "20,000 of 10 KB", 20_000, 10_000)


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of the copies out and back, ours and by hand."""

    out: float
    raw_out: float
    back: float
    raw_back: float


def measure(shapes: Sequence[Shape] = (LARGE, SMALL), rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of both ways, for each shape."""
    for shape in shapes:
        with tempfile.TemporaryDirectory() as name:
            found = _measure(Path(name), shape, rounds)
        yield Figure(
            name=f"copies.{shape.name}.out",
            title=f"staged copy-out, {shape.title}",
            baseline="rclone copy there",
            unit="s",
            rounds=[(each.out, each.raw_out) for each in found],
            aim=round(AIM, 2),
        )
        yield Figure(
            name=f"copies.{shape.name}.back",
            title=f"staged restore, {shape.title}",
            baseline="rclone copy back",
            unit="s",
            rounds=[(each.back, each.raw_back) for each in found],
            aim=round(AIM, 2),
        )


def measure_full(rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield those of the largest shapes, which take 20 GiB of disk and their time."""
    yield from measure((LARGEST, MOST), rounds)


def _measure(folder: Path, shape: Shape, rounds: int) -> list[Round]:
    made = folder / "made"
    for number in range(shape.files):
        file = made / str(number // FOLDER) / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(shape.size))
    with s3_server(folder / "server", cached="5m") as server:
        store = _Store(folder, server)
        return [_round(store, made, number) for number in range(rounds)]


def _round(store: _Store, made: Path, number: int) -> Round:
    ours, theirs, back = f"ours-{number}", f"theirs-{number}", store.folder / f"back-{number}"
    raw_out = store.copy(str(made), f"store:{BUCKET}/{theirs}")
    out = _out(store, made, ours)
    raw_back = store.copy(f"store:{BUCKET}/{theirs}", str(back))
    restored = _back(store, made, ours)
    for name in (ours, theirs):
        shutil.rmtree(store.server.folder / name)
    shutil.rmtree(back)
    return Round(out, raw_out, restored, raw_back)


def _out(store: _Store, made: Path, name: str) -> float:
    """Have an attempt leave files and fail; return the time after its command."""
    with store.container(name) as container:
        ended = container.place / "ended"
        script = f'cp -r {made}/. "$MODEL_DIR"; : >{ended}; exit 1'
        _run(container, script, expected=1)
        return time.time() - ended.stat().st_mtime


def _back(store: _Store, made: Path, name: str) -> float:
    """Start the next attempt; return the time before its command, which finds all files."""
    with store.container(name) as container:
        begun, found = container.place / "begun", container.place / "found"
        start = time.time()
        _run(container, f': >{begun}; cd "$MODEL_DIR"; find . -name "*.bin" >{found}', expected=0)
        if len(found.read_text().split()) != sum(1 for each in made.rglob("*.bin")):
            raise SystemExit("the second attempt has not got all files back")
        return begun.stat().st_mtime - start


def _run(container: Container, script: str, *, expected: int) -> None:
    with container.shell(script) as running:
        code = running.process.wait()
    if code != expected:
        raise SystemExit(f"the container ended with {code}: {running.output.read_text()[-2000:]}")


@dataclass(frozen=True)
class _Store:
    """The S3 server, and rclone as its client."""

    folder: Path
    server: StoreServer

    def copy(self, source: str, destination: str) -> float:
        start = time.perf_counter()
        subprocess.run([*self._rclone("copy"), "--transfers=8", source, destination], check=True)
        return time.perf_counter() - start

    @contextmanager
    def container(self, name: str) -> Iterator[Container]:
        """A new pod's container, whose artifact is a folder of the mounted bucket."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        control = f"127.0.0.1:{free(1)[0]}"
        bucket = place / "bucket"
        bucket.mkdir()
        command = [*self._rclone("mount"), f"store:{BUCKET}/{name}", str(bucket)]
        with (place / "log").open("w") as log:
            command += _flags(place / "cache", control)
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or bucket.is_mount(), what="the mount")
            steer: dict[str, object] = {"rclone": control}
            yield Container(place / "pod", bucket / KEY, place / "pod" / "saved", PAUSES, steer)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(place)

    def _rclone(self, command: str) -> list[str]:
        config = self.folder / "rclone.conf"
        theirs = self.server.environment
        config.write_text(
            f"[store]\ntype = s3\nprovider = Rclone\nendpoint = {theirs['AWS_ENDPOINT_URL']}\n"
            f"access_key_id = {theirs['AWS_ACCESS_KEY_ID']}\nforce_path_style = true\n"
            f"secret_access_key = {theirs['AWS_SECRET_ACCESS_KEY']}\n"
        )
        return [str(programs("node")["rclone"]), f"--config={config}", command]


def _flags(cache: Path, control: str) -> list[str]:
    """Return the flags that the driver gives a sidecar, but for its one address."""
    bucket = Bucket(url=f"s3://{BUCKET}", driver="rclone", writes=Writes.STAGED, remote="store")
    mounted = rclone.mount(
        Directory(
            name="artifact",
            bucket=bucket,
            path="folder",
            read_only=False,
            namespace="default",
            instance="default",
            rclone_image="rclone",
        )
    )
    (sidecar,) = mounted.fragment.init_containers
    arguments = sidecar["args"]
    assert isinstance(arguments, list)
    flags = [flag for flag in map(str, arguments) if flag.startswith("--")]
    flags = [flag for flag in flags if not flag.startswith("--rc-addr=")]  # it would serve both
    return [*flags, f"--cache-dir={cache}", f"--rc-addr={control}"]
