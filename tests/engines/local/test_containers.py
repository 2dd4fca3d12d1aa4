"""Runs in containers of a real Docker and a real Podman, each started by the tests."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import EngineError, FailureClass, ImageGoneError, Run, RunPhase, RunSpec
from reconciler.engines.local import Containers, LocalEngine
from reconciler.engines.local.fsync import remove_tree
from reconciler.reasons import ReasonCode
from reconciler.types import Kind, Mounted, Resources, SecretKey, TaskKind
from tests.cluster.ports import free
from tests.container_daemons import BASE, ContainerDaemon
from tests.engines.local.bench import Bench, key_of, reason, running, script, until
from tests.engines.local.test_lifecycle import supervisor

pytestmark = pytest.mark.containers

PRINTING = script('cat /line > "$MODEL_DIR/w"')
DOCKERFILE = f"FROM {BASE}\nWORKDIR /app\nCOPY . .\n"


@pytest.fixture
def yard(
    containers: ContainerDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Yard]:
    for name, value in containers.environment.items():
        monkeypatch.setenv(name, value)
    yard = Yard(tmp_path, containers)
    yield yard
    assert yard.containers() == []


class Yard(Bench):
    """A bench whose runs are containers."""

    def __init__(self, folder: Path, daemon: ContainerDaemon) -> None:
        super().__init__(folder)
        self.daemon = daemon
        #: What a command that waits for the gate does: the gate is in its bucket.
        self.wait = 'while ! test -e "$MODEL_DIR/gate"; do sleep 0.02; done'

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncIterator[LocalEngine]:
        network = options.pop("network", "host")
        containers = Containers(
            program="podman" if self.daemon.name == "podman" else "docker", network=network
        )
        async with super().engine(containers=containers, **options) as engine:
            yield engine

    async def begin(self, body: str, engine: LocalEngine, **fields: Any) -> RunSpec:
        """A run of a shell script in the base image, once it runs."""
        spec = self.shell(body, **fields)
        await engine.create(spec)
        await until(lambda: engine.runs()[spec.name].phase is RunPhase.RUNNING)
        return spec

    async def carry_out(
        self, body: str | Mapping[str, str], engine: LocalEngine | None = None, **fields: Any
    ) -> tuple[RunSpec, Run]:
        """Run a shell script in the base image, or run.sh of an image of these files."""
        if engine is None or not isinstance(body, str):
            return await super().carry_out(body, engine, **fields)
        spec = self.shell(body, **fields)
        return spec, await self.complete(engine, spec)

    def shell(self, body: str, **fields: Any) -> RunSpec:
        return self.spec(BASE, command=("sh", "-c", f"set -eu\n{body}"), **fields)

    def source(self, files: Mapping[str, str]) -> Path:
        return super().source({"Dockerfile": DOCKERFILE, **files})

    def containers(self) -> list[str]:
        """The names of containers of this root."""
        label = f"label=substratus.ai/root={self.root}"
        shown = self.daemon.call("ps", "--all", "--filter", label, "--format", "{{.Names}}")
        return shown.split()

    def open_gate(self, spec: RunSpec) -> None:
        (self.artifact(spec) / "gate").touch()


async def prints(yard: Yard, spec: RunSpec, text: str) -> None:
    """Wait until the log of a run's first attempt has a text."""
    log = yard.artifact(spec) / "logs" / "attempt-1.log"
    await until(lambda: log.exists() and text in log.read_text(), text)


async def test_a_training_gets_its_mounts_and_its_environment(yard: Yard) -> None:
    base, data = yard.folder / "base, of all", yard.folder / "data"
    for folder in (base, data):
        folder.mkdir()
        (folder / "here").touch()
    yard.secrets.joinpath("hf").mkdir(parents=True)
    yard.secrets.joinpath("hf", "token").write_text("line one\nline two\n")
    spec = await yard.succeed(
        {
            "Dockerfile": f"{DOCKERFILE}USER 1234\n",  # which is not the one that it runs as
            "run.sh": script(
                'env > "$MODEL_DIR/env"; id -u > "$MODEL_DIR/user"; pwd > "$MODEL_DIR/folder"\n'
                'test "$TOKEN" = "$(printf "line one\\nline two")"\n'
                'cat "$PARAMS_FILE" > "$MODEL_DIR/params"; touch "$SCRATCH_DIR/a"\n'
                "test -e /base-model/saved/here -a -e /data/here; echo '{\"loss\": 0.5}' > "
                '"$MODEL_DIR/metrics.json"; ! touch "$DATA_DIR/b" || exit 3; echo printed'
            ),
        },
        params={"epochs": 3, "name": "a b"},
        env={"MODE": "x, y"},
        secret_env={"TOKEN": SecretKey("hf", "token")},
        base=Mounted(key_of("base"), f"{base.as_uri()}/", external=True),
        dataset=Mounted(key_of("data"), f"{data.as_uri()}/", external=True),
    )
    artifact = yard.artifact(spec)
    lines = (artifact / "env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    expected = {
        "MODEL_DIR": "/model/saved",
        "BASE_MODEL_DIR": "/base-model/saved",
        "DATA_DIR": "/data",
        "PARAMS_FILE": "/params/params.json",
        "SCRATCH_DIR": "/scratch",
        "PARAM_EPOCHS": "3",
        "PARAM_NAME": "a b",
        "MODE": "x, y",
        "ATTEMPT": "1",
        "NODE_RANK": "0",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert (artifact / "folder").read_text() == "/app\n"
    assert (artifact / "user").read_text() == f"{os.geteuid()}\n"
    assert (artifact / "params").read_text() == '{"epochs":3,"name":"a b"}'
    assert "printed" in yard.log(spec)
    assert yard.marker(spec)["metrics"] == {"loss": 0.5}
    assert [*data.iterdir()] == [data / "here"]
    remove_tree(artifact)


async def test_a_dataset_is_loaded_and_an_evaluation_writes_its_result(yard: Yard) -> None:
    async with yard.engine() as engine:
        loaded = await yard.succeed(
            'echo 1 > "$DATA_DIR/rows"',
            engine,
            task=TaskKind.LOAD,
            output_kind=Kind.DATASET,
        )
        assert (yard.artifact(loaded) / "rows").read_text() == "1\n"
        model = yard.folder / "model"
        model.mkdir()
        judged = await yard.succeed(
            'echo "{}" > "$RESULT_DIR/metrics.json"; ! touch "$MODEL_DIR/forged"',
            engine,
            text="judge",
            task=TaskKind.EVALUATE,
            artifact=Mounted(key_of("model"), f"{model.as_uri()}/", external=True),
        )
    assert (yard.artifact(judged) / "metrics.json").exists()
    assert [*model.iterdir()] == []


async def test_an_image_that_is_named_is_pulled_and_runs_without_a_build(yard: Yard) -> None:
    reference = yard.daemon.registry.reference
    async with yard.engine() as engine:
        assert engine.capacity.containers
        spec = yard.spec(reference, command=("sh", "-c", 'echo "$1" > "$MODEL_DIR/w"', "sh", "a b"))
        run = await yard.complete(engine, spec)
    assert run.phase is RunPhase.SUCCEEDED, reason(run)
    assert (yard.artifact(spec) / "w").read_text() == "a b\n"


async def test_an_image_that_cannot_be_pulled_is_not_the_commands_fault(yard: Yard) -> None:
    async with yard.engine() as engine:
        spec = yard.spec("127.0.0.1:9/none:1", command=("true",))
        run = await yard.complete(engine, spec)
    assert run.failure is FailureClass.INFRASTRUCTURE
    assert run.reason is not None
    assert run.reason.code is ReasonCode.IMAGE_PULL_FAILED
    assert run.attempts == 0


async def test_limits_are_enforced_and_memory_has_its_reason(yard: Yard) -> None:
    limits = Resources(cpu=0.5, memory=64 << 20, shm=1 << 20)
    async with yard.engine() as engine:
        spec, run = await yard.carry_out(
            'df /dev/shm | tail -1 > "$MODEL_DIR/shm"\n'
            "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max "
            '> "$MODEL_DIR/cpu" 2>/dev/null || true\n'
            # A pipe's reader keeps all of a line that does not end.
            "tr '\\0' x < /dev/zero | grep x",
            engine,
            resources=limits,
        )
    artifact = yard.artifact(spec)
    assert (artifact / "shm").read_text().split()[1] == "1024"
    assert (artifact / "cpu").read_text().split()[0] == "50000"
    assert run.reason is not None
    assert (run.reason.code, run.failure) == (ReasonCode.OUT_OF_MEMORY, FailureClass.COMMAND)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, ReasonCode.COMMAND_NOT_FOUND),
        ({"run.sh": "echo\n"}, ReasonCode.COMMAND_NOT_EXECUTABLE),
        ({"run.sh": "#!/bin/sh\r\necho\r\n"}, ReasonCode.WINDOWS_LINE_ENDS),
        ({"run.sh": "#!/usr/bin/none\n"}, ReasonCode.INTERPRETER_MISSING),
    ],
)
async def test_a_command_that_cannot_start_says_why(
    yard: Yard, files: dict[str, str], code: ReasonCode
) -> None:
    _, run = await yard.carry_out(files)
    assert run.reason is not None
    assert (run.reason.code, run.failure, run.attempts) == (code, FailureClass.COMMAND, 0)


async def test_a_command_that_fails_is_retried_and_finds_its_files(yard: Yard) -> None:
    spec, run = await yard.carry_out(
        'echo "$ATTEMPT" >> "$MODEL_DIR/attempts"; test "$ATTEMPT" = 2', retries=1
    )
    assert (run.phase, run.attempts) == (RunPhase.SUCCEEDED, 2)
    assert (yard.artifact(spec) / "attempts").read_text() == "1\n2\n"


async def test_a_failure_names_the_command_and_its_last_line(yard: Yard) -> None:
    _, run = await yard.carry_out("echo a last word >&2; exit 3")
    assert reason(run) == "sh ended with exit code 3: a last word"
    assert run.failure is FailureClass.COMMAND


async def test_a_timeout_and_a_stall_end_the_container(yard: Yard) -> None:
    async with yard.engine() as engine:
        _, late = await yard.carry_out("sleep 60", engine, timeout=1.0)
        _, silent = await yard.carry_out("sleep 60", engine, text="silent", stall=1.0)
    for run, code in ((late, ReasonCode.DEADLINE_EXCEEDED), (silent, ReasonCode.STALLED)):
        assert run.reason is not None
        assert run.reason.code is code


async def test_progress_is_read_from_the_file_and_by_http(yard: Yard) -> None:
    body = '{"trainerStatus": {"progressPercentage": 40, "metrics": []}}'
    async with yard.engine() as engine:
        spec = await yard.begin(
            'echo \'{"step": 1, "steps": 4}\' > "$PROGRESS_FILE.new"\n'
            'mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"\n'
            f"wget -q -O - --post-data='{body}' "
            '--header="Authorization: Bearer $(cat $KUBEFLOW_TRAINER_SERVER_TOKEN)" '
            '"$KUBEFLOW_TRAINER_SERVER_URL"\n' + yard.wait,
            engine,
        )
        newest = yard.root / "runs" / spec.name / "progress.json"
        await prints(yard, spec, "OK")
        await until(lambda: newest.exists() and '"step":1' in newest.read_text())
        await until(lambda: "40" in newest.read_text())
        yard.open_gate(spec)
        assert (await yard.ended(engine, spec.name)).phase is RunPhase.SUCCEEDED


async def test_a_cancelled_run_leaves_no_container(yard: Yard) -> None:
    async with yard.engine() as engine:
        spec = await yard.begin("trap 'echo ended; exit 1' TERM\necho on\n" + yard.wait, engine)
        await prints(yard, spec, "on\n")
        assert len(yard.containers()) == 1
        await engine.delete(spec.name)
        await until(lambda: spec.name not in engine.runs())
        assert yard.containers() == []
    assert "ended" in yard.log(spec)


async def test_a_run_goes_on_without_the_daemon_and_is_adopted(yard: Yard) -> None:
    async with yard.engine() as engine:
        spec = await yard.begin("echo on\n" + yard.wait, engine)
        await prints(yard, spec, "on\n")
    assert len(yard.containers()) == 1
    async with yard.engine() as engine:
        assert engine.runs()[spec.name].phase is RunPhase.RUNNING
        yard.open_gate(spec)
        assert (await yard.ended(engine, spec.name)).phase is RunPhase.SUCCEEDED
    assert yard.log(spec).count("on\n") == 1


async def test_the_container_of_a_killed_supervisor_is_ended_before_another(yard: Yard) -> None:
    port = free(1)[0]
    body = (
        f'if nc 127.0.0.1 {port} < /dev/null; then touch "$MODEL_DIR/overlap"; fi\n'
        f'echo "on $ATTEMPT"\ntest "$ATTEMPT" = 2 || nc -l -p {port}'
    )
    async with yard.engine() as engine:
        spec = await yard.begin(body, engine)
        await prints(yard, spec, "on 1\n")
        killed = supervisor(yard.root, spec.name)
        os.kill(killed.pid, signal.SIGKILL)
        run = await yard.ended(engine, spec.name)
        assert run.reason is not None
        assert (run.reason.code, run.failure) == (
            ReasonCode.SUPERVISOR_LOST,
            FailureClass.INFRASTRUCTURE,
        )
        assert yard.containers() == []
        await engine.delete(spec.name)
        await until(lambda: spec.name not in engine.runs())
        again = await yard.complete(engine, spec)
    assert (again.phase, again.attempts) == (RunPhase.SUCCEEDED, 2)
    assert not (yard.artifact(spec) / "overlap").exists()


async def test_daemon_and_supervisor_killed_together_leave_nothing_that_goes_on(
    yard: Yard,
) -> None:
    async with yard.engine() as engine:
        spec = await yard.begin("echo on\nsleep 600", engine)
        await prints(yard, spec, "on\n")
        process = supervisor(yard.root, spec.name)
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: not running(process.pid))
    async with yard.engine() as engine:
        run = await yard.ended(engine, spec.name)
        assert run.failure is FailureClass.INFRASTRUCTURE
        assert yard.containers() == []


async def test_a_container_that_no_run_knows_is_removed_at_the_start(yard: Yard) -> None:
    labels = [f"--label=substratus.ai/root={yard.root}", "--label=substratus.ai/run=r-gone"]
    yard.daemon.call("create", *labels, BASE, "true")
    assert len(yard.containers()) == 1
    async with yard.engine():
        assert yard.containers() == []


async def test_a_container_of_the_key_that_no_lock_has_noted_is_ended_before_another(
    yard: Yard,
) -> None:
    async with yard.engine() as engine:
        spec = yard.shell("true")
        labels = [
            f"--label=substratus.ai/root={yard.root}",
            f"--label=substratus.ai/key={spec.key}",
        ]
        yard.daemon.call("create", *labels, BASE, "true")
        assert len(yard.containers()) == 1
        assert (await yard.complete(engine, spec)).phase is RunPhase.SUCCEEDED
        assert yard.containers() == []


async def test_ranks_meet_on_the_machines_network(yard: Yard) -> None:
    spec = await yard.succeed(
        'if [ "$NODE_RANK" = 0 ]; then nc -l -p "$MASTER_PORT" > "$MODEL_DIR/said"\n'
        # From a file: nc ends with the other side, if its own input comes later.
        'else echo "rank $NODE_RANK" > /tmp/said\n'
        'until nc "$MASTER_ADDR" "$MASTER_PORT" < /tmp/said; do sleep 0.1; done\n'
        "fi",
        resources=Resources(nodes=2),
    )
    assert (yard.artifact(spec) / "said").read_text() == "rank 1\n"


async def test_without_a_network_a_run_has_none_and_no_reports(yard: Yard) -> None:
    async with yard.engine(network="none") as engine:
        spec = await yard.succeed(
            'ls /sys/class/net > "$MODEL_DIR/net"; env > "$MODEL_DIR/env"', engine
        )
        artifact = yard.artifact(spec)
        assert (artifact / "net").read_text().split() == ["lo"]
        assert "KUBEFLOW" not in (artifact / "env").read_text()


async def test_a_build_without_a_dockerfile_says_what_to_add(yard: Yard) -> None:
    source = yard.source({})
    (source / "Dockerfile").unlink()
    async with yard.engine() as engine:
        run = await yard.complete(engine, yard.build_spec(source))
    assert run.failure is FailureClass.COMMAND
    assert "the source has no Dockerfile" in reason(run)


async def test_a_dockerfile_that_leads_out_of_the_source_is_not_read(yard: Yard) -> None:
    secret = yard.folder / "secret"
    secret.write_text("HUSH hush\n")
    source = yard.source({})
    (source / "Dockerfile").unlink()
    (source / "Dockerfile").symlink_to(secret)
    async with yard.engine() as engine:
        run = await yard.complete(engine, yard.build_spec(source))
    assert "leads out of the source" in reason(run)
    assert "hush" not in reason(run).lower()


async def test_a_failed_build_says_its_last_lines(yard: Yard) -> None:
    source = yard.source({"Dockerfile": DOCKERFILE + "RUN echo so it is && exit 4\n"})
    async with yard.engine() as engine:
        run = await yard.complete(engine, yard.build_spec(source))
    assert run.reason is not None
    assert (run.reason.code, run.failure) == (ReasonCode.BUILD_FAILED, FailureClass.COMMAND)
    assert "so it is" in reason(run)


async def test_an_image_that_was_removed_is_built_again(yard: Yard) -> None:
    async with yard.engine() as engine:
        source = yard.source({"run.sh": script("true")})
        build = yard.build_spec(source)
        image = image_of(await yard.complete(engine, build))
        [tag] = [name for name in yard.daemon.images() if name.endswith(build.key)]
        yard.daemon.call("image", "rm", "--force", tag)
        run = await yard.complete(engine, yard.spec(image))
        assert run.reason is not None
        assert (run.reason.code, run.failure) == (
            ReasonCode.IMAGE_GONE,
            FailureClass.INFRASTRUCTURE,
        )
        with pytest.raises(ImageGoneError):
            await engine.create(yard.spec(image, "again"))
        await engine.delete(build.name)
        await until(lambda: build.name not in engine.runs())
        await yard.complete(engine, build)
        again = await yard.complete(engine, yard.spec(image, "again"))
    assert again.phase is RunPhase.SUCCEEDED, reason(again)


async def test_the_image_of_a_forgotten_source_is_collected(yard: Yard) -> None:
    async with yard.engine(keep=timedelta(0)) as engine:
        build = yard.build_spec(yard.source({"run.sh": script("true")}))
        used = yard.build_spec(yard.source({"run.sh": script("echo used")}))
        for spec in (build, used):
            await yard.complete(engine, spec)
            await engine.delete(spec.name)
        await until(lambda: not engine.runs())
        collected = await engine.collect(frozenset({used.key}))
    assert [item.name for item in collected] == [build.key]
    tags = [name.rpartition(":")[2] for name in yard.daemon.images()]
    assert used.key in tags
    assert build.key not in tags


async def test_a_rerun_of_a_build_runs_every_line_again(yard: Yard) -> None:
    """The program's own cache has the layers of the same source by its lines alone."""
    line = "RUN cat /proc/sys/kernel/random/uuid > /line\n"
    source = yard.source({"Dockerfile": f"FROM {BASE}\n{line}COPY . .\n", "run.sh": PRINTING})
    async with yard.engine() as engine:

        async def made(rerun: str, text: str) -> str:
            build = yard.build_spec(source, key=key_of(text))
            assert build.build is not None
            build = replace(build, build=replace(build.build, rerun=rerun))
            image = image_of(await yard.complete(engine, build))
            spec = yard.spec(image, text, command=("/run.sh",))
            run = await yard.complete(engine, spec)
            assert run.phase is RunPhase.SUCCEEDED, reason(run)
            return (yard.artifact(spec) / "w").read_text()

        first = await made("", "a")
        assert await made("", "b") == first
        assert await made("2", "c") != first


async def test_an_image_of_processes_is_built_anew_for_containers(yard: Yard) -> None:
    source = yard.source({"run.sh": script('echo "$MODEL_DIR" > "$MODEL_DIR/w"')})
    build = yard.build_spec(source)
    async with Bench.engine(yard) as engine:
        image = image_of(await yard.complete(engine, build))
    async with yard.engine() as engine:
        with pytest.raises(EngineError):
            await engine.create(yard.spec(image))
        await engine.delete(build.name)
        await until(lambda: build.name not in engine.runs())
        await yard.complete(engine, build)
        spec = yard.spec(image)
        run = await yard.complete(engine, spec)
    assert run.phase is RunPhase.SUCCEEDED, reason(run)
    assert (yard.artifact(spec) / "w").read_text() == "/model/saved\n"


async def test_a_container_that_somebody_removes_is_not_the_commands_fault(yard: Yard) -> None:
    async with yard.engine() as engine:
        spec = await yard.begin("echo on\nsleep 600", engine)
        await prints(yard, spec, "on\n")
        [container] = yard.containers()
        # Podman shows what it removes as killed for a moment; a kill is the command's failure.
        process = supervisor(yard.root, spec.name)
        process.suspend()
        try:
            await asyncio.to_thread(yard.daemon.call, "rm", "--force", container)
        finally:
            process.resume()
        run = await yard.ended(engine, spec.name)
    assert run.failure is FailureClass.INFRASTRUCTURE


def image_of(run: Run) -> str:
    assert run.result is not None, reason(run)
    assert run.result.image is not None
    return run.result.image
