"""Builds: the tree as it was committed, and its virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from reconciler.engine import FailureClass, ResultWarning, RunPhase
from reconciler.engines.local import installation
from reconciler.engines.local.fsync import remove_tree
from reconciler.engines.local.layout import path_of
from reconciler.types import BuildContext
from tests.engines.local.bench import Bench, reason, script, until
from tests.wheels import only_tiny

#: A project with a build backend of its own.
BACKED = (
    '[project]\nname = "tiny"\nversion = "1.0"\n[build-system]\nrequires = []\n'
    'build-backend = "backend"\nbackend-path = ["."]\n'
)
USE = {"run.sh": script('python -c "import tiny; print(tiny.WORD)"')}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of one small package, which is all that installers can reach."""
    folder = tmp_path / "wheels"
    only_tiny(folder, monkeypatch)
    return folder


async def test_an_image_is_the_source_read_only(bench: Bench) -> None:
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": script("true"), "lib/a.txt": "a\n"})
        [folder] = (bench.root / "images").iterdir()
        assert image == folder.as_uri()
        tree = folder / "tree"
        assert {p.relative_to(tree).as_posix() for p in tree.rglob("*")} == {
            "run.sh",
            "lib",
            "lib/a.txt",
        }
        assert [p for p in (tree, *tree.rglob("*")) if p.stat().st_mode & 0o222] == []
        record = json.loads((folder / "image.json").read_text())
    assert (record["env"], record["commit"]) == (None, "c" * 40)


async def test_a_source_is_on_the_disk_before_the_run_has_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    # The supervisor, a process of its own, would make a file that was cut short durable as it is.
    monkeypatch.setattr(os, "fsync", noted)
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": "#!/bin/sh\n", "data/a.txt": "a"})
    tree = path_of(image)
    assert tree is not None
    files = {path: path.stat().st_ino for path in (tree / "tree").rglob("*")}
    assert len(files) == 3
    assert [path for path, inode in files.items() if inode not in synced] == []


async def test_an_image_that_is_there_is_not_fetched_or_built_again(bench: Bench) -> None:
    source = bench.source({"run.sh": script("true")})
    spec = bench.build_spec(source)
    async with bench.engine() as engine:
        first = await bench.complete(engine, spec)
        await engine.delete(spec.name)
        remove_tree(source)
        again = bench.build_spec(source, name="r-build-again")
        run = await bench.complete(engine, again)
    assert (run.phase, run.result) == (RunPhase.SUCCEEDED, first.result)


async def test_an_environment_is_made_once_and_shared(bench: Bench, wheels: Path) -> None:
    files = USE | {"requirements.txt": "tiny==1.0  # pinned\n"}
    async with bench.engine() as engine:
        specs = [bench.build_spec(bench.source(files | {"n": str(n)})) for n in range(2)]
        for spec in specs:
            await engine.create(spec)
        runs = [await bench.ended(engine, spec.name) for spec in specs]
        assert [run.phase for run in runs] == [RunPhase.SUCCEEDED] * 2, runs
        assert sorted(run.attempts for run in runs) == [0, 1]
        assert len(list((bench.root / "envs").glob("*.json"))) == 1
        for run in runs:
            assert run.result is not None
            spec = bench.spec(run.result.image or "", f"uses-{run.key[:6]}")
            used = await bench.complete(engine, spec)
            assert used.phase is RunPhase.SUCCEEDED, used.reason
            assert bench.log(spec) == "hello from tiny\n"


async def test_a_projects_dependencies_are_installed(bench: Bench, wheels: Path) -> None:
    project = '[project]\nname = "x"\nversion = "1"\ndependencies = ["tiny"]\n'
    await bench.succeed(USE | {"pyproject.toml": project})


async def test_a_project_that_can_be_built_is_installed_and_its_tree_stays_clean(
    bench: Bench, wheels: Path
) -> None:
    backend = (
        "import pathlib, shutil\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    pathlib.Path('litter').touch()\n"
        f"    wheel = pathlib.Path({str(wheels)!r}) / 'tiny-1.0-py3-none-any.whl'\n"
        "    return pathlib.Path(shutil.copy(wheel, folder)).name\n"
    )
    async with bench.engine() as engine:
        await bench.succeed(USE | {"pyproject.toml": BACKED, "backend.py": backend}, engine)
        assert list((bench.root / "images").glob("*/tree/litter")) == []


_MINE = """\
[project]
name = "mine"
version = "1.0"
dependencies = ["tiny"]
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
_MINE_BACKEND = """\
import pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = 'mine-1.0-py3-none-any.whl', 'mine-1.0.dist-info'
    with zipfile.ZipFile(pathlib.Path(folder) / name, 'w') as wheel:
        wheel.write('src/mine.py', 'mine.py')
        wheel.writestr(f'{info}/METADATA',
            'Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\nRequires-Dist: tiny\\n')
        wheel.writestr(f'{info}/WHEEL',
            'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr(f'{info}/RECORD', '')
    return name
"""


def project(word: str) -> dict[str, str]:
    """A source that is itself installed; its code differs by this word alone."""
    return {
        "pyproject.toml": _MINE,
        "backend.py": _MINE_BACKEND,
        "src/mine.py": f"WORD = {word!r}\n",
        "run.sh": script(
            'cd /; python -c "import mine, tiny; print(mine.WORD, tiny.WORD)"; tiny-run'
        ),
    }


async def test_projects_that_differ_in_code_alone_share_their_dependencies(
    bench: Bench, wheels: Path
) -> None:
    async with bench.engine() as engine:
        images = [await bench.image(engine, project(word)) for word in ("one", "two")]
        assert len(list((bench.root / "envs").glob("*.json"))) == 1
        [env] = [path for path in (bench.root / "envs").iterdir() if path.is_dir()]
        assert list(env.rglob("mine*")) == []
        for image, word in zip(images, ("one", "two"), strict=True):
            spec = bench.spec(image, f"uses-{word}")
            await engine.create(spec)
            used = await bench.ended(engine, spec.name)
            assert used.phase is RunPhase.SUCCEEDED, used.reason
            # A command of a dependency finds the code of its own commit too.
            assert bench.log(spec) == f"{word} hello from tiny\n{word}\n"
            own = path_of(image)
            assert own is not None
            assert list(own.joinpath("env").rglob("tiny.py")) == []


#: Writes the lines of depends.txt into the wheel's metadata.
_DYNAMIC = _MINE.replace('dependencies = ["tiny"]', 'dynamic = ["dependencies"]')
_DYNAMIC_BACKEND = _MINE_BACKEND.replace(
    "Requires-Dist: tiny\\n'", "' + pathlib.Path('depends.txt').read_text()"
)


def dynamic_project(word: str, depends: str) -> dict[str, str]:
    """A source whose dependencies its build backend alone knows."""
    return project(word) | {
        "pyproject.toml": _DYNAMIC,
        "backend.py": _DYNAMIC_BACKEND,
        "depends.txt": depends,
    }


async def test_projects_with_equal_dynamic_dependencies_share_them(
    bench: Bench, wheels: Path
) -> None:
    same = "Requires-Dist: tiny\nRequires-Dist: huge==9; extra == 'dev'\n"
    other = "Requires-Dist: tiny>=1\n"
    sources = {"one": same, "two": same, "three": other}
    async with bench.engine() as engine:
        images = {
            word: await bench.image(engine, dynamic_project(word, depends))
            for word, depends in sources.items()
        }
        assert len(list((bench.root / "envs").glob("*.json"))) == 2
        for word, image in images.items():
            used = await bench.complete(engine, bench.spec(image, f"uses-{word}"))
            assert used.phase is RunPhase.SUCCEEDED, used.reason
            assert bench.log(bench.spec(image, f"uses-{word}")) == (
                f"{word} hello from tiny\n{word}\n"
            )


async def test_a_dynamic_dependency_on_a_folder_of_the_tree_is_the_trees_own(
    bench: Bench, wheels: Path
) -> None:
    backend = _DYNAMIC_BACKEND.replace(
        "pathlib.Path('depends.txt').read_text()",
        "f'Requires-Dist: tiny @ {pathlib.Path.cwd().as_uri()}/libs/tiny-1.0-py3-none-any.whl\\n'",
    )
    wheel = (wheels / "tiny-1.0-py3-none-any.whl").read_bytes()
    async with bench.engine() as engine:
        for word in ("one", "two"):
            source = bench.source(dynamic_project(word, "") | {"backend.py": backend})
            (source / "libs").mkdir()
            (source / "libs/tiny-1.0-py3-none-any.whl").write_bytes(wheel)
            built = await bench.complete(engine, bench.build_spec(source))
            assert built.result is not None, built.reason
            used = bench.spec(built.result.image or "", f"uses-{word}")
            assert (await bench.complete(engine, used)).phase is RunPhase.SUCCEEDED
        assert len(list((bench.root / "envs").glob("*.json"))) == 2


@pytest.mark.parametrize("installed", [True, False])
async def test_sources_of_uv_are_shared_and_taken_from_where_they_say(
    bench: Bench, wheels: Path, *, installed: bool
) -> None:
    table = _MINE if installed else _MINE.partition("[build-system]")[0]
    serve = partial(SimpleHTTPRequestHandler, directory=str(wheels))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/tiny-1.0-py3-none-any.whl"
        text = f'{table}[tool.uv.sources]\ntiny = {{url = "{url}"}}\n'
        async with bench.engine() as engine:
            for word in ("one", "two"):
                await bench.image(engine, project(word) | {"pyproject.toml": text})
        server.shutdown()
    [env] = [path for path in (bench.root / "envs").iterdir() if path.is_dir()]
    [origin] = env.rglob("direct_url.json")
    assert json.loads(origin.read_text())["url"] == url


async def test_without_its_dependencies_a_project_is_built_again(
    bench: Bench, wheels: Path
) -> None:
    async with bench.engine() as engine:
        spec = bench.build_spec(bench.source(project("one")))
        await engine.create(spec)
        await bench.ended(engine, spec.name)
        await engine.delete(spec.name)
        for path in (bench.root / "envs").iterdir():
            remove_tree(path)
        again = bench.build_spec(bench.source(project("one")), key=spec.key, name="r-build-again")
        await engine.create(again)
        run = await bench.ended(engine, again.name)
        assert run.phase is RunPhase.SUCCEEDED, run.reason
        assert run.result is not None
        used = bench.spec(run.result.image or "", "uses")
        await engine.create(used)
        assert (await bench.ended(engine, used.name)).phase is RunPhase.SUCCEEDED


async def test_a_project_that_cannot_be_installed_leaves_its_dependencies_to_the_next(
    bench: Bench, wheels: Path
) -> None:
    broken = project("one") | {"backend.py": "raise SystemExit('no backend')\n"}
    async with bench.engine() as engine:
        spec = bench.build_spec(bench.source(broken), retries=1)
        await engine.create(spec)
        run = await bench.ended(engine, spec.name)
        assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.COMMAND)
        assert run.attempts == 2
        [record] = (bench.root / "envs").glob("*.json")
        made = record.stat().st_mtime_ns
        await bench.image(engine, project("two"))
        assert [path.stat().st_mtime_ns for path in (bench.root / "envs").glob("*.json")] == [made]


async def test_an_editable_install_finds_the_image_where_it_stays(
    bench: Bench, wheels: Path
) -> None:
    backend = (
        "import pathlib, zipfile\n"
        "def build_editable(folder, config_settings=None, metadata_directory=None):\n"
        "    name, info = 'tiny-1.0-py3-none-any.whl', 'tiny-1.0.dist-info'\n"
        "    with zipfile.ZipFile(pathlib.Path(folder) / name, 'w') as wheel:\n"
        "        wheel.writestr('tiny.pth', str(pathlib.Path.cwd()))\n"
        "        wheel.writestr(f'{info}/METADATA',"
        " 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')\n"
        "        wheel.writestr(f'{info}/WHEEL',"
        " 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(f'{info}/RECORD', '')\n"
        "    return name\n"
    )
    files = {
        "run.sh": script('cd / && python -c "import tiny; print(tiny.WORD)"'),
        "requirements.txt": "-e ./package\n",
        "package/pyproject.toml": BACKED,
        "package/backend.py": backend,
        "package/tiny.py": "WORD = 'editable'\n",
    }
    async with bench.engine() as engine:
        spec = await bench.succeed(files, engine)
        assert bench.log(spec) == "editable\n"


async def test_requirements_that_cannot_be_had_fail_the_build_with_the_installers_words(
    bench: Bench, wheels: Path
) -> None:
    async with bench.engine() as engine:
        spec = bench.build_spec(bench.source({"requirements.txt": "huge==9\n"}), retries=1)
        run = await bench.complete(engine, spec)
        assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.COMMAND)
        assert "huge" in reason(run)
        assert run.attempts == 2
        assert run.log
        assert run.log.endswith("/logs/attempt-2.log")
    assert list((bench.root / "envs").glob("*.json")) == []


@pytest.mark.parametrize(
    ("name", "content"), [("pyproject.toml", b"[project"), ("requirements.txt", b"\xff\xfe")]
)
async def test_requirements_that_cannot_be_read_are_the_users_to_mend(
    bench: Bench, name: str, content: bytes
) -> None:
    source = bench.source({})
    (source / name).write_bytes(content)
    async with bench.engine() as engine:
        spec = bench.build_spec(source)
        run = await bench.complete(engine, spec)
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.COMMAND)
    assert name in reason(run)


async def test_a_source_that_cannot_be_fetched_is_not_the_commands_fault(bench: Bench) -> None:
    def broken(context: BuildContext, folder: Path) -> None:
        raise RuntimeError(f"{context.url} cannot be reached")

    async with bench.engine(export=broken) as engine:
        spec = bench.build_spec(bench.folder / "gone")
        run = await bench.complete(engine, spec)
        assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
        assert "gone cannot be reached" in reason(run)
        await engine.delete(spec.name)
    async with bench.engine() as engine:
        assert spec.name not in engine.runs() or engine.runs()[spec.name].deleting


@pytest.mark.slow("makes three environments by pip, as it is without uv")
def test_without_uv_pip_installs_the_same(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_uv", lambda: None)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("tiny\n")
    env = tmp_path / "env"
    for argv in installation.steps(env, "-r", str(requirements)):
        subprocess.run(argv, check=True, capture_output=True)
    code = [str(env / "bin" / "python"), "-c", "import tiny"]
    assert subprocess.run(code, check=False, env=dict(os.environ)).returncode == 0

    source = tmp_path / "source"
    for name, text in project("one").items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    own = tmp_path / "own"
    scratch = tmp_path / "scratch"
    for argv in installation.wheel_steps(source, scratch):
        subprocess.run(argv, check=True, capture_output=True)
    [wheel] = (scratch / "wheels").iterdir()
    for argv in installation.steps(own, "--no-deps", str(wheel)):
        subprocess.run(argv, check=True, capture_output=True)
    installation.put_on_top(own, env)
    done = subprocess.run([own / "bin" / "tiny-run"], capture_output=True, text=True, check=False)
    assert done.stdout == "one\n", done.stderr


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4' * 64}\nsize 12345\n"


async def test_a_source_with_git_lfs_pointers_is_told(bench: Bench) -> None:
    files = {f"weights/{n}.bin": POINTER for n in range(5)} | {"README": f"see {POINTER}"}
    told = (
        "the source has Git LFS pointers in place of files: "
        "weights/0.bin, weights/1.bin, weights/2.bin, and 2 more"
    )
    async with bench.engine() as engine:
        spec = bench.build_spec(bench.source(files))
        for _ in range(2):  # made, and found again
            await engine.create(spec)
            run = await bench.ended(engine, spec.name)
            assert run.result is not None
            assert run.result.warnings == (ResultWarning("GitLfsPointers", told),)
            await engine.delete(spec.name)
            await until(lambda: spec.name not in engine.runs())
        plain = bench.build_spec(bench.source({"README": f"see {POINTER}"}))
        await engine.create(plain)
        run = await bench.ended(engine, plain.name)
    assert run.result is not None
    assert run.result.warnings == ()
