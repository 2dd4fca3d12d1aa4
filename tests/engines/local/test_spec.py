"""The order of a run on disk: golden, and the same when read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import RunSpec
from reconciler.engines.local.spec import (
    Allocation,
    SpecError,
    decode_spec,
    encode_spec,
    read_allocation,
    write_allocation,
)
from reconciler.signing import SigningFiles
from reconciler.types import (
    JSON,
    ExecutionHash,
    Gpu,
    Kind,
    Mounted,
    ObjectRef,
    RequestHash,
    Resources,
    SecretKey,
    TaskKey,
    TaskKind,
    Verify,
)
from tests.specs import build, train

GOLDEN = Path(__file__).parent / "golden"
CREATED = datetime(2026, 11, 23, 9, 5, 33, 120000, tzinfo=UTC)
FULL = train(
    resources=Resources(cpu=3.5, memory=16 << 30, disk=1, shm=1, gpu=Gpu("nvidia-l4", 2), nodes=2),
    profile="spot",
    queue="team",
    priority="high",
    service_account="trainer",
)


@pytest.mark.parametrize(("name", "spec"), [("train", FULL), ("build", build())])
def test_the_file_of_a_run_spec_keeps_its_form(name: str, spec: RunSpec) -> None:
    golden = json.loads((GOLDEN / f"spec-{name}.json").read_text())
    assert encode_spec(spec, CREATED) == golden
    assert decode_spec(golden) == (spec, CREATED)


@pytest.mark.parametrize(
    "damaged", [None, [], {}, {"version": 2}, {"version": 1}, {"version": 1, "created": "x"}]
)
def test_a_damaged_run_spec_is_refused(damaged: JSON) -> None:
    with pytest.raises(SpecError):
        decode_spec(damaged)


texts = st.text(max_size=8)
numbers = st.floats(0, 1e9, allow_nan=False)
maybe = st.none() | texts
mounts = st.none() | st.builds(Mounted, texts.map(TaskKey), texts)


@given(
    spec=st.builds(
        RunSpec,
        name=texts,
        task=st.sampled_from(TaskKind),
        key=texts.map(TaskKey),
        execution_hash=texts.map(ExecutionHash),
        request_hash=texts.map(RequestHash),
        namespace=texts,
        object=st.none() | st.builds(ObjectRef, st.sampled_from(Kind), texts, texts),
        image=maybe,
        command=st.lists(texts, max_size=3).map(tuple),
        params=st.dictionaries(
            texts, st.none() | st.booleans() | st.integers() | texts, max_size=3
        ),
        env=st.dictionaries(texts, texts, max_size=3),
        secret_env=st.dictionaries(texts, st.builds(SecretKey, texts, texts), max_size=3),
        resources=st.builds(
            Resources,
            cpu=st.none() | numbers,
            memory=st.none() | st.integers(0),
            gpu=st.none() | st.builds(Gpu, texts, st.integers(1)),
            nodes=st.integers(1, 9),
        ),
        timeout=numbers,
        retries=st.integers(0, 100),
        output=maybe,
        output_kind=st.sampled_from(Kind),
        base=mounts,
        dataset=mounts,
    )
)
def test_a_run_spec_is_read_as_it_was_written(spec: RunSpec) -> None:
    text = json.dumps(encode_spec(spec, CREATED))
    assert decode_spec(json.loads(text)) == (spec, CREATED)


def test_an_allocation_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "allocation.json"
    full = Allocation(
        gpus=("0", "GPU-1a"),
        secrets="/secrets",
        grace=10.0,
        retry_delay=1.0,
        verify={"file:///bucket": Verify.DIGESTS},
        signing=SigningFiles(key="/key.pem", trusted=("/former.pub",)),
    )
    for allocation in (full, Allocation(grace=0.3, retry_delay=0.01)):
        write_allocation(file, allocation)
        assert read_allocation(file) == allocation
    file.write_text('{"version": 2}')
    with pytest.raises(SpecError, match="expected 1, found 2"):
        read_allocation(file)


def test_the_innermost_bucket_says_how_an_artifact_is_verified() -> None:
    verify = {"file:///a": Verify.DIGESTS, "file:///a/b": Verify.SIZES}
    terms = Allocation(grace=1.0, retry_delay=1.0, verify=verify)
    found = [terms.verified(f"file:///{path}/key/") for path in ("a", "a/b", "ab", "a/bc")]
    assert found == [Verify.DIGESTS, Verify.SIZES, Verify.SIZES, Verify.DIGESTS]
