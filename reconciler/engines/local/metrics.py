"""The numbers that a command leaves in ``metrics.json``.

Each usable one is kept, up to the bound. The rest is named in a warning of the artifact, in the
same words as the wrapper's in a cluster (``wrapper.awk``).
"""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path

from reconciler.engine import LONGEST_METRIC, MOST_METRICS, is_metric_name, metric_of
from reconciler.types import JSON, Metrics

METRICS = "metrics.json"
_LIMIT = 64 << 10
#: Values that a warning names; others are counted.
_NAMED = 3
#: Digits of an integer that is read as one: no longer one fits into a double.
_MOST_DIGITS = 309


def read_metrics(directory: Path) -> tuple[Metrics, str | None]:
    """Read the command's metrics, and why some were ignored.

    Both are empty without ``metrics.json``.
    """
    path = directory / METRICS
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return {}, f"{METRICS} is not a file"
        if found.st_size > _LIMIT:
            return {}, f"{METRICS} is larger than {_LIMIT} bytes"
        # Editors of Windows put a byte order mark before the text.
        value: JSON = json.loads(path.read_bytes().decode("utf-8-sig"), parse_int=_integer)
    except FileNotFoundError:
        return {}, None
    except OSError as error:
        return {}, f"{METRICS} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return {}, f"{METRICS} is not JSON"
    if not isinstance(value, dict):
        return {}, f'{METRICS} is not an object such as {{"accuracy": 0.97}}'
    return _usable(value)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _usable(values: dict[str, JSON]) -> tuple[Metrics, str | None]:
    kept: dict[str, int | float] = {}
    ignored: list[str] = []
    for name, value in values.items():
        number = metric_of(value)
        if not is_metric_name(name):
            ignored.append(f"a name is not of 1 to {LONGEST_METRIC} printable characters")
        elif number is None:
            ignored.append(f'"{name}" is {_named(value)}')
        elif len(kept) == MOST_METRICS:
            ignored.append(f'"{name}" is beyond the first {MOST_METRICS}')
        else:
            kept[name] = number
    if not ignored:
        return kept, None
    named = ", ".join(ignored[:_NAMED])
    more = f", and {len(ignored) - _NAMED} more" if len(ignored) > _NAMED else ""
    return kept, f"{METRICS}: {len(ignored)} of {len(values)} values are ignored: {named}{more}"


def _named(value: JSON) -> str:
    """Name the kind of a value that is no finite number."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case float() if math.isnan(value):
            return "NaN"
    return "infinite"
