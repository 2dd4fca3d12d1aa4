"""Slots, cancelling, adoption, and what becomes of a run whose supervisor is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from reconciler.backoff import Backoff
from reconciler.engine import EngineError, FailureClass, RunPhase, Wanted
from reconciler.engines.local import LocalEngine, supervisors
from reconciler.engines.local import engine as engine_module
from reconciler.engines.local.environment import for_supervisor
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import ExecutionHash, Resources, TaskKind
from tests.engines.local.bench import Bench, export, key_of, reason, script, until


def supervisor(root: Path, name: str) -> psutil.Process:
    """The supervisor of a run, found by its arguments."""
    run = str(root / "runs" / name)
    found = [
        p
        for p in psutil.process_iter(["cmdline", "name"])
        if p.info["cmdline"]
        and p.info["cmdline"][-1] == run
        and not p.info["name"].startswith("run-")
    ]
    assert len(found) == 1, found
    return found[0]


def phase(engine: LocalEngine, name: str) -> RunPhase:
    return engine.runs()[name].phase


async def test_runs_wait_for_cpu_slots_in_order(bench: Bench) -> None:
    async with bench.engine(slots=2) as engine:
        image = await bench.image(engine, {"run.sh": script(bench.wait)})
        one = bench.spec(image, "one")
        big = bench.spec(image, "big", resources=Resources(cpu=64))
        small = bench.spec(image, "small")
        for spec in (one, big, small):
            await engine.create(spec)
        await until(lambda: phase(engine, one.name) is RunPhase.RUNNING)
        await until(lambda: reason(engine.runs()[big.name]) == "waiting for 2 of 2 cpu slots")
        await until(lambda: reason(engine.runs()[small.name]) == "waiting for 1 of 2 cpu slots")
        bench.gate.touch()
        ended = [await bench.ended(engine, spec.name) for spec in (one, big, small)]
    assert all(run.phase is RunPhase.SUCCEEDED for run in ended)
    starts = [run.started for run in ended if run.started]
    assert starts == sorted(starts)


async def test_deleting_a_running_run_ends_its_processes_and_keeps_its_directory(
    bench: Bench,
) -> None:
    async with bench.engine() as engine:
        body = f"trap '' TERM\n{bench.live}\n: > {bench.begun}\nwhile true; do sleep 0.05; done"
        spec = await bench.begin(body, engine)
        await until(bench.begun.exists)
        assert bench.alive()
        await engine.delete(spec.name)
        assert engine.runs()[spec.name].deleting
        assert engine.runs()[spec.name].live
        with pytest.raises(EngineError, match="still being ended"):
            await engine.create(spec)
        await until(lambda: spec.name not in engine.runs())
        assert not bench.alive()
        assert (bench.artifact(spec) / "logs" / "attempt-1.log").exists()
        assert not (bench.root / "runs" / spec.name).exists()
        await engine.delete(spec.name)


async def test_deleting_survives_the_daemon(bench: Bench) -> None:
    async with bench.engine() as engine:
        spec = await bench.begin(bench.wait, engine)
    # As if the daemon had been killed once the request was recorded.
    (bench.root / "runs" / spec.name / "cancel").touch()
    async with bench.engine() as engine:
        await until(lambda: spec.name not in engine.runs())
    assert not bench.gate.exists()


async def test_a_finished_run_is_forgotten_when_deleted_and_its_artifact_stays(
    bench: Bench,
) -> None:
    async with bench.engine() as engine:
        spec, run = await bench.carry_out("true", engine)
        assert run.phase is RunPhase.SUCCEEDED
        await engine.delete(spec.name)
        await until(lambda: spec.name not in engine.runs())
        assert bench.marker(spec)["key"] == spec.key
        found = await engine.recover(
            [
                Wanted(TaskKind.TRAIN, spec.key, spec.output),
                Wanted(TaskKind.TRAIN, key_of("other"), spec.output),
                Wanted(TaskKind.BUILD, key_of("no build"), None),
                Wanted(TaskKind.BUILD, key_of(f"build {bench.folder / 'source-0'}"), None),
            ]
        )
    assert found[spec.key].url == spec.output
    assert set(found) == {spec.key, key_of(f"build {bench.folder / 'source-0'}")}


async def test_a_run_in_progress_is_adopted_and_counts_against_the_slots(bench: Bench) -> None:
    async with bench.engine(slots=1) as engine:
        image = await bench.image(engine, {"run.sh": script(bench.wait)})
        first, second = bench.spec(image, "first"), bench.spec(image, "second")
        await engine.create(first)
        await until(lambda: phase(engine, first.name) is RunPhase.RUNNING)
    async with bench.engine(slots=1) as engine:
        assert phase(engine, first.name) is RunPhase.RUNNING
        await engine.create(first)
        await engine.create(second)
        await until(lambda: reason(engine.runs()[second.name]) == "waiting for 1 of 1 cpu slots")
        bench.gate.touch()
        runs = [await bench.ended(engine, spec.name) for spec in (first, second)]
    assert [(run.phase, run.attempts) for run in runs] == [(RunPhase.SUCCEEDED, 1)] * 2


async def test_a_run_that_ended_while_the_daemon_was_away_is_accounted_for(bench: Bench) -> None:
    async with bench.engine() as engine:
        spec = await bench.begin(bench.wait, engine)
    bench.gate.touch()
    await until((bench.artifact(spec) / "completed.json").exists)
    async with bench.engine() as engine:
        run = await bench.ended(engine, spec.name)
    assert (run.phase, run.attempts, run.result and run.result.url) == (
        RunPhase.SUCCEEDED,
        1,
        spec.output,
    )


async def test_a_lost_supervisor_fails_the_run_and_nothing_of_it_goes_on(bench: Bench) -> None:
    begun = bench.begun
    # The second process closes everything it inherited, the claim too, and leaves the session.
    escape = (
        "import os, time\n"
        "os.setsid()\n"
        "os.closerange(0, 256)\n"
        f"os.open({str(bench.life)!r}, os.O_RDWR)\n"
        f"open({str(begun)!r}, 'a').write('escaped\\n')\n"
        "time.sleep(1000)\n"
    )
    files = {
        "run.sh": script(
            f"python3 escape.py &\n{bench.live}\necho here >> {begun}\nexec sleep 1000"
        ),
        "escape.py": escape,
    }
    async with bench.engine() as engine:
        image = await bench.image(engine, files)
        spec = bench.spec(image, retries=5)
        await engine.create(spec)
        await until(lambda: begun.exists() and len(begun.read_text().split()) == 2)
        supervisor(bench.root, spec.name).send_signal(signal.SIGKILL)
        run = await bench.ended(engine, spec.name)
        assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
        assert "supervisor was lost" in reason(run)
        assert not bench.alive()
        # The next run of the key starts only now, as its second attempt.
        again = bench.spec(image, execution_hash=ExecutionHash("1" * 40), timeout=0.2)
        run = await bench.complete(engine, again)
    assert run.attempts == 2


async def test_two_runs_of_a_key_never_run_at_once(bench: Bench) -> None:
    body = 'mkdir "$MODEL_DIR/running" || exit 9\nsleep 0.2\nrmdir "$MODEL_DIR/running"\nexit 1'
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": script(body)})
        specs = [bench.spec(image, execution_hash=ExecutionHash(str(n) * 40)) for n in range(3)]
        for spec in specs:
            await engine.create(spec)
        runs = [await bench.ended(engine, spec.name) for spec in specs]
    assert [reason(run) for run in runs] == ["run.sh ended with exit code 1"] * 3
    assert sorted(run.attempts for run in runs) == [1, 2, 3]


async def test_term_to_the_supervisor_ends_the_command_and_blames_the_machine(
    bench: Bench,
) -> None:
    async with bench.engine() as engine:
        body = f"{bench.live}; : > {bench.begun}; exec sleep 1000"
        spec = await bench.begin(body, engine)
        await until(bench.begun.exists)
        supervisor(bench.root, spec.name).terminate()
        run = await bench.ended(engine, spec.name)
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
    assert "shutdown" in reason(run)
    assert not bench.alive()


async def test_a_root_has_one_daemon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.engines.local.engine._LOCK_PATIENCE", 0.0)
    async with bench.engine():
        with pytest.raises(EngineError, match="another daemon uses"):
            async with bench.engine():
                pass


async def test_a_root_of_another_version_is_refused(bench: Bench) -> None:
    bench.root.mkdir()
    (bench.root / "version").write_text("1\n")
    with pytest.raises(EngineError, match="another version"):
        async with bench.engine():
            pass


async def test_images_and_urls_of_other_places_are_refused(bench: Bench) -> None:
    async with bench.engine() as engine:
        for fields in (
            {"image": "registry/name@sha256:" + "0" * 64},
            {"image": (bench.folder / "elsewhere").as_uri()},
        ):
            with pytest.raises(EngineError):
                await engine.create(bench.spec(**fields))
        image = await bench.image(engine, {})
        with pytest.raises(EngineError, match="expected a file:// URL"):
            await engine.create(bench.spec(image, output="s3://bucket/x/"))
        with pytest.raises(EngineError, match="cannot be the name"):
            await engine.create(bench.spec(image, name="../../x"))
        assert len(engine.runs()) == 1


async def test_changed_is_called_for_every_phase(bench: Bench) -> None:
    phases: list[RunPhase] = []
    engine = LocalEngine(bench.root, slots=1, export=export, gpus=0, poll=60.0)

    def changed() -> None:
        phases.extend(run.phase for run in engine.runs().values() if run.task is TaskKind.TRAIN)

    await engine.start(changed)
    try:
        spec, _ = await bench.carry_out("sleep 0.3", engine)
    finally:
        await engine.stop()
    assert list(dict.fromkeys(phases)) == [
        RunPhase.PENDING,
        RunPhase.RUNNING,
        RunPhase.SUCCEEDED,
    ]
    assert bench.marker(spec)["key"] == spec.key


async def test_another_supervisor_of_a_run_does_nothing_while_it_runs_or_when_it_has_ended(
    bench: Bench,
) -> None:
    ran = bench.folder / "ran"
    async with bench.engine() as engine:
        spec = await bench.begin(f"echo x >> {ran}\n{bench.wait}\nexit 1", engine)
        await until(lambda: ran.exists() and ran.read_text())
        assert await supervise(bench, spec.name) == 0
        bench.gate.touch()
        ended = await bench.ended(engine, spec.name)
        assert await supervise(bench, spec.name) == 0
        assert engine.runs()[spec.name] == ended
    assert ran.read_text() == "x\n"


async def test_a_supervisor_does_not_start_what_has_no_allocation(bench: Bench) -> None:
    async with bench.engine(slots=1) as engine:
        image = await bench.image(engine, {"run.sh": script(bench.wait)})
        first, second = bench.spec(image, "first"), bench.spec(image, "second")
        for spec in (first, second):
            await engine.create(spec)
        await until(lambda: engine.runs()[second.name].reason)
        assert await supervise(bench, second.name) == 0
        assert phase(engine, second.name) is RunPhase.PENDING
        assert not bench.artifact(second).exists()
        bench.gate.touch()
        assert (await bench.ended(engine, second.name)).phase is RunPhase.SUCCEEDED


async def supervise(bench: Bench, name: str) -> int:
    """Start one more supervisor for a run and wait for it to go."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reconciler.engines.local.supervisor",
        str(bench.root / "runs" / name),
        env=for_supervisor(os.environ, Path(__file__).parents[3]),
    )
    return await process.wait()


async def test_a_run_whose_supervisors_all_end_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisors, "_MODULE", "no_such_module")
    monkeypatch.setattr(engine_module, "_RESPAWN", Backoff(first=0.01, longest=0.01))
    async with bench.engine() as engine:
        spec = bench.build_spec(bench.source({"run.sh": script("true")}))
        await engine.create(spec)

        def told() -> Reason:
            return engine.runs()[spec.name].reason or Reason.of(ReasonCode.UNKNOWN)

        await until(lambda: told().code is ReasonCode.ENGINE_UNAVAILABLE)
        assert "its supervisor has ended" in message(told())
        await engine.delete(spec.name)
