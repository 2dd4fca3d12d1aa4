"""The wrapper on a bucket that is no file system: local disk, copied out and restored."""

from __future__ import annotations

import random
import signal
import time
from hashlib import sha256
from importlib import resources
from pathlib import Path

import pytest

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT, TERMINATED_EXIT
from reconciler.engines.local.marker import list_files, read_marker
from tests import processes
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, KEY, Container, log

#: Copies follow one another at once.
OFTEN = {"RECONCILER_SYNC": "0.01"}
WAIT = "; while :; do usleep 9999; done"


def lists(container: Container) -> list[Path]:
    return sorted(container.bucket.glob(".reconciler-list-*"))


def copy_now(container: Container) -> None:
    """Have one copy made, once nothing has changed in the last seconds, and wait for its list."""
    assert container.stage
    paths = [container.stage, *container.stage.rglob("*")]
    while time.time() < max(p.stat().st_ctime for p in paths if "logs" not in p.parts) + 2:
        assert container.home.exists()
    before = lists(container)
    (container.home / "work/order").write_text("now\n")
    while lists(container) in (before, []):
        assert container.home.exists()


def until_listed(container: Container) -> None:
    """Wait until a copy has ended in a new list."""
    before = lists(container)
    while lists(container) in (before, []):
        assert container.home.exists()


def test_a_link_to_a_folder_is_not_kept_and_the_log_says_so(pod: MakeContainer) -> None:
    container = pod(staged=True)
    ended = container.sh('cd "$MODEL_DIR"; mkdir "a b"; echo 1 >"a b/w"; ln -s "a b" latest')
    assert ended.code == 0, ended
    assert b'the symbolic link "latest" leads to a folder' in log(container, 1)
    assert sorted(p.name for p in container.bucket.iterdir()) == ["a b", "completed.json", "logs"]


def test_a_staged_artifact_is_complete_in_the_bucket(pod: MakeContainer) -> None:
    container = pod(staged=True)
    ended = container.sh(
        'cd "$MODEL_DIR"; mkdir -p a/b "c d"; echo 1 >a/b/w; echo 2 >"c d/\'x"; echo 3 >top;'
        ' ln -s ../top a/link; echo "{\\"a\\": 1}" >metrics.json; echo said'
    )
    assert ended.code == 0, ended
    assert container.marker().result("x").metrics == {"a": 1}
    assert (container.bucket / "a/link").read_text() == "3\n"
    assert log(container, 1) == b"said\n"
    assert not list(container.bucket.glob(".reconciler-*"))


def test_a_command_that_has_removed_its_log_is_copied_out_all_the_same(pod: MakeContainer) -> None:
    container = pod(staged=True, env=OFTEN)
    script = 'rm -rf "$MODEL_DIR"/*; echo here; echo 1 >"$MODEL_DIR/c"' + WAIT
    with container.shell(script):
        until_listed(container)
        assert log(container, 1) == b"here\n"
        assert (container.bucket / "c").read_bytes() == b"1\n"


def test_a_complete_staged_artifact_ends_the_next_run(pod: MakeContainer) -> None:
    assert pod(staged=True).sh("echo 1 >$MODEL_DIR/w").code == 0
    assert b"ran it" not in pod(staged=True).sh("echo ran it").output


def test_a_failed_attempt_is_restored_to_the_next(pod: MakeContainer) -> None:
    first = pod(staged=True)
    script = 'cd "$MODEL_DIR"; mkdir -p "d e"; echo 1 >"d e/c k"; echo 2 >top; echo no; exit 4'
    assert first.sh(script).code == 4
    assert log(first, 1).startswith(b"no\n")
    ended = pod(staged=True).sh('cd "$MODEL_DIR"; cat "d e/c k" top; rm top')
    assert (ended.code, ended.output) == (0, b"1\n2\n")
    assert [name for name, _ in list_files(first.bucket)] == ["d e/c k"]
    assert read_marker(first.bucket, KEY) is not None


def test_only_what_a_list_names_is_restored(pod: MakeContainer) -> None:
    first = pod(staged=True)
    assert first.sh("echo 1 >$MODEL_DIR/whole; exit 1").code == 1
    (first.bucket / "half").write_text("from a copy that was cut short")
    name = ".reconciler-list-000000009-000000001"
    (first.bucket / name).write_text(f"list of {KEY}\n4/-/./half\n")
    ended = pod(staged=True).sh('ls "$MODEL_DIR"')
    assert (ended.code, ended.output) == (0, b"logs\nwhole\n")
    assert [name for name, _ in list_files(first.bucket)] == ["whole"]


def test_what_was_changed_in_the_bucket_is_not_restored(pod: MakeContainer) -> None:
    first = pod(staged=True)
    assert first.sh("cd $MODEL_DIR; echo 1 >a; echo 2 >b; echo 3 >c; exit 1").code == 1
    (first.bucket / "a").unlink()
    (first.bucket / "b").write_text("longer")
    ended = pod(staged=True).sh('cat "$MODEL_DIR"/?')
    assert ended.output.endswith(b"3\n")
    assert b"a is listed as an earlier attempt's" in ended.output
    assert b"b is listed as an earlier attempt's" in ended.output


def test_what_has_settled_is_copied_while_the_command_runs(pod: MakeContainer) -> None:
    container = pod(staged=True, env=OFTEN)
    ready = container.gate("ready")
    script = f"echo 1 >$MODEL_DIR/ckpt; echo >{ready}{WAIT}"
    with container.shell(script) as running:
        ready.read_bytes()
        until_listed(container)
        running.signal(signal.SIGKILL)
        running.wait()
    assert pod(staged=True).sh('cat "$MODEL_DIR/ckpt"').output == b"1\n"


def test_a_copy_comes_every_interval_by_itself(pod: MakeContainer) -> None:
    container = pod(staged=True, sync=1)
    with container.shell(f"echo 1 >$MODEL_DIR/ckpt{WAIT}"):
        until_listed(container)
    assert (container.bucket / "ckpt").read_text() == "1\n"


def test_a_folder_with_a_file_still_being_written_has_not_settled(pod: MakeContainer) -> None:
    container = pod(staged=True)
    ready = container.gate("ready")
    gate = container.gate("gate")
    script = f"""
        cd $MODEL_DIR; mkdir ckpt; echo 1 >ckpt/shard-1; echo 1 >alone
        exec 3>ckpt/shard-2; echo half >&3
        echo >{ready}; cat {gate}; exec 3>&-; echo >{ready}{WAIT}
    """
    with container.shell(script) as running:
        ready.read_bytes()
        copy_now(container)
        assert [name for name, _ in list_files(container.bucket)] == ["alone"]
        gate.write_text("")
        ready.read_bytes()
        copy_now(container)
        running.signal(signal.SIGKILL)
    assert pod(staged=True).sh("ls $MODEL_DIR/ckpt").output == b"shard-1\nshard-2\n"


def test_sigterm_copies_everything_out(pod: MakeContainer) -> None:
    container = pod(staged=True)
    script = f"trap 'echo 2 >$MODEL_DIR/last; exit 0' TERM; echo 1 >$MODEL_DIR/x; ready{WAIT}"
    ended = container.signalled(script, signal.SIGTERM)
    assert ended.code == TERMINATED_EXIT
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE
    assert read_marker(container.bucket, KEY) is None
    assert pod(staged=True).sh("cat $MODEL_DIR/x $MODEL_DIR/last").output == b"1\n2\n"


def test_what_a_killed_command_may_have_been_writing_is_not_taken_for_whole(
    pod: MakeContainer,
) -> None:
    assert pod(staged=True).sh("echo old >$MODEL_DIR/ckpt; exit 1").code == 1
    assert pod(staged=True).sh("echo ha >$MODEL_DIR/ckpt; kill -9 $$").code == 137
    assert pod(staged=True).sh("cat $MODEL_DIR/ckpt").output == b"old\n"


def test_a_listed_file_is_not_overwritten_before_the_next_list(pod: MakeContainer) -> None:
    first = pod(staged=True)
    assert first.sh("echo old >$MODEL_DIR/ckpt; exit 1").code == 1
    (listed,) = lists(first)
    before = listed.read_bytes()
    second = pod(staged=True)
    assert second.sh("echo new >$MODEL_DIR/ckpt; exit 1").code == 1
    (changed,) = lists(second)
    assert (second.bucket / "ckpt").read_text() == "old\n"
    # Had the second copy been cut short before its list, this is what there would be:
    changed_text = changed.read_bytes()
    changed.unlink()
    listed.write_bytes(before)
    assert pod(staged=True).sh("cat $MODEL_DIR/ckpt; exit 1").output.startswith(b"old\n")
    changed.write_bytes(changed_text)
    last = pod(staged=True).sh("cat $MODEL_DIR/ckpt")
    assert last.code == 0
    assert (second.bucket / "ckpt").read_text() in ("old\n", "new\n")
    assert read_marker(second.bucket, KEY) is not None


def test_a_file_changed_in_place_is_the_new_one_in_the_artifact(pod: MakeContainer) -> None:
    assert pod(staged=True).sh("cd $MODEL_DIR; echo old >ckpt; echo 1 >kept; exit 1").code == 1
    container = pod(staged=True)
    assert container.sh("echo new >$MODEL_DIR/ckpt").code == 0
    assert (container.bucket / "ckpt").read_text() == "new\n"
    assert [name for name, _ in list_files(container.bucket)] == ["ckpt", "kept"]
    assert read_marker(container.bucket, KEY) is not None


def test_a_bucket_that_refuses_writes_makes_no_marker(pod: MakeContainer) -> None:
    container = pod(staged=True)
    ready = container.gate("ready")
    gate = container.gate("gate")
    script = f"echo 1 >$MODEL_DIR/blocked; echo >{ready}; cat {gate}"
    with container.shell(script) as running:
        ready.read_bytes()
        (container.bucket / "blocked").mkdir()
        (container.bucket / "blocked/blocked").mkdir()  # what cp cannot replace
        gate.write_text("")
        ended = running.wait()
    assert ended.code == INFRASTRUCTURE_EXIT, ended
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE
    assert not (container.bucket / "completed.json").exists()


def test_thousands_of_files_are_copied_folder_by_folder(pod: MakeContainer) -> None:
    container = pod(staged=True)
    script = """
        cd $MODEL_DIR; for d in 1 2 3 4; do mkdir $d; i=0
        while [ $i -lt 1000 ]; do echo $i >$d/$i; i=$((i + 1)); done; done
    """
    assert container.sh(script).code == 0
    assert len(list_files(container.bucket)) == 4000
    assert read_marker(container.bucket, KEY) is not None


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_the_next_attempt_finds_whole_files(pod: MakeContainer, seed: int) -> None:
    """Files of one length, rewritten in place all the time, copied all the time."""
    chance = random.Random(seed)
    script = """
        cd $MODEL_DIR
        for f in set/* kept; do
            [ -e "$f" ] || continue
            read -r head tail <$f; [ "$tail" = "$head end" ] || { echo "torn: $f"; exit 9; }
        done
        [ $ATTEMPT = 1 ] || cat kept >/dev/null || exit 9
        mkdir -p set; x=$(printf %09000d $ATTEMPT); [ -e kept ] || echo "$x $x end" >kept
        while :; do for f in a b c; do
            x=$(printf %05000d%04000d $ATTEMPT $f); echo "$x $x end" >set/$f
        done; done
    """
    # The first is ended politely, so that there is something to lose.
    for attempt in range(1, 4):
        container = pod(staged=True, env=OFTEN)
        with container.shell(script) as running:
            while not (container.stage / "set/c").exists() and running.process.poll() is None:  # type: ignore[operator]
                pass
            assert container.stage
            kept = container.stage / "kept"
            while running.process.poll() is None and time.time() < kept.stat().st_ctime + 3:
                pass
            for _ in range(chance.randrange(100_000)):
                running.process.poll()
            number = (
                signal.SIGTERM if attempt == 1 else chance.choice([signal.SIGTERM, signal.SIGKILL])
            )
            running.signal(number)
            ended = running.wait()
        # One that was killed before its command started has nothing to report.
        assert not ended.message or ended.termination.exit_code != 9, ended
        assert b"torn" not in ended.output
    checked = pod(staged=True).sh(script.partition("mkdir -p set")[0])
    assert checked.code == 0, checked


def test_copies_are_so_close_that_a_loss_is_at_most_one_interval() -> None:
    script = str(resources.files("reconciler.engines.kubernetes") / "staged.sh")
    for sync, took in ((600.0, 5.0), (600.0, 0.25), (20.0, 4.5), (600.0, 500.0), (10.0, 60.0)):
        run = [BUSYBOX, "sh", "-c", f'. "$0"; pause {sync} {took}', script]
        done = processes.run(run, check=True)
        pause = float(done.stdout)
        # What the look that begins a copy just misses is safe when the next copy has ended.
        if sync >= 4 * took:
            assert took + pause + 2 * took <= sync
        assert min(took, sync) <= pause <= sync


def digests(container: Container) -> dict[str, str | None]:
    return {file.path: file.sha256 for file in container.marker().files}


def test_a_staged_artifact_has_the_digest_of_each_file(pod: MakeContainer) -> None:
    container = pod(staged=True)
    script = """cd "$MODEL_DIR"; mkdir -p "c d"; echo 2 >"c d/'x"; echo 3 >top; ln -s top link; : >e
        echo 4 >'a\\nb'; i=0; while [ $i -lt 450 ]; do echo $i >"c d/$i"; i=$((i+1)); done"""
    assert container.sh(script).code == 0
    assert digests(container) == {
        name: sha256((container.bucket / name).read_bytes()).hexdigest()
        for name, _ in list_files(container.bucket)
    }


def test_the_digest_of_a_file_that_changed_after_a_copy_is_the_last_one(pod: MakeContainer) -> None:
    container = pod(staged=True)
    gate = container.gate("gate")
    script = f'cd "$MODEL_DIR"; echo 1 >a; echo 1 >b; read -r _ <{gate}; echo 2 >a; echo 3 >c'
    with container.shell(script) as running:
        while not (container.stage and (container.stage / "b").exists()):
            assert container.home.exists()
        copy_now(container)
        gate.write_text("go\n")
        assert running.wait().code == 0
    assert digests(container) == {
        name: sha256(text).hexdigest()
        for name, text in (("a", b"2\n"), ("b", b"1\n"), ("c", b"3\n"))
    }


def test_what_an_earlier_attempt_left_has_digests_too(pod: MakeContainer) -> None:
    assert pod(staged=True).sh('echo 1 >"$MODEL_DIR/a"; exit 1').code == 1
    container = pod(staged=True)
    assert container.sh('echo 2 >"$MODEL_DIR/b"').code == 0
    assert digests(container) == {
        "a": sha256(b"1\n").hexdigest(), "b": sha256(b"2\n").hexdigest(),
    }  # fmt: skip


def test_a_busybox_without_sha256sum_gives_sizes_alone(pod: MakeContainer) -> None:
    container = pod(staged=True)
    (container.home / "bin/sha256sum").unlink()
    assert container.sh('echo 1 >"$MODEL_DIR/a"').code == 0
    assert digests(container) == {"a": None}
