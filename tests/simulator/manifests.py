"""The manifests that users of a world push, and what decides their artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from reconciler.planner import RELEASE_FILE
from tests.simulator.site import LAB
from tests.soak.repository import IMAGE, Manifest, Repository, cluster_manifests

#: What decides an artifact, as text: equal ones have one key, and others another.
Recipe = str
#: The lines of gates, which a metric of ``quality`` may pass or not.
GATES = (
    ("accuracy >= 0.3",),
    ("accuracy >= 0.6",),
    ("accuracy >= 0.3", "accuracy >= current.accuracy"),
)
_LINE = ">= "
#: The object that is promoted, and the one whose artifact it has then.
PROMOTED, PROMOTED_FROM = "live", "tested"


def manifests() -> list[Manifest]:
    """Those of a cluster, with sweeps, gates, and what is made from their artifacts."""
    train, image = ("training",), {"image": {"ref": IMAGE}}
    return [
        *(replace(each, gpus=int(each.name in ("base1", "m3"))) for each in cluster_manifests()),
        Manifest(PROMOTED_FROM, image, train, quality=5, require=GATES[0], test=0, gpus=1),
        Manifest("judged", image, train, quality=5, require=GATES[1]),
        Manifest("swept", image, train, quality=1, matrix=(1, 2), namespace=LAB),
        Manifest("m5", {}, train, base="tested"),
        Manifest("m6", {}, train, base="judged"),
        Manifest("m7", {}, train, base="swept", gpus=1, namespace=LAB),
        Manifest(PROMOTED, {}, (), base=PROMOTED_FROM),
    ]


def accuracy(quality: int, lr: int = 0) -> float:
    """The metric of a training."""
    return (10 * quality + lr) / 100


def tested(measured: float, test: int) -> float:
    """The metric of an evaluation, by that of its artifact."""
    return round(measured - test / 100, 4)


@dataclass
class Files(Repository):
    """The manifest repository at its tip, with the files that are no manifests."""

    @classmethod
    def begin(cls) -> Files:
        return cls.of(manifests(), "/ledger")

    def changes(self) -> list[tuple[int, Callable[[Random], str]]]:
        return [
            *super().changes(),
            (4, self._quality),
            (2, self._gate),
            (1, self._matrix),
            (1, self._gpus),
            (1, self._all),
            (9, self._mend),
        ]

    @property
    def released(self) -> frozenset[str]:
        """The lines that release holds."""
        return frozenset(self.other.get(RELEASE_FILE, "").split())

    def release(self, holds: Iterator[str], kept: Container[str]) -> None:
        """Add lines that release holds; of those that are there, keep some."""
        before = (line for line in self.other.get(RELEASE_FILE, "").split() if line in kept)
        lines = dict.fromkeys((*before, *holds))
        self.other[RELEASE_FILE] = "".join(f"{line}\n" for line in lines)

    def end(self, token: str, number: int) -> None:
        """Ask for everything once more, so that how it came to be no longer matters.

        What was accepted before stays so, and what had been pinned may be gone: so what has a gate
        is made anew.
        """
        self.ask_for_everything(token)
        self._tidy()
        for name, each in self.objects.items():
            found = replace(each, accept="", pin="", gpus=min(each.gpus, 1))
            if each.require:
                plain = tuple(line for line in each.require if "current" not in line)
                found = replace(found, require=plain, epochs=number)
            self.objects[name] = found

    def _of(self, chance: Random, has: Callable[[Manifest], object], **fields: object) -> str:
        names = [name for name, each in self.objects.items() if has(each)]
        return self._set(chance, *names, **fields)

    def _quality(self, chance: Random) -> str:
        return self._of(chance, lambda o: o.quality is not None, quality=chance.randrange(10))

    def _gate(self, chance: Random) -> str:
        if chance.random() < 0.5:
            return self._of(chance, lambda o: o.test is not None, test=chance.randrange(3))
        return self._of(chance, lambda o: o.require, require=chance.choice(GATES))

    def _matrix(self, chance: Random) -> str:
        values = tuple(sorted(chance.sample(range(1, 6), chance.randrange(1, 4))))
        return self._of(chance, lambda o: o.matrix, matrix=values)

    def _gpus(self, chance: Random) -> str:
        return self._of(chance, lambda o: o.gpus, gpus=chance.choice((1, 1, 3)))

    def _all(self, chance: Random) -> str:
        """Change what everything is made of, as a careless edit does."""
        epochs = chance.randrange(5)
        for name, each in self.objects.items():
            self.objects[name] = replace(each, epochs=epochs)
        return f"everything epochs={epochs}"

    def _mend(self, _: Random) -> str:
        for name, each in self.objects.items():
            self.objects[name] = replace(each, broken=None, present=True, pin="")
        self._tidy()
        return "mend everything"

    def _tidy(self) -> None:
        """Remove what is no manifest, and may not be readable."""
        self.other = {name: text for name, text in self.other.items() if name == RELEASE_FILE}


@dataclass(frozen=True)
class Head:
    """One commit: its objects in their last valid form, and the versions of the code.

    ``wrong`` are the objects whose manifest is not valid: a daemon knows an earlier form of these,
    but not which. ``released`` are the lines of its release file.
    ``certain``: each file is a valid manifest. ``whole``: it is what all objects need, too, as none
    is missing and none asks for an artifact that may be gone.
    """

    commit: str
    objects: Mapping[str, Manifest]
    code: Mapping[str, int]
    source: int
    certain: bool = True
    whole: bool = True
    wrong: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    _recipes: dict[str, tuple[Recipe, ...]] = field(default_factory=dict, compare=False)

    def of(self, title: str) -> Manifest | None:
        """The object of a name."""
        return next((each for each in self.objects.values() if each.title == title), None)

    def inputs(self, title: str) -> str:
        """Everything that decides the runs of an object."""
        found = self.of(title)
        if found is None:
            return ""
        git = found.source.get("git", {})
        version = self.source if git.get("url", ".") != "." else self.code
        upstream = [self.inputs(self._title(name)) for name in (found.base, found.dataset) if name]
        return json.dumps([repr(found), version if git else 0, upstream])

    def _title(self, name: str) -> str:
        return self.objects[name].title if name in self.objects else name

    # -- artifacts -----------------------------------------------------------------------------

    def recipes(self, name: str) -> tuple[Recipe, ...]:
        """What the tasks of an object make, the artifact of the object last.

        Nothing where that is not known, as the best of a sweep is before its end; the metrics that
        its trainings will have are.
        """
        if name not in self._recipes:
            self._recipes[name] = tuple(self._made(name))
        return self._recipes[name]

    def _made(self, name: str) -> Iterator[Recipe]:
        each = self.objects.get(name)
        if each is None or self._follows(each):
            return
        own = self._own(each)
        if "load" in each.tasks:
            yield json.dumps(["load", *own])
        if "training" not in each.tasks:
            return
        inputs = [self.final(other) for other in (each.dataset, each.base) if other]
        if each.pin:
            inputs[-1] = each.pin
        if None in inputs:
            return
        best = max(each.matrix, default=0)
        for lr in (*(lr for lr in each.matrix if lr != best), best):
            yield json.dumps(["train", *own, inputs, lr])

    def training(self, name: str, lr: int) -> Recipe | None:
        """What one training of an object makes."""
        return next(
            (r for r in self.recipes(name) if r.startswith('["train"') and json.loads(r)[-1] == lr),
            None,
        )

    def load(self, name: str) -> Recipe | None:
        return next((r for r in self.recipes(name) if r.startswith('["load"')), None)

    def final(self, name: str) -> Recipe | None:
        """What an object's own artifact is made of."""
        each = self.objects.get(name)
        if each is None:
            return None
        if not each.tasks:
            return each.pin or self.final(each.base)
        made = self.recipes(name)
        return (
            made[-1] if made and ("training" not in each.tasks or "train" in made[-1][:8]) else None
        )

    def _own(self, each: Manifest) -> list[object]:
        params = (each.epochs, each.seconds, each.fail, each.quality)
        path = str(each.source.get("git", {}).get("path", "")).removeprefix("src/")
        return [each.name, params, self.code.get(path, 0)]

    def _follows(self, each: Manifest) -> bool:
        git = each.source.get("git")
        return git is not None and git["url"] != "."

    def wanted(self) -> Iterator[Recipe]:
        """Everything that the manifests ask for, or that it is made of."""
        for name, each in self.objects.items():
            yield from self.recipes(name)
            if each.pin:
                yield each.pin

    # -- gates ---------------------------------------------------------------------------------

    def passes(self, name: str, key: str, own: float | None, by_test: Mapping[int, float]) -> bool:
        """Return whether an object's gate may have accepted an artifact.

        ``own`` is its metric, ``by_test`` has those of its evaluations. Lines that compare with the
        accepted artifact count as passed.
        """
        each = self.objects.get(name)
        if each is None or not each.require or (each.accept and key.startswith(each.accept)):
            return True
        found = own if each.test is None else by_test.get(each.test)
        if found is None:
            return False
        return all(
            "current" in line or found >= float(line.split(_LINE)[1]) for line in each.require
        )
