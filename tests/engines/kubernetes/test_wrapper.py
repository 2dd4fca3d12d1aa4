"""The wrapper on a bucket that is a file system: the contract of a command and its artifact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.engine import DEFAULTS, FailureClass, ResultWarning
from reconciler.engines.kubernetes.termination import LIMIT, TerminationState
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT, TERMINATED_EXIT
from reconciler.engines.local.marker import make_durable, read_marker, write_marker
from reconciler.reasons import ReasonCode
from reconciler.types import Verify
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, KEY, LINEAGE, log, write_tree
from tests.planted import ENCODERS, PLANTED, assert_without

WRITE = 'echo weights >"$MODEL_DIR/w.bin"; '


def test_a_command_that_succeeds_leaves_an_artifact_that_either_engine_takes(
    pod: MakeContainer,
) -> None:
    container = pod()
    ended = container.sh(WRITE + 'echo "{\\"accuracy\\": 0.97}" >"$MODEL_DIR/metrics.json"')
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    assert ended.termination.metrics == {"accuracy": 0.97}
    marker = container.marker()
    assert marker.result("x").metrics == {"accuracy": 0.97}
    content = json.loads((container.bucket / "completed.json").read_text())
    assert {name: content[name] for name in LINEAGE} == LINEAGE
    assert marker.attempt == ended.termination.attempt == 1
    assert content["finished"].endswith("Z")


def test_a_mount_that_broke_is_neither_a_full_disk_nor_the_commands_fault(
    pod: MakeContainer,
) -> None:
    # Whatever is asked of a link to itself fails, as it does of a mount without its process.
    ended = pod().sh('rm -rf "$MODEL_DIR"; ln -s "$MODEL_DIR" "$MODEL_DIR"; exit 3')
    assert ended.code == INFRASTRUCTURE_EXIT
    assert ended.termination.reason is ReasonCode.BUCKET_FAILED, ended
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("error", "there"),
    [
        ("Transport endpoint is not connected", False),
        ("Connection aborted", False),
        ("Invalid argument", True),  # a file system that cannot tell its size
    ],
)
def test_a_mount_whose_process_is_gone_is_not_there_while_its_folder_is_still_known(
    pod: MakeContainer, tmp_path: Path, error: str, there: bool
) -> None:
    functions = pod().home / "attempt.sh"
    script = (
        f"set -u -o pipefail; . {functions}\n"
        f'stat() {{ echo "stat: can\'t read file system information: {error}" >&2; return 1; }}\n'
        f"is_there {tmp_path}"
    )
    done = subprocess.run([BUSYBOX, "sh", "-c", script], check=False)
    assert (done.returncode == 0) is there


def test_a_log_that_cannot_be_written_is_no_full_disk_but_for_want_of_room(
    pod: MakeContainer, tmp_path: Path
) -> None:
    # The mount may seem to be there while its process is gone, and the log's writer knows better.
    ended = pod().sh(f"until {BUSYBOX} killall -KILL dd; do :; done; exit 3")
    assert ended.termination.reason is ReasonCode.BUCKET_FAILED, ended
    assert "the log could not be written any more" in ended.termination.message
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE

    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    container = pod()
    container.bucket.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(container.bucket)]
    subprocess.run(mount, check=True)
    try:
        print_it = f"{BUSYBOX} head -c 8000000 /dev/zero; : >$MODEL_DIR/logs/attempt-1.log; exit 3"
        ended = container.sh(print_it)
    finally:
        subprocess.run(["umount", "--lazy", str(container.bucket)], check=True)
    assert ended.termination.reason is ReasonCode.DISK_FULL, ended


def test_a_mount_of_a_base_that_broke_is_not_the_commands_fault(
    pod: MakeContainer, tmp_path: Path
) -> None:
    base = tmp_path / "mounted"
    write_tree(base, {"completed.json": json.dumps({"version": 1, "key": KEY}, indent=1).encode()})
    ended = pod(inputs=[f"base={KEY}:{base}"]).sh(f"rm -rf {base}; ln -s {base} {base}; exit 3")
    assert ended.code == INFRASTRUCTURE_EXIT
    assert ended.termination.reason is ReasonCode.BUCKET_FAILED, ended
    assert "the base cannot be read any more" in ended.termination.message


def test_the_local_engines_marker_ends_a_run_before_its_command_starts(pod: MakeContainer) -> None:
    container = pod()
    write_tree(container.bucket, {"w.bin": b"123", 'a/"é\\\t': b"", "logs/attempt-4.log": b"x"})
    now = datetime.now(UTC)
    write_marker(
        container.bucket, key=KEY, lineage=LINEAGE, metrics={"loss": 0.5, "é": 1e-9},
        started=now, finished=now, gpu_seconds=7.5, attempt=4,
    )  # fmt: skip
    ended = container.sh("echo ran it")
    assert ended.code == 0
    assert b"ran it" not in ended.output
    assert not (container.bucket / "logs/attempt-5.log").exists()
    assert ended.termination.metrics == {"loss": 0.5, "é": 1e-9}
    assert ended.termination.gpu_seconds == 7.5


def test_an_input_without_its_marker_ends_a_run_before_its_command_starts(
    pod: MakeContainer, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    write_tree(base, {"w.bin": b"123"})
    other = "f" * 40
    container = pod(inputs=[f"base={other}:{base}"])
    for marked in ("", KEY):
        if marked:
            complete(base, marked)
        ended = container.sh("echo ran it")
        assert (ended.code, b"ran it" in ended.output) == (INFRASTRUCTURE_EXIT, False)
        assert ended.termination.failure is FailureClass.INFRASTRUCTURE
        assert ended.termination.reason is ReasonCode.ARTIFACT_LOST
        assert ended.termination.input == "base"
    complete(base, other)
    assert b"ran it" in container.sh("echo ran it").output


@pytest.mark.parametrize(
    ("verify", "damage", "told"),
    [
        (None, "short", None),
        (Verify.SIZES, "flip", None),
        (
            Verify.SIZES,
            "short",
            "its files are not as in completed.json: a \\b",
        ),
        (
            Verify.SIZES,
            "more",
            "its files are not as in completed.json: new",
        ),
        (Verify.DIGESTS, "none", None),
        (
            Verify.DIGESTS,
            "short",
            "its files are not as in completed.json: a \\b",
        ),
        (
            Verify.DIGESTS,
            "flip",
            "the content of a file is not as in completed.json: a \\b: FAILED",
        ),
    ],
)
def test_an_input_is_compared_as_its_bucket_says(
    pod: MakeContainer, tmp_path: Path, verify: Verify | None, damage: str, told: str | None
) -> None:
    base = tmp_path / "base"
    write_tree(base, {"a \\b": b"123", "-w": b"", "logs/attempt-1.log": b"x"})
    complete(base, KEY)
    for file, content in {
        "none": {}, "flip": {"a \\b": b"124"}, "short": {"a \\b": b"12"}, "more": {"new": b""},
    }[damage].items():  # fmt: skip
        (base / file).write_bytes(content)
    verified = {"base": verify} if verify else {}
    ended = pod(inputs=[f"base={KEY}:{base}"], verify=verified).sh("echo ran it")
    assert (b"ran it" in ended.output) == (told is None), ended
    if told is not None:
        assert ended.termination.reason is ReasonCode.ARTIFACT_LOST
        assert ended.termination.input == "base"
        assert ended.termination.message == f"the base is gone or damaged: {told}"


def test_without_sha256sum_the_sizes_of_an_input_are_compared(
    pod: MakeContainer, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    write_tree(base, {"w": b"123"})
    complete(base, KEY)
    (base / "w").write_bytes(b"124")
    container = pod(inputs=[f"base={KEY}:{base}"], verify={"base": Verify.DIGESTS})
    (container.home / "bin/sha256sum").unlink()
    ended = container.sh("echo ran it")
    assert b"there is no sha256sum: only sizes are compared" in ended.output
    assert b"ran it" in ended.output


def test_an_artifact_whose_content_is_damaged_is_made_again(pod: MakeContainer) -> None:
    verify = {"artifact": Verify.DIGESTS}
    assert pod(staged=True).sh(WRITE).code == 0
    made = pod(staged=True, verify=verify)
    assert b"ran it" not in made.sh("echo ran it").output
    (made.bucket / "w.bin").write_text("weighty\n")
    assert b"ran it" in pod(staged=True, verify=verify).sh("echo ran it;" + WRITE).output
    assert (made.bucket / "w.bin").read_text() == "weights\n"


def test_an_artifact_of_a_cluster_is_taken_as_an_input(pod: MakeContainer, tmp_path: Path) -> None:
    made = pod()
    assert made.sh(WRITE).code == 0
    base = tmp_path / "base"
    made.bucket.rename(base)
    ended = pod(inputs=[f"base={KEY}:{base}"]).sh("echo ran it")
    assert b"ran it" in ended.output


def complete(folder: Path, key: str) -> None:
    """Mark a folder as the local engine does."""
    now = datetime.now(UTC)
    write_marker(
        folder, key=key, lineage=LINEAGE, metrics={}, started=now, finished=now,
        gpu_seconds=0, attempt=1, digests=make_durable(folder),
    )  # fmt: skip


def test_the_marker_of_the_same_key_ends_the_next_run_at_once(pod: MakeContainer) -> None:
    assert pod().sh(WRITE).code == 0
    ended = pod().sh("echo ran it")
    assert (ended.code, b"ran it" in ended.output) == (0, False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "w.bin").write_bytes(b"short"),
        lambda d: (d / "new").touch(),
        lambda d: (d / "w.bin").unlink(),
        lambda d: (d / "completed.json").write_text("[" * 100_000),
        lambda d: (d / "completed.json").write_text("{}"),
        lambda d: (d / "completed.json").write_bytes((d / "completed.json").read_bytes()[:-3]),
        lambda d: (d / "completed.json").write_bytes((d / "completed.json").read_bytes() + b"x"),
        lambda d: (d / "completed.json").write_bytes(
            (d / "completed.json").read_bytes().replace(KEY.encode(), KEY[::-1].encode())
        ),
    ],
)
def test_a_marker_that_does_not_match_is_none(pod: MakeContainer, damage: object) -> None:
    first = pod()
    assert first.sh(WRITE).code == 0
    damage(first.bucket)  # type: ignore[operator]
    ended = pod().sh(WRITE + "echo ran it")
    assert (ended.code, b"ran it" in ended.output) == (0, True)
    assert read_marker(first.bucket, KEY) is not None


def test_an_attempt_finds_what_an_earlier_one_left_and_counts_on(pod: MakeContainer) -> None:
    failed = pod().sh('echo 1 >"$MODEL_DIR/checkpoint"; echo "attempt $ATTEMPT"; exit 3')
    assert failed.code == 3
    ended = pod().sh('echo "attempt $ATTEMPT found $(cat "$MODEL_DIR/checkpoint")"')
    assert ended.code == 0
    container = pod()
    assert log(container, 1).startswith(b"attempt 1\n")
    assert log(container, 2) == b"attempt 2 found 1\n"


def test_attempts_count_from_the_highest_log(pod: MakeContainer) -> None:
    container = pod()
    names = ["attempt-9.log", "attempt-010.log", "attempt-x.log", "attempt-11.log.gz",
             "attempt-.log", "attempt-12.rank-1.log", "attempt-99999999999.log"]  # fmt: skip
    write_tree(container.bucket, {f"logs/{name}": b"" for name in names})
    assert container.sh("echo $ATTEMPT").termination.attempt == 11


def test_the_log_is_there_before_the_command_starts(pod: MakeContainer) -> None:
    assert pod().sh('[ -e "$MODEL_DIR/logs/attempt-1.log" ]').code == 0


def test_output_is_live_in_the_log_while_the_command_runs(pod: MakeContainer) -> None:
    container = pod()
    gate = container.gate("gate")
    shown = container.gate("shown")
    script = (
        f"printf half; while [ ! -s $MODEL_DIR/logs/attempt-1.log ]; do usleep 1000; done;"
        f" cat $MODEL_DIR/logs/attempt-1.log >{shown}; cat {gate}"
    )
    with container.shell(script) as running:
        assert shown.read_text() == "half"
        gate.write_text(" more")
        assert running.wait().output == b"half more"


@pytest.mark.parametrize("staged", [False, True])
def test_a_command_that_clears_its_directory_loses_neither_artifact_nor_log(
    pod: MakeContainer, staged: bool
) -> None:
    clear = 'echo before; rm -rf "$MODEL_DIR"/*; echo after; '
    failed = pod(staged=staged).sh(clear + "exit 3")
    assert (failed.code, failed.termination.last) == (3, "after")
    assert failed.termination.reason is ReasonCode.COMMAND_FAILED
    container = pod(staged=staged)
    assert log(container, 1).startswith(b"before\nafter\n")
    assert container.sh(clear + WRITE).code == 0
    assert log(container, 2) == b"before\nafter\n"
    assert read_marker(container.bucket, KEY) is not None


def test_binary_output_without_a_last_line_end_is_kept(pod: MakeContainer) -> None:
    container = pod()
    data = bytes(range(256)) * 300
    (container.workdir / "data").write_bytes(data)
    ended = container.sh("cat data; cat data >&2")
    assert ended.output == log(container, 1) == data * 2


def test_a_log_is_cut_at_its_limit_and_the_command_goes_on(pod: MakeContainer) -> None:
    container = pod(env={"RECONCILER_LOG_LIMIT": "1000"})
    ended = container.sh("yes | head -c 500000; echo the last; exit 1")
    assert len(ended.output) > 500_000
    kept = log(container, 1)
    assert kept[:1000] == b"y\n" * 500
    assert b"[reconciler] the log ends here" in kept
    assert len(kept) < 1300
    assert ended.termination.last == "the last"


def test_much_output_arrives_whole(pod: MakeContainer) -> None:
    container = pod()
    ended = container.sh("yes 0123456789 | head -c 20000000")
    assert len(ended.output) == len(log(container, 1)) == 20_000_000


@pytest.mark.parametrize(
    ("script", "code"), [("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137)]
)
def test_the_exit_code_is_the_commands(pod: MakeContainer, script: str, code: int) -> None:
    ended = pod().sh(f"echo no such layer; {script}")
    said = ended.termination
    assert (ended.code, said.exit_code, said.failure) == (code, code, FailureClass.COMMAND)
    assert said.last == "no such layer"
    assert said.state is TerminationState.FAILED


def test_a_command_cannot_pass_for_infrastructure(pod: MakeContainer) -> None:
    ended = pod().sh(f"exit {INFRASTRUCTURE_EXIT}")
    assert (ended.code, ended.termination.exit_code) == (1, INFRASTRUCTURE_EXIT)
    assert ended.termination.failure is FailureClass.COMMAND


def test_the_first_word_is_looked_up_in_the_working_directory_then_on_path(
    pod: MakeContainer, tmp_path: Path
) -> None:
    container = pod(env={"PATH": f"/nowhere:{tmp_path}/bin"})
    for folder, says in ((tmp_path / "bin", "path"), (container.workdir, "here")):
        folder.mkdir(exist_ok=True)
        for name in ("train.sh",) if says == "here" else ("train.sh", "other"):
            (folder / name).write_text(f"#!{BUSYBOX} sh\necho {says} $1 $PATH\n")
            (folder / name).chmod(0o755)
    assert container.run("train.sh", "a b").output.startswith(b"here a b ")
    other = pod(env={"PATH": f"/nowhere:{tmp_path}/bin"})
    other.steer["key"] = KEY[::-1]
    assert other.run("other").output == f"path /nowhere:{tmp_path}/bin\n".encode()


def test_a_command_that_is_not_there_is_127_and_no_attempt(pod: MakeContainer) -> None:
    container = pod()
    ended = container.run("train.sh")
    assert ended.code == 127
    assert ended.termination.message == (
        '"train.sh" is neither a file in the working directory nor a program on PATH'
    )
    assert ended.termination.failure is FailureClass.COMMAND
    assert list((container.bucket / "logs").iterdir()) == []


def test_the_command_sees_the_images_environment_and_none_of_the_wrappers(
    pod: MakeContainer,
) -> None:
    image = {"home": "h", "name": "n", "log": "l", "phase": "p", "code": "c", "LC_ALL": "de_DE",
             "attempt": "a", "environment": "prod", "hidden": "256", "program": "z",
             "defaults": "d", "multi": "a\nb '\"$x", "PATH": "/opt"}  # fmt: skip
    container = pod(env=image)
    ended = container.run(BUSYBOX, "env", "-0")
    seen = dict(entry.split("=", 1) for entry in ended.output.decode().split("\0") if entry)
    assert {name: seen.get(name) for name in image} == image
    assert not [name for name in seen if name.startswith("RECONCILER_")]
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert not set(seen) - set(image) - {"MODEL_DIR", "ATTEMPT", *DEFAULTS} - shell


def test_arguments_arrive_as_they_are(pod: MakeContainer) -> None:
    odd = ["", " a  b ", "*", "$HOME $(x) $$", "'\"\\", "-n", "é\n"]
    ended = pod().sh('for a; do printf "%s|" "$a"; done', "sh", *odd)
    assert ended.output.decode() == "|".join(odd) + "|"


def test_sigterm_reaches_the_whole_group_and_what_it_leaves_is_kept(pod: MakeContainer) -> None:
    container = pod()
    script = f"""
        {BUSYBOX} sh -c 'trap "echo child >>$MODEL_DIR/ends; exit" TERM; ready
            while :; do usleep 9999; done' &
        trap 'wait; echo saved >>$MODEL_DIR/ends; exit 0' TERM
        while :; do usleep 9999; done
    """
    ended = container.signalled(script, signal.SIGTERM)
    assert (container.bucket / "ends").read_text() == "child\nsaved\n"
    assert ended.code == TERMINATED_EXIT
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE
    assert read_marker(container.bucket, KEY) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_an_images_own_stop_signal_is_a_sigterm_too(
    pod: MakeContainer, number: signal.Signals
) -> None:
    script = "trap 'exit 7' TERM; ready; while :; do usleep 9999; done"
    assert pod().signalled(script, number).code == 7


def test_a_command_deaf_to_sigterm_is_killed_after_its_grace(pod: MakeContainer) -> None:
    script = "trap '' TERM; ready; while :; do usleep 9999; done"
    assert pod(grace=0).signalled(script, signal.SIGTERM).code == 137


def test_what_the_command_left_running_is_ended(pod: MakeContainer) -> None:
    container = pod()
    script = f"""
        {BUSYBOX} setsid {BUSYBOX} sh -c 'while :; do date >>$MODEL_DIR/late; done' &
        echo >$MODEL_DIR/w
    """
    ended = container.sh(script)
    assert ended.code == 0
    assert read_marker(container.bucket, KEY) is not None


def test_a_killed_container_reports_its_attempt(pod: MakeContainer) -> None:
    ended = pod().signalled("ready; while :; do sleep 9; done", signal.SIGKILL)
    assert ended.termination.state is TerminationState.BEGAN
    assert ended.termination.attempt == 1
    assert pod().sh("echo $ATTEMPT").output == b"2\n"


def test_gpu_seconds_are_those_of_all_attempts(pod: MakeContainer) -> None:
    assert pod(gpus=3).sh("sleep 0.1; exit 1").code == 1
    container = pod(gpus=3)
    spent = float((container.bucket / ".reconciler-spent-1").read_text())
    ended = container.sh("sleep 0.1")
    own = (ended.termination.seconds or 0) * 3
    assert spent >= 0.3
    assert ended.termination.gpu_seconds == pytest.approx(spent + own)
    marker = container.marker()
    assert marker.gpu_seconds == ended.termination.gpu_seconds


def test_gpu_seconds_of_a_killed_attempt_are_not_lost(pod: MakeContainer) -> None:
    container = pod(gpus=3, env={"RECONCILER_METER": "0.3"})
    metered = "until grep -q '[1-9]' $MODEL_DIR/.reconciler-spent-1; do usleep 10000; done"
    container.signalled(f"{metered}; ready; while :; do sleep 9; done", signal.SIGKILL)
    spent = float((container.bucket / ".reconciler-spent-1").read_text() or 0)
    ended = pod(gpus=3, env={"RECONCILER_METER": "0.01"}).sh("sleep 0.1")
    own = (ended.termination.seconds or 0) * 3
    assert ended.termination.gpu_seconds == pytest.approx(spent + own)
    assert spent > 0
    assert not list(container.bucket.glob(".reconciler-*"))


IGNORED = ResultWarning(
    "MetricsIgnored",
    'metrics.json: 2 of 3 values are ignored: "loss" is NaN, "note" is a string',
)
EMPTY = ResultWarning(
    "ArtifactEmpty",
    "the artifact has no file: the command has written nothing into its directory",
)


def test_metrics_that_are_ignored_are_told_of_the_artifact(pod: MakeContainer) -> None:
    container = pod()
    (container.workdir / "m").write_text('{"loss": NaN, "note": "\\"", "steps": 44650}')
    ended = container.sh('cp m "$MODEL_DIR/metrics.json"')
    assert (ended.code, ended.termination.metrics) == (0, {"steps": 44650})
    assert ended.termination.warnings == (IGNORED,)
    assert IGNORED.message in log(container, 1).decode()
    assert IGNORED.message in ended.output.decode()
    assert container.marker().result("x").warnings == (IGNORED,)
    again = pod().sh("echo ran it").termination
    assert (again.metrics, again.warnings) == ({"steps": 44650}, (IGNORED,))


@pytest.mark.parametrize("staged", [False, True])
def test_an_artifact_without_a_file_is_told(pod: MakeContainer, staged: bool) -> None:
    container = pod(staged=staged)
    ended = container.sh("mkdir $MODEL_DIR/folder")
    assert (ended.code, ended.termination.warnings) == (0, (EMPTY,))
    assert container.marker().result("x").warnings == (EMPTY,)
    again = pod(staged=staged).sh("echo ran it")
    assert (b"ran it" in again.output, again.termination.warnings) == (False, (EMPTY,))


def test_metrics_of_every_valid_form_are_kept(pod: MakeContainer) -> None:
    metrics = {"a": 0, "b": -1.5e-300, "größe": 1e300, 'q"\\/': 3, "emoji 😀": 0.1, "x" * 100: 7}
    container = pod()
    (container.workdir / "m").write_text(json.dumps(metrics, indent=2))
    ended = container.sh('cp m "$MODEL_DIR/metrics.json"')
    assert ended.termination.metrics == metrics
    assert container.marker().result("x").metrics == metrics


def test_metrics_that_do_not_fit_the_message_are_told_and_stand_in_the_marker(
    pod: MakeContainer,
) -> None:
    metrics = {f"{i:03}-{'é' * 90}": i for i in range(100)}
    container = pod()
    (container.workdir / "m").write_text(json.dumps(metrics, ensure_ascii=False))
    ended = container.sh('cp m "$MODEL_DIR/metrics.json"')
    assert len(ended.message.encode()) <= LIMIT
    fit = len(ended.termination.metrics)
    assert ended.termination.metrics == dict(list(metrics.items())[:fit])
    assert 10 < fit < 100
    (warning,) = ended.termination.warnings
    assert warning.message.startswith(f"{100 - fit} of 100 metrics do not fit")
    found = container.marker().result("x")
    assert (found.metrics, found.warnings) == (metrics, ())


def test_the_message_is_short_and_holds_no_controls_and_no_secret(pod: MakeContainer) -> None:
    container = pod(
        env={"TOKEN": "hunter2-and-more", "PART": "hunter2", "PIN": "1"},
        secrets=["PART", "TOKEN", "PIN"],
    )
    ended = container.sh(
        r"""printf '\033[31mError 1:\a %s %s \377' "$TOKEN" "$PART"
        yes é | head -c 9000 | tr -d "\n"; exit 1"""
    )
    assert len(ended.message.encode()) <= LIMIT
    assert "hunter2" not in ended.message
    assert ended.termination.last.isprintable()
    short = pod(env=container.env, secrets=["PART", "TOKEN", "PIN"]).sh(
        r"""printf '\033[31mError 1:\a %s\t%s \377\r\n\n' "$TOKEN" "$PART"; exit 1"""
    )
    assert short.termination.last == "Error 1: *** *** \ufffd"


@pytest.mark.parametrize("command", ENCODERS.values(), ids=ENCODERS)
def test_a_secret_is_in_no_form_in_the_message(pod: MakeContainer, command: str) -> None:
    container = pod(env={"TOKEN": PLANTED}, secrets=["TOKEN"])
    ended = container.sh(f"{command}; exit 1")
    assert_without(PLANTED, ended.message)
    assert ended.termination.last.startswith("said ")


def test_an_artifact_that_cannot_be_written_is_infrastructure(pod: MakeContainer) -> None:
    container = pod()
    container.bucket.parent.mkdir()
    container.bucket.write_text("a file where the directory should be")
    ended = container.sh("echo ran it")
    assert (ended.code, b"ran it" in ended.output) == (INFRASTRUCTURE_EXIT, False)
    assert ended.termination.failure is FailureClass.INFRASTRUCTURE


def test_an_artifact_is_readable_for_other_users(pod: MakeContainer) -> None:
    container = pod()
    assert container.sh('mkdir "$MODEL_DIR/d"; >"$MODEL_DIR/d/f"').code == 0
    paths = [container.bucket, *container.bucket.rglob("*")]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in paths)


def test_a_working_directory_that_cannot_be_written_is_no_matter(pod: MakeContainer) -> None:
    container = pod()
    container.workdir = Path("/proc")
    assert container.sh(WRITE).code == 0


def test_an_artifact_of_twenty_thousand_files(pod: MakeContainer) -> None:
    container = pod()
    for folder in range(20):
        (container.bucket / str(folder)).mkdir(parents=True)
        for number in range(1000):
            os.close(os.open(container.bucket / str(folder) / f"{number}.bin", os.O_CREAT))
    assert container.sh(":").code == 0
    marker = json.loads((container.bucket / "completed.json").read_bytes())
    assert len(marker["files"]) == 20_000
    again = pod().sh("echo ran it")
    assert b"ran it" not in again.output
