"""The params in an entry of a history. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from reconciler.types import JSON

#: Characters of JSON that the params of an entry may have, and those that tell of others.
LARGEST_PARAMS, _OTHERS = 4096, 80


def kept_params(params: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return params within `LARGEST_PARAMS`, with digests in place of the largest values.

    Each version of an object would add as much to its file. A digest tells equal values from
    others; the value itself is in the manifest at the entry's commit.
    """
    kept = dict(params)
    texts = {name: _json(value) for name, value in params.items()}
    total = sum(len(_json(name)) + len(text) for name, text in texts.items())
    for name in sorted(texts, key=lambda each: len(texts[each]), reverse=True):
        if total <= LARGEST_PARAMS:
            return kept
        shown = f"({len(texts[name])} characters, sha256 {_digest(texts[name])})"
        if len(shown) < len(texts[name]):
            kept[name] = shown
            total += len(_json(shown)) - len(texts[name])
    if total <= LARGEST_PARAMS:
        return kept
    # Very many small ones: the first of them, and what tells the others.
    found: dict[str, JSON] = {}
    room = LARGEST_PARAMS - _OTHERS
    for name, value in kept.items():
        room -= len(_json(name)) + len(_json(value))
        if room < 0:
            break
        found[name] = value
    others = len(params) - len(found)
    return {**found, "…": f"({others} more, sha256 of all {_digest(_json(dict(params)))})"}


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
