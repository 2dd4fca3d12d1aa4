"""Progress of local runs: PROGRESS_FILE, reports by HTTP, and attempts that stall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.engine import Curves, FailureClass, Progress, RunPhase, read_curves
from reconciler.engines.local.progress import AttemptProgress, pause_after, read_progress
from reconciler.reasons import ReasonCode
from tests.engines.local.bench import Bench, reason, script, until
from tests.patience import longer

REPORT = 'printf \'%s\' "$1" > "$PROGRESS_FILE.new"; mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"'
#: What the SDK of Kubeflow Trainer sends, by the standard library alone.
POST = """#!/usr/bin/env python3
import json, os, sys, urllib.request
url, token = (os.environ[f"KUBEFLOW_TRAINER_SERVER_{name}"] for name in ("URL", "TOKEN"))
bearer = sys.argv[2] if len(sys.argv) > 2 else open(token).read()
headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
body = json.dumps({"trainerStatus": json.loads(sys.argv[1])}).encode()
request = urllib.request.Request(url, body, headers, method="POST")
try:
    print(urllib.request.urlopen(request, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def curves_of(bench: Bench, name: str, attempt: int = 1) -> Curves:
    (folder,) = bench.bucket.glob(f"{name}/*/logs")
    with (folder / f"progress-{attempt}.jsonl").open("rb") as file:
        found = read_curves(file)
    assert found is not None
    return found


async def test_the_last_report_and_the_curves_are_kept(bench: Bench) -> None:
    spec, run = await bench.carry_out(
        f'report() {{ {REPORT}; }}\nreport \'{{"step": 1, "metrics": {{"loss": 2}}}}\'\n'
        'report \'{"progressPercentage": 100, "step": 2, "metrics": {"loss": 1}}\'\n'
        'rm -rf "$MODEL_DIR/logs"; echo model > "$MODEL_DIR/model"; mkdir "$MODEL_DIR/logs"'
    )
    assert run.phase is RunPhase.SUCCEEDED, reason(run)
    found = curves_of(bench, "train")
    assert found.metrics["loss"][-1].value == 1
    assert found.percentage[-1].value == 100
    assert "logs/progress-1.jsonl" not in str(bench.marker(spec)["files"])


async def test_progress_is_there_while_the_command_runs(bench: Bench) -> None:
    async with bench.engine() as engine:
        first = '{"progressPercentage": 25, "estimatedRemainingSeconds": 90, "metrics": {"l": 2}}'
        image = await bench.image(
            engine,
            {"run.sh": script(f"report() {{ {REPORT}; }}\nreport '{first}'\n{bench.wait}")},
        )
        spec = bench.spec(image)
        await engine.create(spec)
        file = bench.root / "runs" / spec.name / "progress.json"
        await until(lambda: read_progress(file) is not None)
        found = read_progress(file)
        bench.gate.touch()
        await bench.ended(engine, spec.name)
    assert isinstance(found, Progress)
    assert (found.attempt, found.percentage, found.metrics) == (1, 25, {"l": 2})
    assert (found.remaining, found.dropped) == (90, 0)


@pytest.mark.parametrize(
    "make",
    [
        'ln -s /dev/zero "$PROGRESS_FILE"',
        'mkfifo "$PROGRESS_FILE"',
        'mkdir "$PROGRESS_FILE"',
        'head -c 100000 /dev/zero > "$PROGRESS_FILE"',
        'echo "{" > "$PROGRESS_FILE"',
    ],
)
async def test_a_progress_file_that_is_none_is_no_error(bench: Bench, make: str) -> None:
    spec, run = await bench.carry_out(f'{make}\necho model > "$MODEL_DIR/model"')
    assert run.phase is RunPhase.SUCCEEDED, reason(run)
    found = read_progress(bench.root / "runs" / spec.name / "progress.json")
    assert found is None or found.dropped >= 1


async def test_reports_by_http_are_taken_with_the_token_of_the_run(bench: Bench) -> None:
    wrong = '"$1" wrong'
    report = '{"progressPercentage": 7, "metrics": [{"name": "loss", "value": "0.5"}]}'
    async with bench.engine() as engine:
        body = f"./post.py '{report}' wrong\n./post.py '{report}'\n"
        image = await bench.image(engine, {"run.sh": script(body), "post.py": POST})
        spec = bench.spec(image)
        run = await bench.complete(engine, spec)
    assert run.phase is RunPhase.SUCCEEDED, (reason(run), wrong)
    assert bench.log(spec).split()[:2] == ["401", "200"]
    found = curves_of(bench, "train")
    assert [point.value for point in found.metrics["loss"]] == [0.5]
    assert [point.value for point in found.percentage] == [7]


async def test_a_command_that_does_nothing_for_so_long_has_stalled(bench: Bench) -> None:
    for stall in longer(0.3):
        name = f"train-{stall:g}"
        spec, run = await bench.carry_out("echo begun\nexec sleep 1000", text=name, stall=stall)
        assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.COMMAND)
        assert run.reason is not None
        assert run.reason.code is ReasonCode.STALLED
        if "begun" in bench.log(spec):
            break
    text = f"run.sh was ended, as it neither printed nor reported progress for {stall:g} s"
    assert reason(run) == f"{text}: begun"
    assert text in bench.log(spec)


async def test_output_begins_the_time_anew(bench: Bench) -> None:
    for stall in longer(1.0):
        # Longer than the bound in all, but no pause of it is.
        body = f"for n in 1 2 3; do sleep {stall * 0.4}; echo printed; done\n"
        body += 'echo model > "$MODEL_DIR/model"'
        _, run = await bench.carry_out(body, text=f"train-{stall:g}", stall=stall)
        if run.phase is RunPhase.SUCCEEDED:
            break
    assert run.phase is RunPhase.SUCCEEDED, reason(run)


def test_a_change_of_a_ranks_file_and_a_usable_report_are_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.engines.local.progress._LONGEST", 0.0)
    files = [tmp_path / "0", tmp_path / "1"]
    progress = AttemptProgress(
        attempt=1, files=files, newest=tmp_path / "newest", curves=tmp_path / "curves"
    )
    assert not progress.poll()
    for file in files:
        file.write_text('{"step": 1}')
        assert progress.poll()
        assert not progress.poll()
    progress.take(b'{"step": 2}')
    assert progress.poll()
    progress.take(b"{")
    assert not progress.poll()


def test_looks_are_frequent_at_first_and_twice_a_second_in_the_end() -> None:
    pauses = [pause_after(seconds) for seconds in (0, 1, 5, 10, 3600)]
    assert pauses == [0.02, 0.05, 0.25, 0.5, 0.5]


async def test_a_training_of_a_second_that_prints_nothing_has_a_curve(bench: Bench) -> None:
    _, run = await bench.carry_out(
        f"report() {{ {REPORT}; }}\nfor step in $(seq 40); do\n"
        'report "{\\"step\\": $step, \\"metrics\\": {\\"loss\\": $step}}"\nsleep 0.025\ndone\n'
        'echo model > "$MODEL_DIR/model"'
    )
    assert run.phase is RunPhase.SUCCEEDED, reason(run)
    assert len(curves_of(bench, "train").metrics["loss"]) >= 5


async def test_each_attempt_has_curves_of_its_own(bench: Bench) -> None:
    await bench.carry_out(
        'echo "{\\"step\\": $ATTEMPT, \\"metrics\\": {\\"n\\": $ATTEMPT}}" > "$PROGRESS_FILE"\n'
        'test "$ATTEMPT" = 2; echo model > "$MODEL_DIR/model"',
        retries=1,
    )
    for attempt in (1, 2):
        (point,) = curves_of(bench, "train", attempt).metrics["n"]
        assert point.value == attempt


async def test_the_state_of_a_run_without_a_report_has_no_progress(bench: Bench) -> None:
    spec, _ = await bench.carry_out('echo model > "$MODEL_DIR/model"')
    assert not (bench.root / "runs" / spec.name / "progress.json").exists()
    assert not list((bench.artifact(spec) / "logs").glob("progress-*"))
    assert json.loads((bench.artifact(spec) / "completed.json").read_text())["attempt"] == 1
