"""Builds the tests' programs once, into the user's cache; afterwards finding them takes no time.

A program lies under a key over everything that went into it (go.mod, go.sum, flags, version and
architecture of the compiler), so two checkouts share it and no stale one is ever used. It appears
by a rename: what is there is whole. One process builds at a time, the others wait and find it done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import crates
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.recipes import Level, Module, Program, modules
from tests.kept import user_cache
from tests.processes import run

_SOURCES = Path(__file__).parent
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
#: A terminal, or a CI that ends a silent job, hears from a long build this often (seconds).
_HEARTBEAT = 30.0
#: Programs of an older key go when they have not been used for this long (seconds).
_FORGET = 30 * 24 * 3600.0

Say = Callable[[str], None]


def say(line: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"cluster: {line}\n")
    sys.stderr.flush()


def cache() -> Path:
    """Where programs are kept, and nothing else."""
    return (user_cache() / "model-reconciler" / "cluster").absolute()


def programs(level: Level, say: Say = say) -> Mapping[str, Path]:
    """Every program of the level by its name, built where it is not there yet.

    Those found in ``KUBEBUILDER_ASSETS`` are taken from there. Raises `ClusterUnavailable` where
    something has to be built and there is no Go, `ClusterFailed` where a build fails.
    """
    found = _assets()
    places = _places(level)
    lacking = [module for module, folder in places if _missing(module, folder, found)]
    with _one_builder(lacking, say):
        for module, folder in places:
            missing = _missing(module, folder, found)
            for number, program in enumerate(missing, 1):
                say(
                    f"building {program.name} ({number} of {len(missing)} from {module.folder}; "
                    f"these take about {module.minutes:g} min the first time)"
                )
                _build(module, program, folder, say)
            if missing:
                _forget_older(folder)
    for module, folder in places:
        found = {program.name: folder / program.name for program in module.programs} | found
    return found


def built(level: Level) -> Mapping[str, Path]:
    """Those programs of the level that are there already, by their names."""
    return _assets() | {
        program.name: folder / program.name
        for module, folder in _places(level)
        for program in module.programs
        if (folder / program.name).exists()
    }


def _assets() -> dict[str, Path]:
    """The programs that the user has: envtest's folder, where there is one."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return {}
    return {p.name: p for p in Path(folder).iterdir() if p.is_file() and os.access(p, os.X_OK)}


def _places(level: Level) -> list[tuple[Module, Path]]:
    chosen = modules(level)
    versions = {crate: _compiler(crate=crate) for crate in {m.crate for m in chosen}}
    return [(module, _place(module, versions[module.crate])) for module in chosen]


def _compiler(*, crate: bool) -> str:
    """Its version, empty where it is missing."""
    if crate:
        return crates.version()
    go = shutil.which("go")
    return run([go, "env", "GOVERSION", "GOOS", "GOARCH"], check=True).stdout if go else ""


def _source(module: Module) -> Path:
    return _SOURCES / ("rust" if module.crate else "go") / module.folder


def _place(module: Module, version: str) -> Path:
    if not version:
        # Only a user whose own folder has everything gets by without the compiler.
        return Path("no-compiler")
    key = hashlib.sha256()
    for part in sorted(_source(module).glob("*")):
        key.update(part.read_bytes())
    key.update(repr((version, _FLAGS, module.programs)).encode())
    if module.data:
        key.update(repr((module.cgo, module.source, module.data)).encode())
    return cache() / f"{module.folder}-{key.hexdigest()[:20]}"


def _missing(module: Module, folder: Path, found: Mapping[str, Path]) -> list[Program]:
    return [p for p in module.programs if p.name not in found and not (folder / p.name).exists()]


@contextmanager
def _one_builder(lacking: Sequence[Module], say: Say) -> Iterator[None]:
    if not lacking:
        yield
        return
    if any(not module.crate for module in lacking) and shutil.which("go") is None:
        raise ClusterUnavailable(
            "it is built with Go, which is not on PATH; see https://go.dev/doc/install"
        )
    if any(module.cgo for module in lacking) and not any(map(shutil.which, ("cc", "gcc"))):
        raise ClusterUnavailable(
            "it is built with a C compiler, which is not on PATH: apt-get install gcc libc6-dev"
        )
    if any(module.crate for module in lacking):
        crates.check()
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(module: Module, program: Program, folder: Path, say: Say) -> None:
    target = folder / program.name
    if target.exists():  # by whom we waited for
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{program.name}.{os.getpid()}.part")
    log = target.with_name(f".{program.name}.{os.getpid()}.log")
    began = time.monotonic()
    with _command(module, program, part) as (command, where):
        with log.open("w") as output:
            builder = subprocess.Popen(
                command,
                cwd=where,
                env=os.environ | _environment(module),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                while True:
                    try:
                        code = builder.wait(_HEARTBEAT)
                        break
                    except subprocess.TimeoutExpired:
                        say(f"still building {program.name}, {time.monotonic() - began:.0f} s")
            except BaseException:
                builder.kill()
                builder.wait()
                raise
        if code != 0:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise ClusterFailed(f"{' '.join(command)} in {module.folder}: exit {code}\n{tail}")
        if module.crate:
            crates.take(where, program.name, part)
    log.unlink()
    _lay_data(module, folder)
    part.rename(target)
    say(f"built {program.name}, {time.monotonic() - began:.0f} s")


@contextmanager
def _command(module: Module, program: Program, part: Path) -> Iterator[tuple[list[str], Path]]:
    """The build of ``part`` and the folder where it is run."""
    if not module.crate:
        ldflags = f"-s -w {program.ldflags}"
        # fmt: off
        yield [
            "go", "build", *_FLAGS, "-tags", program.tags, "-ldflags", ldflags,
            "-o", str(part), program.package,
        ], _source(module)
        # fmt: on
        return
    where = part.with_suffix(".crate")
    try:
        crates.lay_out(_source(module), where)
        yield crates.command(where), where
    finally:
        shutil.rmtree(where, ignore_errors=True)  # more than 1 GB


def _environment(module: Module) -> dict[str, str]:
    return {"CGO_ENABLED": "1" if module.cgo else "0", "GOFLAGS": "", "GOWORK": "off"}


def _lay_data(module: Module, folder: Path) -> None:
    """Copy what the programs read at run time; Go's own cache may be emptied."""
    if not module.data:
        return
    source = run(
        ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module.source],
        check=True,
        cwd=_source(module),
        env=os.environ | _environment(module),
    ).stdout.strip()
    for name in module.data:
        for file in Path(source, name).rglob("*"):
            if file.is_file():
                target = folder / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _forget_older(folder: Path) -> None:
    module = folder.name.rpartition("-")[0]
    for other in cache().glob(f"{module}-*"):
        newest = max((p.stat().st_atime for p in other.iterdir()), default=0.0)
        if other != folder and newest < time.time() - _FORGET:
            shutil.rmtree(other, ignore_errors=True)
