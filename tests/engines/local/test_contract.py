"""What a command finds in its environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.local.mounts import can_protect
from reconciler.reasons import ReasonCode
from reconciler.types import Gpu, Kind, Mounted, Resources, SecretKey, TaskKind
from tests.engines.local.bench import Bench, key_of, reason, script, until

DUMP = (
    'env -0 > "${MODEL_DIR:-$DATA_DIR}/env"; cat "$PARAMS_FILE" > "${MODEL_DIR:-$DATA_DIR}/params"'
)


def environment(artifact: Path) -> dict[str, str]:
    data = (artifact / "env").read_text()
    return dict(entry.split("=", 1) for entry in data.split("\0") if entry)


async def test_a_finetune_gets_its_directories_params_and_attempt(bench: Bench) -> None:
    base, data = bench.folder / "base", bench.folder / "data"
    base.mkdir()
    data.mkdir()
    params = {"learning-rate": 0.5, "epochs": 3, "fast": True, "name": "a b", "layers": [1, 2]}
    spec = await bench.succeed(
        DUMP,
        params=params,
        env={"MODE": "x y"},
        base=Mounted(key_of("base"), f"{base.as_uri()}/", external=True),
        dataset=Mounted(key_of("data"), f"{data.as_uri()}/", external=True),
    )
    artifact = bench.artifact(spec)
    found = environment(artifact)
    expected = {
        "MODEL_DIR": str(artifact),
        "BASE_MODEL_DIR": str(base),
        "DATA_DIR": str(data),
        "ATTEMPT": "1",
        "PARAM_LEARNING_RATE": "0.5",
        "PARAM_EPOCHS": "3",
        "PARAM_FAST": "true",
        "PARAM_NAME": "a b",
        "MODE": "x y",
        "CUDA_VISIBLE_DEVICES": "",
        "NNODES": "1",
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert json.loads((artifact / "params").read_text()) == params
    assert "PARAM_LAYERS" not in found


async def test_a_datasets_load_writes_data_and_has_no_model(bench: Bench) -> None:
    spec = await bench.succeed(DUMP, task=TaskKind.LOAD, output_kind=Kind.DATASET)
    found = environment(bench.artifact(spec))
    assert found["DATA_DIR"] == str(bench.artifact(spec))
    assert "MODEL_DIR" not in found


async def test_an_evaluation_reads_the_artifact_and_writes_its_result(bench: Bench) -> None:
    model = bench.folder / "model"
    model.mkdir()
    spec = await bench.succeed(
        'env -0 > "$RESULT_DIR/env"; echo \'{"accuracy": 0.9}\' > "$RESULT_DIR/metrics.json"',
        task=TaskKind.EVALUATE,
        artifact=Mounted(key_of("model"), f"{model.as_uri()}/", external=True),
    )
    result = bench.artifact(spec)
    found = environment(result)
    assert (found["MODEL_DIR"], found["RESULT_DIR"]) == (str(model), str(result))
    assert json.loads((result / "completed.json").read_text())["metrics"] == {"accuracy": 0.9}
    assert list(model.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
async def test_an_evaluation_cannot_write_the_artifact(bench: Bench) -> None:
    model = bench.folder / "model"
    model.mkdir()
    if not can_protect(bench.folder):
        pytest.skip("this machine cannot mount read-only")
    _, run = await bench.carry_out(
        'touch "$MODEL_DIR/forged"',
        task=TaskKind.EVALUATE,
        artifact=Mounted(key_of("model"), f"{model.as_uri()}/", external=True),
    )
    assert run.phase is RunPhase.FAILED
    assert list(model.iterdir()) == []


async def test_an_evaluation_of_a_lost_artifact_blames_the_artifact(bench: Bench) -> None:
    gone = Mounted(key_of("model"), f"{(bench.folder / 'gone').as_uri()}/")
    _, run = await bench.carry_out("true", task=TaskKind.EVALUATE, artifact=gone)
    assert run.failure is FailureClass.INFRASTRUCTURE
    assert run.reason is not None
    assert run.reason.code is ReasonCode.ARTIFACT_LOST
    assert run.reason.arguments["input"] == "model"


async def test_scratch_home_and_tmp_are_its_own_and_gone_afterwards(bench: Bench) -> None:
    spec = await bench.succeed(DUMP + '\ntouch "$SCRATCH_DIR/a" "$HOME/b" "$TMPDIR/c"')
    found = environment(bench.artifact(spec))
    folders = [Path(found[name]) for name in ("SCRATCH_DIR", "HOME", "TMPDIR")]
    assert len(set(folders)) == 3
    assert all(folder.is_relative_to(bench.root / "scratch") for folder in folders)
    assert not any(folder.exists() for folder in folders)


async def test_of_the_daemons_environment_only_a_few_variables_arrive(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "no")
    monkeypatch.setenv("RECONCILER_TLS__CAFILE", "no")
    spec, _ = await bench.carry_out(DUMP)
    found = environment(bench.artifact(spec))
    assert found["HTTPS_PROXY"] == "http://proxy:1"
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert "no" not in found.values()


async def test_a_secret_arrives_and_is_nowhere_on_disk(bench: Bench) -> None:
    (bench.secrets / "hf").mkdir(parents=True)
    (bench.secrets / "hf" / "token").write_text("hf_s3cr3tvalue\n")
    async with bench.engine() as engine:
        spec, run = await bench.carry_out(
            'test "$HF_TOKEN" = hf_s3cr3tvalue; echo wrong token $HF_TOKEN; exit 3',
            engine,
            secret_env={"HF_TOKEN": SecretKey("hf", "token")},
        )
        assert "exit code 3" in reason(run)
        assert "wrong token ***" in reason(run)
        (bench.artifact(spec) / "logs" / "attempt-1.log").unlink()  # the command's own doing
        kept = [p for p in bench.folder.rglob("*") if p.is_file() and "source" not in p.parts[-2]]
    holding = [p for p in kept if b"hf_s3cr3tvalue" in p.read_bytes()]
    assert [p for p in holding if p.name not in ("token", "run.sh")] == []


async def test_a_missing_secret_names_its_file_and_starts_nothing(bench: Bench) -> None:
    spec, run = await bench.carry_out("true", secret_env={"HF_TOKEN": SecretKey("hf", "token")})
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
    assert str(bench.secrets / "hf" / "token") in reason(run)
    assert run.attempts == 0
    assert not list((bench.artifact(spec) / "logs").iterdir())


async def test_what_a_run_reads_cannot_be_written(bench: Bench) -> None:
    if not can_protect(bench.folder) and os.geteuid() == 0:
        pytest.skip("root, and this machine allows no mount namespace")
    async with bench.engine() as engine:
        base, _ = await bench.carry_out('echo weights > "$MODEL_DIR/w"', engine, text="base")
        spec, run = await bench.carry_out(
            """
            cat "$BASE_MODEL_DIR/w" > "$MODEL_DIR/copy"
            ! sh -c 'echo bad > "$BASE_MODEL_DIR/w"'
            ! touch "$BASE_MODEL_DIR/new" "$DATA_DIR/new"
            ! touch here
            """,
            engine,
            text="tuned",
            base=Mounted(key_of("base"), str(base.output)),
            dataset=Mounted(key_of("base"), str(base.output)),
        )
        assert run.phase is RunPhase.SUCCEEDED, bench.log(spec)
        assert (bench.artifact(base) / "w").read_text() == "weights\n"
        assert (bench.artifact(spec) / "copy").read_text() == "weights\n"


async def test_every_rank_is_told_its_number_and_rank_0_writes_the_artifact(bench: Bench) -> None:
    spec = await bench.succeed(
        'echo "$NODE_RANK" > "$MODEL_DIR/rank"\n'
        'echo "$NNODES $NODE_RANK $MASTER_ADDR $MASTER_PORT"',
        resources=Resources(nodes=2),
    )
    assert (bench.artifact(spec) / "rank").read_text() == "0\n"
    lines = sorted(bench.log(spec).splitlines())
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        "[rank 0] 2 0 127.0.0.1",
        "[rank 1] 2 1 127.0.0.1",
    ]
    assert len({line.rsplit(" ", 1)[1] for line in lines}) == 1


async def test_one_failing_rank_ends_the_attempt_of_all(bench: Bench) -> None:
    _, run = await bench.carry_out(
        'test "$NODE_RANK" = 0 && exec sleep 1000\nexit 5', resources=Resources(nodes=2)
    )
    assert run.phase is RunPhase.FAILED
    assert "(rank 1) ended with exit code 5" in reason(run)


async def test_gpus_are_granted_exclusively(bench: Bench) -> None:
    async with bench.engine(gpus=2) as engine:
        assert engine.capacity.gpus == 2
        image = await bench.image(
            engine, {"run.sh": script(f'echo "$CUDA_VISIBLE_DEVICES"\n{bench.wait}')}
        )
        specs = [
            bench.spec(image, f"gpu{n}", resources=Resources(gpu=Gpu("", 1))) for n in range(3)
        ]
        for spec in specs:
            await engine.create(spec)
        await until(lambda: reason(engine.runs()[specs[2].name]) == "waiting for 1 of 2 GPUs")
        await until(lambda: all(engine.runs()[s.name].phase is RunPhase.RUNNING for s in specs[:2]))
        bench.gate.touch()
        for spec in specs:
            assert (await bench.ended(engine, spec.name)).phase is RunPhase.SUCCEEDED
    seen = [bench.log(spec).strip() for spec in specs]
    assert sorted(seen[:2]) == ["0", "1"]
    assert seen[2] in ("0", "1")
