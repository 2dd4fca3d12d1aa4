"""Attempts: numbers, retries, timeouts, what is left behind, and what is said of a failure."""

from __future__ import annotations

import pytest

from reconciler.engine import FailureClass, ResultWarning, RunPhase
from reconciler.types import ExecutionHash, Mounted
from tests.engines.local.bench import Bench, key_of, reason, script, until
from tests.patience import longer

COMMAND = FailureClass.COMMAND


async def test_a_second_attempt_finds_the_first_ones_files(bench: Bench) -> None:
    spec, run = await bench.carry_out(
        'echo "attempt $ATTEMPT"\n'
        'if test "$ATTEMPT" = 1; then echo half > "$MODEL_DIR/checkpoint"; exit 1; fi\n'
        'test "$(cat "$MODEL_DIR/checkpoint")" = half',
        retries=1,
    )
    assert run.phase is RunPhase.SUCCEEDED, run.reason
    assert run.attempts == 2
    assert (bench.log(spec, 1).splitlines()[0], bench.log(spec, 2)) == ("attempt 1", "attempt 2\n")
    assert bench.marker(spec)["attempt"] == 2
    assert run.log == (bench.artifact(spec) / "logs" / "attempt-2.log").as_uri()


async def test_attempts_are_counted_over_the_runs_of_a_key_and_retries_per_run(
    bench: Bench,
) -> None:
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": script("echo no way >&2; exit 7")})
        first = bench.spec(image, retries=1)
        second = bench.spec(image, retries=1, execution_hash=ExecutionHash("1" * 40))
        for spec, attempts in ((first, 2), (second, 4)):
            run = await bench.complete(engine, spec)
            assert (run.phase, run.failure, run.attempts) == (RunPhase.FAILED, COMMAND, attempts)
            assert reason(run) == "run.sh ended with exit code 7: no way"
    logs = {path.name for path in (bench.artifact(first) / "logs").iterdir()}
    assert logs == {f"attempt-{n}.log" for n in (1, 2, 3, 4)}


async def test_a_run_that_finds_its_marker_starts_nothing(bench: Bench) -> None:
    async with bench.engine() as engine:
        image = await bench.image(
            engine,
            {
                "run.sh": script(
                    'echo x >> "$MODEL_DIR/x"; echo \'{"loss": 2}\' > "$MODEL_DIR/metrics.json"'
                )
            },
        )
        for execution_hash in ("0" * 40, "1" * 40):
            spec = bench.spec(image, execution_hash=ExecutionHash(execution_hash))
            run = await bench.complete(engine, spec)
            assert run.phase is RunPhase.SUCCEEDED, run.reason
            assert run.result is not None
            assert (run.result.url, run.result.metrics) == (spec.output, {"loss": 2.0})
    assert (bench.artifact(spec) / "x").read_text() == "x\n"


async def test_an_artifact_that_lost_a_file_is_made_again(bench: Bench) -> None:
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": script('echo full > "$MODEL_DIR/w"')})
        for execution_hash in ("0" * 40, "1" * 40):
            spec = bench.spec(image, execution_hash=ExecutionHash(execution_hash))
            run = await bench.complete(engine, spec)
            assert run.phase is RunPhase.SUCCEEDED, run.reason
            assert (bench.artifact(spec) / "w").read_text() == "full\n"
            (bench.artifact(spec) / "w").chmod(0o644)
            (bench.artifact(spec) / "w").write_text("cut")
    assert run.attempts == 2


async def test_a_timeout_ends_a_grandchild_that_ignores_term(bench: Bench) -> None:
    tell = f"{bench.live}; : > {bench.begun}"
    body = f"trap '' TERM\n(trap '' TERM; sh -c '{tell}; exec sleep 1000') &\nwait"
    for timeout in longer(0.5):
        _, run = await bench.carry_out(body, text=f"train-{timeout:g}", timeout=timeout)
        assert (run.phase, run.failure) == (RunPhase.FAILED, COMMAND)
        assert f"was ended after its timeout of {timeout:g} s" in reason(run)
        if bench.begun.exists():
            break
    assert bench.begun.exists()
    assert not bench.alive()


async def test_a_command_may_end_itself_in_peace_when_its_time_is_over(bench: Bench) -> None:
    body = (
        "trap 'echo saved > \"$MODEL_DIR/checkpoint\"; exit 0' TERM\n"
        f": > {bench.gate}\nwhile true; do sleep 0.05; done"
    )
    async with bench.engine(grace=30) as engine:
        for timeout in longer(0.5):
            name = f"train-{timeout:g}"
            spec, run = await bench.carry_out(body, engine, text=name, timeout=timeout)
            assert run.phase is RunPhase.FAILED
            if bench.gate.exists():
                break
    assert (bench.artifact(spec) / "checkpoint").read_text() == "saved\n"
    assert not (bench.artifact(spec) / "completed.json").exists()


@pytest.mark.parametrize("code", [0, 1])
async def test_a_daemonised_process_does_not_outlive_its_command(bench: Bench, code: int) -> None:
    daemonise = (
        "import os, sys, time\n"
        "if os.fork(): os.wait(); sys.exit()\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.closerange(0, 256)\n"
        f"os.open({str(bench.life)!r}, os.O_RDWR)\n"
        f"open({str(bench.begun)!r}, 'w').close()\n"
        "time.sleep(1000)\n"
    )
    wait = f"until test -e {bench.begun}; do sleep 0.01; done"
    body = script(f"env -i python3 daemonise.py\n{wait}\nexit {code}")
    _, run = await bench.carry_out({"run.sh": body, "daemonise.py": daemonise})
    assert run.phase is (RunPhase.FAILED if code else RunPhase.SUCCEEDED), run.reason
    assert bench.begun.exists()
    assert not bench.alive()


async def test_what_is_printed_last_in_the_background_is_in_the_log(bench: Bench) -> None:
    spec, _ = await bench.carry_out("(sleep 0.2; echo late) &\necho early")
    assert bench.log(spec) == "early\nlate\n"


@pytest.mark.parametrize(
    ("files", "command", "said"),
    [
        ({"run.sh": "exit 0\n"}, "run.sh", "run.sh has no execute permission (chmod +x)"),
        ({"other": ""}, f"echo {'a' * 300}", "neither a file in the working directory"),
        ({"run.sh": "#!/no/such/shell\n"}, "run.sh", 'names "/no/such/shell", which is not there'),
    ],
)
async def test_a_command_that_cannot_start_fails_once_and_says_why(
    bench: Bench, files: dict[str, str], command: str, said: str
) -> None:
    _, run = await bench.carry_out(files, command=(command,), retries=3)
    assert (run.phase, run.failure) == (RunPhase.FAILED, COMMAND)
    assert said in reason(run)
    assert run.attempts == 0


async def test_a_program_is_found_on_path_and_gets_its_arguments(bench: Bench) -> None:
    spec = await bench.succeed(
        {"data.txt": "hello\n"}, command=("sh", "-c", 'cat data.txt "$1"', "x", "data.txt")
    )
    assert bench.log(spec) == "hello\nhello\n"


async def test_a_base_that_is_gone_is_not_the_commands_fault(bench: Bench) -> None:
    _, run = await bench.carry_out(
        "true", base=Mounted(key_of("b"), f"{(bench.folder / 'gone').as_uri()}/")
    )
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
    assert "the base is gone or damaged" in reason(run)


async def test_metrics_that_are_ignored_are_told_of_the_artifact(bench: Bench) -> None:
    spec, run = await bench.carry_out(
        'echo \'{"accuracy": "high", "steps": 44650}\' > "$MODEL_DIR/metrics.json"'
    )
    assert run.phase is RunPhase.SUCCEEDED, run.reason
    told = 'metrics.json: 1 of 2 values are ignored: "accuracy" is a string'
    assert run.result is not None
    assert (run.result.metrics, run.result.warnings) == (
        {"steps": 44650},
        (ResultWarning("MetricsIgnored", told),),
    )
    assert told in bench.log(spec)


async def test_an_artifact_without_a_file_is_told(bench: Bench) -> None:
    _, run = await bench.carry_out('mkdir "$MODEL_DIR/folder"')
    assert run.phase is RunPhase.SUCCEEDED, run.reason
    assert run.result is not None
    assert [warning.reason for warning in run.result.warnings] == ["ArtifactEmpty"]


async def test_a_link_out_of_the_artifact_fails_the_command(bench: Bench) -> None:
    spec, run = await bench.carry_out('ln -s /etc/passwd "$MODEL_DIR/weights"')
    assert (run.phase, run.failure) == (RunPhase.FAILED, COMMAND)
    assert 'the symbolic link "weights" leads out of the artifact' in reason(run)
    assert not (bench.artifact(spec) / "completed.json").exists()


@pytest.mark.parametrize(
    "instead",
    ["", 'echo > "$MODEL_DIR"', 'ln -s "$SCRATCH_DIR" "$MODEL_DIR"'],
    ids=["nothing", "a file", "a link"],
)
async def test_a_command_that_removes_its_directory_leaves_no_artifact_and_is_to_blame(
    bench: Bench, instead: str
) -> None:
    async with bench.engine() as engine:
        image = await bench.image(
            engine, {"run.sh": script(f'rm -r "$MODEL_DIR"\n{instead}\nexit "$PARAM_CODE"')}
        )
        for code, said in ((0, "that MODEL_DIR names is not there any more"), (3, "exit code 3")):
            spec = bench.spec(image, f"train{code}", params={"code": code}, retries=1)
            run = await bench.complete(engine, spec)
            assert (run.phase, run.failure) == (RunPhase.FAILED, COMMAND), run.reason
            assert said in reason(run)
        again = bench.spec(
            image, "train3", command=("true",), execution_hash=ExecutionHash("1" * 40)
        )
        assert (await bench.complete(engine, again)).phase is RunPhase.SUCCEEDED
    assert bench.marker(again)["files"] == []


@pytest.mark.parametrize("name", ["completed.json", "logs"])
async def test_what_a_command_puts_in_the_place_of_a_reserved_name_is_cleared_away(
    bench: Bench, name: str
) -> None:
    other = "mkdir" if name == "completed.json" else "touch"
    body = f"if mkdir ../once; then rm -rf {name}; {other} {name}; exit 1; fi"
    async with bench.engine() as engine:
        spec, run = await bench.carry_out(f'cd "$MODEL_DIR"; {body}', engine, retries=1)
        assert (run.phase, run.failure) == (RunPhase.SUCCEEDED, None), run.reason
    assert bench.marker(spec)["files"] == []


async def test_a_marker_that_the_command_wrote_itself_is_none(bench: Bench) -> None:
    async with bench.engine() as engine:
        image = await bench.image(
            engine,
            {"run.sh": script('cp "$PARAMS_FILE" "$MODEL_DIR/completed.json"; exit 1')},
        )
        spec = bench.spec(image)
        forged = {"version": 1, "key": spec.key, "files": []}
        spec = bench.spec(image, params=forged)
        assert (await bench.complete(engine, spec)).phase is RunPhase.FAILED
        again = bench.spec(image, params=forged, execution_hash=ExecutionHash("1" * 40))
        run = await bench.complete(engine, again)
    assert run.phase is RunPhase.FAILED
    assert run.attempts == 2


async def test_a_complete_artifact_is_read_only(bench: Bench) -> None:
    spec = await bench.succeed('mkdir "$MODEL_DIR/d"; echo > "$MODEL_DIR/d/f"')
    artifact = bench.artifact(spec)
    assert [p for p in (artifact, *artifact.rglob("*")) if p.stat().st_mode & 0o222] == []


async def test_the_supervisor_waits_for_nobody_when_the_daemon_is_away(bench: Bench) -> None:
    async with bench.engine() as engine:
        spec = await bench.begin(f'{bench.wait}; test "$ATTEMPT" = 2', engine, retries=1)
    bench.gate.touch()
    await until((bench.artifact(spec) / "completed.json").exists)
    async with bench.engine() as engine:
        run = await bench.ended(engine, spec.name)
    assert (run.phase, run.attempts) == (RunPhase.SUCCEEDED, 2)
