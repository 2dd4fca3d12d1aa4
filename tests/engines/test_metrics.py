"""Both engines keep the same numbers of metrics.json, and say the same of the rest."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from reconciler.engine import metrics_of
from reconciler.engines.local.metrics import read_metrics
from reconciler.types import Metrics
from tests.engines.kubernetes.container import BUSYBOX, need_busybox

MANY = {f"step-{n}": n for n in range(103)}
WHOLE: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b"not json", "is not JSON"),
    (b'{"a": 1,}', "is not JSON"),
    (b'{"a": 01}', "is not JSON"),
    (b'{"a": 1} x', "is not JSON"),
    (b'{"a": 1', "is not JSON"),
    (b'{"\xff": 1}', "is not JSON"),
    (b'{"\\x": 1}', "is not JSON"),
    (b'{"a": NaNa}', "is not JSON"),
    ('{"a": 1}'.encode("utf-16"), "is not JSON"),
    (b"[1]", 'is not an object such as {"accuracy": 0.97}'),
    (b"NaN", 'is not an object such as {"accuracy": 0.97}'),
]
PARTS: list[tuple[bytes, Metrics, str]] = [
    (b"{}", {}, ""),
    (b'\xef\xbb\xbf{"a": 1}', {"a": 1}, ""),
    (b'{"steps": 44650, "a": 0.99996}', {"steps": 44650, "a": 0.99996}, ""),
    (b'{"a": 1, "a": NaN}', {}, '1 of 1 values are ignored: "a" is NaN'),
    (b'{"a": NaN, "a": 1}', {"a": 1}, ""),
    (b'{"a": NaN, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is NaN'),
    (b'{"a": -Infinity, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is infinite'),
    (b'{"a": 1e999, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is infinite'),
    (b'{"a": 1%s, "b": 2}' % (b"0" * 400), {"b": 2}, '1 of 2 values are ignored: "a" is infinite'),
    (b'{"a": 1%s, "b": 2}' % (b"0" * 5000), {"b": 2}, '1 of 2 values are ignored: "a" is infinite'),
    (b'{"a": {"b": NaN}, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is an object'),
    (b'{"a": [1, 2], "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is a list'),
    (b'{"a": "2", "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is a string'),
    (b'{"a": true, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is a boolean'),
    (b'{"a": null, "b": 2}', {"b": 2}, '1 of 2 values are ignored: "a" is null'),
    (
        b'{"": 1, "b": 2}',
        {"b": 2},
        "1 of 2 values are ignored: a name is not of 1 to 100 printable characters",
    ),
    (
        b'{"a\\nb": 1, "b": 2}',
        {"b": 2},
        "1 of 2 values are ignored: a name is not of 1 to 100 printable characters",
    ),
    (
        b'{"%s": 1, "b": 2}' % (b"a" * 101),
        {"b": 2},
        "1 of 2 values are ignored: a name is not of 1 to 100 printable characters",
    ),
    (
        b'{"v": null, "w": null, "x": null, "y": null, "z": null, "b": 2}',
        {"b": 2},
        '5 of 6 values are ignored: "v" is null, "w" is null, "x" is null, and 2 more',
    ),
    (
        json.dumps(MANY).encode(),
        dict(list(MANY.items())[:100]),
        (
            '3 of 103 values are ignored: "step-100" is beyond the first 100, '
            '"step-101" is beyond the first 100, "step-102" is beyond the first 100'
        ),
    ),
    (
        json.dumps({"bad": None, **MANY}).encode(),
        dict(list(MANY.items())[:100]),
        (
            '4 of 104 values are ignored: "bad" is null, "step-100" is beyond the first 100, '
            '"step-101" is beyond the first 100, and 1 more'
        ),
    ),
    (b'{"\xc3\xa9\\"": NaN}', {}, '1 of 1 values are ignored: "\xe9"" is NaN'),
    (b'{"n": 9007199254740993}', {"n": 9007199254740992.0}, ""),
    (b'{"n": 9007199254740991}', {"n": 9007199254740991}, ""),
]


def cluster_metrics(folder: Path) -> tuple[Metrics, str | None]:
    """What the wrapper makes of the file."""
    script = resources.files("reconciler.engines.kubernetes") / "wrapper.awk"
    argv = [BUSYBOX, "awk", "-v", "mode=metrics", "-v", f"file={folder / 'metrics.json'}"]
    done = subprocess.run(
        [*argv, "-f", str(script)], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    kept, told = done.stdout.decode().splitlines()
    return metrics_of(json.loads(kept)), told or None


def same(found: Metrics, wanted: Metrics) -> bool:
    """Equal, also in type: 3 is not 3.0."""
    return list(map(repr, found.items())) == list(map(repr, wanted.items()))


@pytest.mark.parametrize(("content", "told"), WHOLE)
def test_a_file_that_holds_no_metrics_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    need_busybox()
    (tmp_path / "metrics.json").write_bytes(content)
    expected: tuple[Metrics, str] = ({}, f"metrics.json {told}")
    assert read_metrics(tmp_path) == expected
    assert cluster_metrics(tmp_path) == expected


@pytest.mark.parametrize(("content", "kept", "told"), PARTS)
def test_each_usable_number_is_kept_and_the_rest_is_told(
    tmp_path: Path, content: bytes, kept: Metrics, told: str
) -> None:
    need_busybox()
    (tmp_path / "metrics.json").write_bytes(content)
    for found, why in (read_metrics(tmp_path), cluster_metrics(tmp_path)):
        assert same(found, kept)
        assert why == (f"metrics.json: {told}" if told else None)


def test_without_the_file_there_are_no_metrics_and_nothing_is_told(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == ({}, None)


def test_what_is_no_file_or_too_large_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_bytes(b" " * 65537)
    assert read_metrics(tmp_path) == ({}, "metrics.json is larger than 65536 bytes")
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "metrics.json").mkdir()
    assert read_metrics(tmp_path) == ({}, "metrics.json is not a file")
