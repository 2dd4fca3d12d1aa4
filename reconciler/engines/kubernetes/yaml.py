"""Objects as YAML that people read and kubectl takes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from reconciler.engines.kubernetes.pod_parts import ApiObject

#: kubectl reads YAML 1.1, for which ``no``, ``010`` and ``1:30`` are no strings: what is not
#: plainly a word is quoted.
_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*")
#: Lines that a block shows as they are: no tabs, no blanks at either end, nothing unprintable.
_BLOCK = re.compile(r"([!-~]([ -~]*[!-~])?\n|[ ]+[!-~]([ -~]*[!-~])?\n|\n)+")
_NO_STRINGS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def dump(objects: Iterable[ApiObject]) -> str:
    """Return the objects as YAML documents, keys in their order."""
    yaml = YAML()
    yaml.width = 1 << 20  # a folded line is no line to copy
    yaml.allow_unicode = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    documents = []
    for item in objects:
        stream = io.StringIO()
        yaml.dump(_styled(item), stream)
        documents.append(stream.getvalue())
    return "---\n".join(documents)


def _styled(value: Any) -> Any:
    if isinstance(value, dict):
        return {_styled(key): _styled(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_styled(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if "\n" in value and not value.startswith((" ", "\n")) and _BLOCK.fullmatch(f"{value}\n"):
        return LiteralScalarString(value)
    if _WORD.fullmatch(value) and value.lower() not in _NO_STRINGS:
        return value
    return DoubleQuotedScalarString(value)
