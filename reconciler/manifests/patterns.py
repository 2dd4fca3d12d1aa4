"""Patterns of fields, and a description of each for messages.

Three regular expression engines use them: pydantic's (no look-around), that of an editor with the
published JSON Schema, and Python's. ``$`` is the end of the text for the first two; Python code
uses ``fullmatch``.
"""

from __future__ import annotations

from reconciler.manifests import gate_lines

_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
KEY = r"^[0-9a-f]{40}$"
COMMIT = r"^[0-9a-f]{40}([0-9a-f]{24})?$"
#: With a bound of 512 beside it: as a count in the pattern, of letters of any script, it takes
#: pydantic 5 ms to compile.
DIGEST = r"^[^@\s]+@sha256:[0-9a-f]{64}$"
LONGEST_IMAGE = 512
BUCKET = r"^[a-z][a-z0-9+.-]*://\S+$"
GPU_TYPE = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
#: As Kubernetes names most things: labels joined by dots, at most 253 characters.
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
#: Of a Secret's data. It may be the name of a file, so nothing that begins with two dots.
DATA_KEY = r"^\.?[-_a-zA-Z0-9][-_a-zA-Z0-9.]*$"
ENV = r"^[A-Za-z_][A-Za-z0-9_]*$"
LABEL_KEY = rf"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?{_QUALIFIED}$"
#: Kubernetes does not mind the case of an annotation's prefix.
ANNOTATION_KEY = (
    r"^([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*/)?"
    rf"{_QUALIFIED}$"
)
LABEL_VALUE = rf"^({_QUALIFIED})?$"
GATE_LINE = gate_lines.PATTERN
METRIC = gate_lines.METRIC

_QUALIFIED_IN_WORDS = (
    "a name of at most 63 of A-Z, a-z, 0-9, -, _ and ., the first and the last a letter or digit, "
    "after a DNS name and a / if there is a prefix"
)

#: Descriptions of the patterns; each follows "expected" in a message.
IN_WORDS = {
    NAME: "a DNS-1123 label: at most 63 of a-z, 0-9 and -, the first and the last no -",
    KEY: "a key: 40 lower-case hex digits",
    COMMIT: "a full commit id: 40 lower-case hex digits",
    DIGEST: "an image pinned by digest: registry/name@sha256:<64 hex digits>",
    BUCKET: "a bucket URL such as s3://bucket/path",
    GPU_TYPE: "a type of GPU such as nvidia-l4",
    SUBDOMAIN: "a DNS-1123 name: at most 253 of a-z, 0-9, - and .",
    DATA_KEY: "the key of a Secret: A-Z, a-z, 0-9, -, _ and .",
    ENV: "a name for an environment variable: A-Z, a-z, 0-9 and _, the first no digit",
    GATE_LINE: gate_lines.IN_WORDS,
    METRIC: "the name of a metric, such as accuracy",
    LABEL_KEY: _QUALIFIED_IN_WORDS,
    ANNOTATION_KEY: _QUALIFIED_IN_WORDS,
    LABEL_VALUE: "a label value: at most 63 of A-Z, a-z, 0-9, -, _ and ., the first and the last "
    "a letter or digit",
}
