"""``spec.training.matrix``: a training for each combination of params.

The combinations are the product of the lists in ``params``, in their order, without those that
have all values of an entry of ``exclude``, and then the entries of ``include``. Each stands for the
params of the section with its own values in their place. Two values are the same where their keys
are: 1 and 1.0 are.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import Field

from reconciler.manifests import patterns
from reconciler.manifests.effects import Effect
from reconciler.manifests.fields import Section
from reconciler.manifests.messages import did_you_mean
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import JSON

#: Combinations of one matrix, and those of its lists before ``exclude``.
MOST_COMBINATIONS, LARGEST_PRODUCT = 256, 1024
#: Params of a matrix, and entries of ``exclude``.
MOST_NAMES, MOST_EXCLUDED = 20, 256

#: The values of one combination, by the name of the param.
Combination = Mapping[str, JSON]
_Entry = Annotated[dict[str, Any], Field(min_length=1, max_length=MOST_NAMES)]


class BestSection(Section):
    """The choice of the combination whose artifact the object has."""

    metric: Annotated[
        str,
        Effect.KEY,
        Field(pattern=patterns.METRIC, description="A metric of the trainings."),
    ]
    goal: Annotated[Literal["maximize", "minimize"], Effect.KEY]


class MatrixSection(Section):
    """A training per combination of params, at most 256."""

    params: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1, max_length=MOST_COMBINATIONS)]],
        Effect.KEY,
        Field(
            default_factory=dict,
            max_length=MOST_NAMES,
            description="Values of each param; every combination of them is trained.",
        ),
    ]
    include: Annotated[
        list[_Entry],
        Effect.KEY,
        Field(
            default_factory=list,
            max_length=MOST_COMBINATIONS,
            description="More combinations, as they are written.",
        ),
    ]
    exclude: Annotated[
        list[_Entry],
        Effect.KEY,
        Field(
            default_factory=list,
            max_length=MOST_EXCLUDED,
            description="Combinations of params that are left out: those with all these values.",
        ),
    ]
    best: Annotated[
        BestSection | None,
        Effect.KEY,
        Field(
            description="Which artifact is the object's: the one with the best metric, of equal "
            "ones that with the smallest key. Default: none is, and nothing can be made from it.",
        ),
    ] = None

    def combinations(self) -> tuple[Combination, ...]:
        """Return the combinations, in the order of the manifest."""
        return tuple(_combinations(self.params, self.include, self.exclude))


def _combinations(
    params: Mapping[str, Sequence[JSON]],
    include: Sequence[Combination],
    exclude: Sequence[Combination],
) -> Iterator[Combination]:
    left_out = [_texts(entry).items() for entry in exclude]
    lists = [[(value, _text(value)) for value in values] for values in params.values()]
    for pairs in product(*lists) if lists else ():
        texts = {name: text for name, (_, text) in zip(params, pairs, strict=True)}
        if not any(entry <= texts.items() for entry in left_out):
            yield {name: value for name, (value, _) in zip(params, pairs, strict=True)}
    yield from include


def _text(value: JSON) -> bytes:
    return rfc8785.dumps(value)


def _texts(values: Combination) -> dict[str, bytes]:
    return {name: _text(value) for name, value in values.items()}


Finding = tuple[Path, str]


def check_matrix(matrix: Mapping[str, JSON], params: Combination, path: Path) -> Iterator[Finding]:
    """Find errors beyond the types of the fields.

    The values can be written as JSON. ``params`` are those of the section. Values of a wrong type
    are skipped.
    """
    lists, include, exclude = matrix.get("params"), matrix.get("include"), matrix.get("exclude")
    values = {name: each for name, each in _pairs(lists) if isinstance(each, list)}
    included, excluded = _entries(include), _entries(exclude)
    sizes = [(lists, len(values)), (include, len(included)), (exclude, len(excluded))]
    if any(size < _size(given) for given, size in sizes) or not all(values.values()):
        return  # a value has the wrong type
    size = math.prod(map(len, values.values())) if values else 0
    if size > LARGEST_PRODUCT or len(excluded) > MOST_EXCLUDED:
        if size > LARGEST_PRODUCT:
            message = f"{size:,} combinations; {LARGEST_PRODUCT:,} are the most before exclude"
            yield (*path, "params"), message
        return
    yield from _repeated(values, (*path, "params"))
    yield from _useless(values, excluded, (*path, "exclude"))
    found = list(_combinations(values, [each for _, each in included], [e for _, e in excluded]))
    if not found:
        yield path, "it has no combination"
    elif len(found) > MOST_COMBINATIONS:
        yield path, f"expected at most {MOST_COMBINATIONS} combinations, found {len(found)}"
    else:
        yield from _twice(found[: len(found) - len(included)], included, params, path)


def _pairs(value: JSON) -> Iterator[tuple[str, JSON]]:
    yield from value.items() if isinstance(value, dict) else ()


def _size(value: JSON) -> int:
    """Count the members of a value; a scalar has one, null none."""
    return len(value) if isinstance(value, (list, dict)) else int(value is not None)


def _entries(value: JSON) -> list[tuple[int, dict[str, JSON]]]:
    items = enumerate(value) if isinstance(value, list) else ()
    return [(number, each) for number, each in items if isinstance(each, dict)]


def _repeated(values: Mapping[str, Sequence[JSON]], path: Path) -> Iterator[Finding]:
    for name, each in values.items():
        known: set[bytes] = set()
        for number, value in enumerate(each):
            text = _text(value)
            if text in known:
                yield (*path, name, number), "this value is there already"
            known.add(text)


def _twice(
    listed: Sequence[Combination],
    included: Sequence[tuple[int, Combination]],
    params: Combination,
    path: Path,
) -> Iterator[Finding]:
    """Find entries of ``include`` that stand for what is there already."""
    common = _texts(params)

    def whole(each: Combination) -> frozenset[tuple[str, bytes]]:
        return frozenset({**common, **_texts(each)}.items())

    known = set(map(whole, listed)) if included else set()
    for number, each in included:
        if whole(each) in known:
            yield (*path, "include", number), "this combination is there already"
        known.add(whole(each))


def _useless(
    values: Mapping[str, Sequence[JSON]],
    excluded: Sequence[tuple[int, Combination]],
    path: Path,
) -> Iterator[Finding]:
    """Find entries of ``exclude`` that leave nothing out."""
    known = {name: {_text(value) for value in each} for name, each in values.items()}
    for number, entry in excluded:
        for name, value in entry.items():
            if name not in known:
                near = did_you_mean(name, list(known))
                yield (*path, number, name), f"matrix.params has no such param{near}"
            elif _text(value) not in known[name]:
                yield (*path, number, name), f"matrix.params.{name:.80} has no such value"
