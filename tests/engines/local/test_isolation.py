"""What an isolated command can see and reach, and that it runs, and ends, as any other does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import RunPhase
from reconciler.engines.local import IsolationRequest, LocalEngine
from reconciler.engines.local.isolation_request import obstacle
from reconciler.types import Resources, SecretKey
from tests.engines.local.bench import Bench, reason, running, script, until
from tests.needs import program, unavailable
from tests.processes import run

REPOSITORY = Path(__file__).parents[3]
NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="what root could undo needs root")

#: Prints what of this machine's processes and files a command can get at, as JSON.
PROBE = """
import json, os, sys
def text(path):
    try:
        with open(path, 'rb') as file:
            return file.read().decode(errors='replace')
    except OSError as error:
        return error.strerror
def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return error.strerror
pids = [int(name) for name in os.listdir('/proc') if name.isdigit()]
def killed(pid):
    try:
        os.kill(pid, 9)
    except OSError as error:
        return error.strerror
    return 'killed'
answers = {
    'pids': pids,
    'environs': [text(f'/proc/{pid}/environ') for pid in pids if pid != os.getpid()],
    'memory': text('/proc/1/maps'),
    'files': {path: text(path) for path in json.loads(os.environ['FILES'])},
    'folders': {path: listed(path) for path in json.loads(os.environ['FOLDERS'])},
    'killed': killed(int(os.environ['VICTIM'])),
    'handles': [os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 64)
                if os.path.lexists(f'/proc/self/fd/{fd}')],
}
json.dump(answers, open(os.environ['MODEL_DIR'] + '/answers', 'w'))
"""
#: Tries to undo the mounts as root; each line that is printed is a way out.
OUT = r"""
set +e
s="$SECRET"
try() { what=$1; shift; ("$@") >/dev/null 2>&1; grep -qs guarded "$s" && echo "$what"; true; }
succeeds() { what=$1; shift; if ("$@") >/dev/null 2>&1; then echo "$what"; fi; }
try umount umount "$s"
try lazily umount -l "$s"
try remount mount -o remount,bind,rw "$s"
try rename mv "$s" "$s.old"
try unlink rm -f "$s"
if unshare -Um true 2>/dev/null; then
  try nested unshare -Urm sh -c "umount '$s'; grep -qs guarded '$s' && umount '$s'"
  succeeds nested-umount unshare -Urm umount "$s"
  succeeds nested-bind unshare -Urm mount --bind "$(dirname "$s")" /mnt
  succeeds nested-move unshare -Urm mount --move "$s" /mnt
fi
succeeds bind mount --bind "$(dirname "$s")" /mnt
succeeds tmpfs mount -t tmpfs none /mnt
succeeds mknod mknod "$SCRATCH_DIR/disk" b 7 0
succeeds enter nsenter -t 1 -m true
succeeds chroot chroot / true
succeeds sysrq test -w /proc/sysrq-trigger
succeeds kernel sh -c 'read n < /proc/sys/vm/swappiness; echo $n > /proc/sys/vm/swappiness'
succeeds group sh -c 'mkdir /sys/fs/cgroup/escaped || mkdir /sys/fs/cgroup/memory/escaped'
succeeds read-only touch here
for disk in /dev/[vsx]d[a-z]* /dev/nvme[0-9]* /dev/loop[0-9]*; do
  if test -b "$disk"; then echo "$disk"; fi
done
exit 0
"""
#: Opens a file behind its cover by its handle, as only CAP_DAC_READ_SEARCH permits.
BY_HANDLE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
data = bytes.fromhex(os.environ['HANDLE']).ljust(136, b'\\0')
handle = (ctypes.c_char * 136).from_buffer_copy(data)
folder = os.open(os.environ['FOLDER'], os.O_RDONLY)
fd = libc.open_by_handle_at(folder, ctypes.byref(handle), os.O_RDONLY)
print(os.read(fd, 99) if fd >= 0 else os.strerror(ctypes.get_errno()))
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    if (cause := obstacle()) is not None:
        unavailable(f"this machine does not allow isolation: {cause}")


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user, outside."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def guarded(bench: Bench) -> Path:
    """A file with a secret of the daemon, beside others."""
    folder = bench.folder / "guarded"
    folder.mkdir()
    file = folder / "token"
    file.write_text("guarded\n")
    return file


@asynccontextmanager
async def isolating(bench: Bench, *secrets: Path, **options: Any) -> AsyncIterator[LocalEngine]:
    """An engine that runs nothing but isolated commands."""
    request = IsolationRequest(mode="required", secrets=secrets, buckets=(bench.bucket,))
    async with bench.engine(isolation=request, **options) as engine:
        yield engine


async def asked(
    bench: Bench, engine: LocalEngine, victim: subprocess.Popen[bytes], **seen: list[str]
) -> dict[str, Any]:
    env = {
        "VICTIM": str(victim.pid),
        "FILES": json.dumps(seen.get("files", [])),
        "FOLDERS": json.dumps(seen.get("folders", [])),
    }
    files = {"run.sh": script("exec python3 probe.py"), "probe.py": PROBE}
    spec = await bench.succeed(files, engine, env=env)
    answers: dict[str, Any] = json.loads((bench.artifact(spec) / "answers").read_text())
    return answers


async def test_a_command_sees_no_process_but_its_own_and_ends_none(
    bench: Bench, victim: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecretaws")
    async with isolating(bench) as engine:
        answers = await asked(bench, engine, victim)
    assert answers["pids"] == [1, 2]
    assert answers["killed"] == os.strerror(3)
    assert running(victim.pid)
    assert answers["memory"] == os.strerror(13)
    assert answers["environs"] == [os.strerror(13)]


async def test_without_isolation_a_command_sees_and_ends_the_processes_of_its_user(
    bench: Bench, victim: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecretaws")
    async with bench.engine(isolation=IsolationRequest(mode="none")) as engine:
        answers = await asked(bench, engine, victim)
    assert os.getpid() in answers["pids"]
    assert answers["killed"] == "killed"
    assert any("topsecretaws" in each for each in answers["environs"])


async def test_the_daemons_secrets_and_state_are_empty_for_a_command(
    bench: Bench, guarded: Path, victim: subprocess.Popen[bytes]
) -> None:
    (bench.secrets / "hf").mkdir(parents=True)
    (bench.secrets / "hf" / "token").write_text("hf_s3cr3tvalue\n")
    link = bench.folder / "link"
    link.symlink_to(guarded)
    root = bench.root
    (root / "git").mkdir(parents=True)
    (root / "git" / "mirror").write_text("another's source\n")
    async with isolating(bench, bench.secrets, link, bench.folder / "none") as engine:
        other, _ = await bench.carry_out("true", engine, text="other")
        answers = await asked(
            bench,
            engine,
            victim,
            files=[str(guarded), str(link), str(bench.secrets / "hf" / "token")],
            folders=[
                str(bench.secrets),
                *(str(root / name) for name in ("git", "runs", "scratch", "locks", "images")),
                str(root / "runs" / other.name),
            ],
        )
        spec = bench.spec("file:///none")  # its name is that of the run that asked
    absent = os.strerror(2)
    assert answers["files"] == {
        str(guarded): "",
        str(link): "",
        str(bench.secrets / "hf" / "token"): absent,
    }
    folders = {Path(path).name: found for path, found in answers["folders"].items()}
    assert folders.pop("secrets") == folders.pop("git") == folders.pop("locks") == []
    assert folders.pop("runs") == [spec.name]
    assert folders.pop(other.name) == absent
    assert [len(folders[name]) for name in ("scratch", "images")] == [1, 1]
    # A command could unlock a lock that it shares, and then another attempt would begin.
    assert [path for path in answers["handles"] if "/locks/" in path] == []


async def test_what_a_command_needs_of_a_covered_folder_is_there(bench: Bench) -> None:
    (bench.secrets / "hf").mkdir(parents=True)
    (bench.secrets / "hf" / "token").write_text("value\n")
    bench.bucket = bench.root / "buckets" / "default"
    async with isolating(bench, bench.folder) as engine:
        await bench.succeed(
            'test "$TOKEN" = value; grep -q lr "$PARAMS_FILE"; echo 1 > "$MODEL_DIR/w"\n'
            'echo 1 > "$TMPDIR/x"; echo 1 > "$HOME/x"; echo "{}" > "$PROGRESS_FILE"',
            engine,
            params={"lr": 1},
            secret_env={"TOKEN": SecretKey("hf", "token")},
        )


@root_only
async def test_root_cannot_undo_what_isolates_it(bench: Bench, guarded: Path) -> None:
    env = {"SECRET": str(guarded)}
    async with isolating(bench, guarded) as engine:
        spec, run = await bench.carry_out(OUT, engine, env=env)
        assert run.phase is RunPhase.SUCCEEDED, bench.log(spec)
        assert bench.log(spec) == ""


@root_only
async def test_root_opens_nothing_behind_a_cover_by_its_handle(bench: Bench, guarded: Path) -> None:
    name_handle = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()\n"
        "handle[0] = 128\n"
        "libc.name_to_handle_at(-100, sys.argv[1].encode(), handle, ctypes.byref(mount), 0)\n"
        "print(handle.raw[: 8 + handle.raw[0]].hex())\n"
    )
    found = run([sys.executable, "-c", name_handle, str(guarded)], cwd=REPOSITORY, check=True)
    env = {"HANDLE": found.stdout.strip(), "FOLDER": str(bench.folder)}
    files = {"run.sh": script("exec python3 open.py"), "open.py": BY_HANDLE}
    printed = {}
    for mode in ("none", "required"):
        request = IsolationRequest(mode=mode, secrets=(guarded,))
        async with bench.engine(isolation=request) as engine:
            spec = await bench.succeed(files, engine, text=f"train-{mode}", env=env)
            printed[mode] = bench.log(spec).strip()
    assert printed == {"none": "b'guarded\\n'", "required": os.strerror(1)}


async def test_a_build_sees_neither_the_daemons_secrets_nor_its_processes(
    bench: Bench, guarded: Path
) -> None:
    told = bench.folder / "told"
    backend = (
        "import os, pathlib\n"
        "def build_wheel(*_):\n"
        "    pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())\n"
        f"    seen = pathlib.Path({str(guarded)!r}).read_text()\n"
        f"    pathlib.Path({str(told)!r}).write_text(f'{{pids[0]}} {{len(pids) < 9}} [{{seen}}]')\n"
        "    raise SystemExit(1)\n"
    )
    project = (
        '[project]\nname = "tiny"\nversion = "1.0"\n[build-system]\nrequires = []\n'
        'build-backend = "backend"\nbackend-path = ["."]\n'
    )
    source = bench.source({"pyproject.toml": project, "backend.py": backend})
    async with isolating(bench, guarded) as engine:
        ended = await bench.complete(engine, bench.build_spec(source))
    assert ended.phase is RunPhase.FAILED
    assert told.read_text() == "1 True []"


async def test_ranks_have_namespaces_of_their_own(bench: Bench) -> None:
    async with isolating(bench) as engine:
        spec = await bench.succeed(
            "python3 -c \"import os; print([n for n in os.listdir('/proc') if n.isdigit()])\"",
            engine,
            resources=Resources(nodes=2),
        )
    lines = [line.partition("] ")[2] for line in bench.log(spec).splitlines()]
    assert lines == ["['1', '2', '3']"] * 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 7", "exit code 7"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("kill -TERM $$", "killed by SIGTERM"),
        ("kill -ABRT $$", "killed by SIGABRT"),
    ],
)
async def test_the_end_of_an_isolated_command_is_told_as_it_was(
    bench: Bench, body: str, said: str
) -> None:
    async with isolating(bench) as engine:
        _, ended = await bench.carry_out(body, engine)
    assert said in reason(ended)


def test_whatever_a_command_did_ends_with_its_supervisor(bench: Bench) -> None:
    escape = (
        "import os, time\n"
        "os.setsid()\n"
        "os.closerange(0, 256)\n"
        f"os.open({str(bench.life)!r}, os.O_RDWR)\n"
        f"open({str(bench.begun)!r}, 'w').close()\n"
        "time.sleep(1000)\n"
    )
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from reconciler.engines.local.isolation import Isolation\n"
        "from reconciler.engines.local.launch import RankCommand, launch\n"
        "argv = ('sh', '-c', 'env -i python3 -c \"$0\" & exec sleep 1000', sys.argv[1])\n"
        "command = RankCommand(argv=argv, cwd=Path('/'), env={'PATH': os.environ['PATH']},\n"
        "    isolation=Isolation())\n"
        "launched = launch(command, ())\n"
        "launched.go()\n"
        "launched.confirm()\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", code, escape]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE) as supervisor:
        asyncio.run(until(bench.begun.exists))
        assert bench.alive()
        supervisor.kill()
    asyncio.run(until(lambda: not bench.alive()))


def test_a_machine_that_does_not_allow_it_is_named_at_the_start(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, which may give up its rights")
    setpriv = program("setpriv", package="util-linux")
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from reconciler.engine import EngineError\n"
        "from reconciler.engines.local import IsolationRequest, LocalEngine\n"
        "async def main(mode):\n"
        "    engine = LocalEngine(Path(sys.argv[1], mode), slots=1, export=print, gpus=0,\n"
        "        isolation=IsolationRequest(mode=mode))\n"
        "    try:\n"
        "        await engine.start(lambda: None)\n"
        "    except EngineError as error:\n"
        "        return print(error)\n"
        "    await engine.stop()\n"
        "for mode in ('required', 'auto'):\n"
        "    asyncio.run(main(mode))\n"
    )
    done = run(
        [setpriv, "--bounding-set=-sys_admin", sys.executable, "-c", code, str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
    )
    assert "local.isolation is required, and this machine does not allow it: the namespace" in (
        done.stdout
    )
    assert "Operation not permitted" in done.stdout
    assert "commands are not isolated" in done.stdout


@root_only
def test_a_user_without_rights_is_isolated_by_a_user_namespace() -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from reconciler.engines.local.isolation import Isolation\n"
        "from reconciler.engines.local.launch import RankCommand, launch\n"
        "from reconciler.engines.local.process import identify, libc\n"
        "identify(os.getpid())\n"  # imports what that user may not be able to read
        "folder = Path(sys.argv[1])\n"
        "(folder / 'token').write_text('guarded')\n"
        "os.setgroups([])\n"
        f"os.setgid({NOBODY})\n"
        f"os.setuid({NOBODY})\n"
        # A change of users makes a process one that cannot be traced, nor its maps written.
        "libc().prctl(4, 1, 0, 0, 0)\n"
        "body = ('id -u; cat token; echo /proc/[0-9]*; umount token 2>&1; '\n"
        "    'cat /proc/1/environ 2>&1')\n"
        "command = RankCommand(argv=('/bin/sh', '-c', body), cwd=folder,\n"
        "    env={'PATH': os.defpath}, isolation=Isolation(covered=(folder / 'token',)))\n"
        "launched = launch(command, ())\n"
        "launched.go()\n"
        "launched.confirm()\n"
        "os.waitpid(launched.identity.pid, 0)\n"
        "print(os.read(launched.output, 9999).decode())\n"
    )
    if _setting("kernel/unprivileged_userns_clone") == "0" or (
        _setting("user/max_user_namespaces") == "0"
    ):
        unavailable("this machine allows no user namespaces")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        done = run([sys.executable, "-c", code, name], cwd=REPOSITORY, check=True)
    number, processes, umount, environ = done.stdout.strip().splitlines()
    assert (number, processes) == (str(NOBODY), "/proc/1 /proc/2")
    assert "umount" in umount
    assert "denied" in environ


def _setting(name: str) -> str:
    path = Path("/proc/sys", name)
    return path.read_text().strip() if path.exists() else ""


def test_a_machine_without_linux_namespaces_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    obstacle.cache_clear()
    try:
        assert IsolationRequest().terms() is None
        with pytest.raises(Exception, match="it needs Linux"):
            IsolationRequest(mode="required").terms()
    finally:
        obstacle.cache_clear()
