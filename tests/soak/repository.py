"""The manifests and code that a soak pushes, as values that chance changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Self

import msgspec

#: A key is said to have begun, and the artifact says what it is of: its key, code, params and base.
SCRIPT = """\
#!/bin/sh
set -eu
# Version {version}
read -r up _ < /proc/uptime
out="${{MODEL_DIR:-${{DATA_DIR:-}}}}"
echo "$up $SITE_NAME $out $ATTEMPT" >> "$SITE_LEDGER"
sleep "$PARAM_SECONDS"
test "$PARAM_FAIL" = false || {{ echo "told to fail" >&2; exit 3; }}
{{
  echo "key ${{out##*/}}"
  echo "code {version}"
  if [ -n "${{BASE_MODEL_DIR:-}}" ]; then sed 's/^/base /' "$BASE_MODEL_DIR/weights"; fi
}} > "$out/weights"
echo '{{"loss": 0.5}}' > "$out/metrics.json"
"""

IMAGE = f"registry.test/base@sha256:{'0' * 64}"
_BROKEN = ("spec: {", "kind: Modle", "spec: {source: {git: {url: ., path: nowhere}, image: {}}}")


@dataclass(frozen=True)
class Manifest:
    """One object; ``name`` is that of its file and source, ``shown`` its own after a rename.

    ``quality`` is what its metrics are of, ``matrix`` the values of a sweep, ``require`` the lines
    of its gate, ``test`` a param of the evaluation (None: without a command), ``pin`` the key that
    is asked for of its base, ``namespace`` another one than the default, and its folder.
    """

    name: str
    source: Mapping[str, Any]
    tasks: tuple[str, ...]
    kind: str = "Model"
    base: str = ""
    dataset: str = ""
    epochs: int = 0
    seconds: float = 0.2
    fail: bool = False
    timeout: int = 60
    gpus: int = 0
    suspend: bool = False
    token: str = ""
    quality: int | None = None
    matrix: tuple[int, ...] = ()
    require: tuple[str, ...] = ()
    test: int | None = None
    accept: str = ""
    pin: str = ""
    namespace: str = ""
    shown: str = ""
    broken: int | None = None
    present: bool = True

    @property
    def title(self) -> str:
        return self.shown or self.name

    @property
    def file(self) -> str:
        return f"{self.namespace}/{self.name}.yaml" if self.namespace else f"{self.name}.yaml"

    def text(self, ledger: str) -> str:
        """Its document, as JSON."""
        section = self._section(ledger)
        spec: dict[str, Any] = {"source": self.source}
        if self.base:
            pinned = {"key": self.pin} if self.pin else {}
            spec["source"] = {"model": {"name": self.base, **pinned}}
        for task in self.tasks:
            spec[task] = dict(section)
        if "training" in spec:
            begins = not self.base and "load" not in spec
            spec["training"]["mode"] = "Scratch" if begins else "Finetune"
            if self.dataset:
                spec["training"]["dataset"] = {"name": self.dataset}
            if self.matrix:
                spec["training"]["matrix"] = self._matrix()
        if not self.tasks:
            spec["load"] = {"command": []}
        if self.require:
            spec["evaluation"] = self._evaluation()
        if self.suspend:
            spec["suspend"] = True
        document = {"kind": self.kind, "metadata": self._metadata(), "spec": spec}
        text = msgspec.json.format(msgspec.json.encode(document), indent=1).decode()
        return text if self.broken is None else f"{_BROKEN[self.broken]}\n---\n{text[:-9]}"

    def asks(self, params: Mapping[str, Any]) -> bool:
        """Return whether these are the params of its tasks, but for those of a sweep."""
        asked = self._section("")["params"]
        return all(params.get(name) == value for name, value in asked.items())

    def _section(self, ledger: str) -> dict[str, Any]:
        section: dict[str, Any] = {
            "params": {"epochs": self.epochs, "seconds": str(self.seconds), "fail": self.fail},
            "env": {"SITE_LEDGER": ledger, "SITE_NAME": self.name},
            "timeout": f"{self.timeout}s",
        }
        if self.quality is not None:
            section["params"]["quality"] = self.quality
        if self.gpus:
            section["resources"] = {"gpu": {"count": self.gpus}}
        return section

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.title}
        if self.namespace:
            found["namespace"] = self.namespace
        if annotations := self._annotations():
            found["annotations"] = annotations
        return found

    def _matrix(self) -> dict[str, Any]:
        best = {"metric": "accuracy", "goal": "maximize"}
        return {"params": {"lr": list(self.matrix)}, "best": best}

    def _evaluation(self) -> dict[str, Any]:
        found: dict[str, Any] = {"require": list(self.require)}
        if self.test is not None:
            found |= {"command": ["evaluate.sh"], "params": {"test": self.test}}
        return found

    def _annotations(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.token or self.shown:
            found |= dict.fromkeys(("retry", "update"), self.token)
        if self.shown:
            found["formerly"] = self.name
        if self.accept:
            found["accept"] = self.accept
        return {f"substratus.ai/{name}": value for name, value in found.items()}


def _here(folder: str) -> dict[str, Any]:
    return {"git": {"url": ".", "path": f"src/{folder}"}}


def local_manifests() -> list[Manifest]:
    """Objects of every shape that the local engine runs, and some that wait or fail for ever."""
    train, other = ("training",), {"git": {"url": "../source.git"}}
    follow = {"git": {"url": "../source.git", "update": "Follow"}}
    return [
        Manifest("data", _here("data"), ("load",), kind="Dataset"),
        Manifest("base0", _here("base0"), train),
        Manifest("base1", _here("base1"), train, dataset="data"),
        Manifest("twin", _here("base0"), train),
        Manifest("tuned", _here("tuned"), ("load", "training")),
        Manifest("follow", follow, train),
        Manifest("pinned", other, train),
        Manifest("m0", {}, train, base="base0"),
        Manifest("m1", {}, train, base="base1", dataset="data"),
        Manifest("m2", {}, train, base="m0"),
        Manifest("m3", {}, train, base="tuned"),
        Manifest("m4", {}, train, base="pinned"),
        Manifest("prod", {}, (), base="m0"),
        Manifest("gpu1", _here("base0"), train, gpus=1, seconds=0.5),
        Manifest("gpu2", _here("base0"), train, gpus=2),
        Manifest("bad", _here("base1"), train, fail=True),
        Manifest("image", {"image": {"ref": IMAGE}}, train),
    ]


def cluster_manifests() -> list[Manifest]:
    """Objects in an image that is there, and in one that is built."""
    train, image = ("training",), {"image": {"ref": IMAGE}}
    return [
        Manifest("data", image, ("load",), kind="Dataset"),
        Manifest("base0", image, train),
        Manifest("base1", _here("base1"), train, dataset="data"),
        Manifest("tuned", image, ("load", "training")),
        Manifest("follow", {"git": {"url": "../source.git", "update": "Follow"}}, train),
        Manifest("m0", {}, train, base="base0"),
        Manifest("m1", {}, train, base="base1", dataset="data"),
        Manifest("m2", {}, train, base="m0"),
        Manifest("m3", {}, train, base="tuned"),
        Manifest("prod", {}, (), base="m0"),
        Manifest("bad", image, train, fail=True),
    ]


@dataclass
class Repository:
    """What is at the tip; ``past`` are earlier contents, to go back to."""

    objects: dict[str, Manifest]
    ledger: str
    code: dict[str, int] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    past: list[tuple[dict[str, Manifest], dict[str, int]]] = field(default_factory=list)

    @classmethod
    def of(cls, manifests: list[Manifest], ledger: str) -> Self:
        found = cls({each.name: each for each in manifests}, ledger)
        for each in manifests:
            path = each.source.get("git", {}).get("path", "")
            if path:
                found.code[path.removeprefix("src/")] = 0
        return found

    def files(self) -> dict[str, str]:
        """Each file's text by its path."""
        found = dict(self.other)
        for each in self.objects.values():
            if each.present:
                found[each.file] = each.text(self.ledger)
        for folder, version in self.code.items():
            for command in ("load.sh", "train.sh"):
                found[f"src/{folder}/{command}"] = SCRIPT.format(version=version)
        if "base1" in self.code:
            found["src/base1/requirements.txt"] = "# none\n"
        return found

    def remember(self) -> None:
        self.past = [*self.past[-9:], (dict(self.objects), dict(self.code))]

    # -- changes -----------------------------------------------------------------------------

    def change(self, chance: Random) -> str:
        """Change something; returns what."""
        changes = self.changes()
        weights = [weight for weight, _ in changes]
        [(_, change)] = chance.choices(changes, weights)
        return change(chance)

    def changes(self) -> list[tuple[int, Callable[[Random], str]]]:
        """The changes, each with its weight."""
        return [
            (6, self._params),
            (3, self._code),
            (2, self._timeout),
            (2, self._presence),
            (2, self._break),
            (2, self._suspend),
            (2, self._rename),
            (2, self._promote),
            (2, self._back),
            (1, self._retry),
            (1, self._noise),
        ]

    def _set(self, chance: Random, *names: str, **fields: Any) -> str:
        name = chance.choice(names or tuple(self.objects))
        self.objects[name] = replace(self.objects[name], **fields)
        said = " ".join(f"{field}={value}" for field, value in fields.items())
        return f"{name} {said}"

    def _params(self, chance: Random) -> str:
        return self._set(
            chance, epochs=chance.randrange(5), seconds=chance.choice((0.1, 0.2, 0.5, 1.5))
        )

    def _timeout(self, chance: Random) -> str:
        return self._set(chance, timeout=chance.choice((30, 60, 90)))

    def _presence(self, chance: Random) -> str:
        return self._set(chance, present=chance.random() < 0.6)

    def _break(self, chance: Random) -> str:
        broken = chance.choice((None, None, *range(len(_BROKEN))))
        return self._set(chance, broken=broken)

    def _suspend(self, chance: Random) -> str:
        return self._set(chance, suspend=chance.random() < 0.4)

    def _retry(self, chance: Random) -> str:
        return self._set(chance, token=f"t{chance.randrange(3)}")

    def _rename(self, chance: Random) -> str:
        leaves = [name for name in ("m2", "m3", "m4", "twin") if name in self.objects]
        name = chance.choice(leaves)
        return self._set(chance, name, shown=chance.choice(("", f"{name}-new")))

    def _promote(self, chance: Random) -> str:
        return self._set(chance, "prod", base=chance.choice(("m0", "m1")))

    def _code(self, chance: Random) -> str:
        if not self.code:
            return "no code"
        folder = chance.choice(sorted(self.code))
        self.code[folder] = chance.randrange(6)
        return f"code {folder}={self.code[folder]}"

    def _noise(self, chance: Random) -> str:
        name = chance.choice(("notes.json", "table.yaml", "README.md"))
        self.other[name] = chance.choice(("{}\n", "[1, 2\n", "{{ a template }}\n", "text\n"))
        return f"noise {name}"

    def _back(self, chance: Random) -> str:
        draw = chance.random()
        if not self.past:
            return "nothing to go back to"
        steps = 1 + int(draw * len(self.past))
        objects, code = self.past[-steps]
        self.objects, self.code = dict(objects), dict(code)
        return f"revert to {steps} pushes ago"

    def ask_for_everything(self, token: str) -> None:
        """Mend, resume and retry everything, so that how it came to be no longer matters."""
        for name, each in self.objects.items():
            wanted = any(name in (o.base, o.dataset) for o in self.objects.values())
            present = each.present or wanted
            self.objects[name] = replace(
                each, suspend=False, broken=None, token=token, present=present
            )
