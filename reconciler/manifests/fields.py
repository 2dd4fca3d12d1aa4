"""Types of fields of manifests and of the configuration.

The base class of their sections is here, too. Quantities and durations are parsed: cores as float,
bytes as int, seconds as float.
"""

import re
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from reconciler.manifests import patterns
from reconciler.manifests.messages import described
from reconciler.urls import UrlError, check_url, redact

#: Sizes are hashed as canonical JSON, which writes larger integers inexactly.
LARGEST_SIZE = 2**53 - 1

_SUFFIX = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_DURATION = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,3})?)s)?"
)


def parse_quantity(text: str | float) -> Decimal:
    """Parse a Kubernetes quantity; the result is in cores or bytes.

    Raises ValueError for anything else, negative quantities among them.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f'expected a quantity such as 2, 500m or 16Gi, found "{_shown(text)}"')
    return Decimal(match[1]) * _SUFFIX[match[2] or ""]


def parse_bytes(text: str | float) -> int:
    """Parse a Kubernetes quantity to whole bytes.

    Raises ValueError for anything else, and for more than :data:`LARGEST_SIZE`.
    """
    size = int(parse_quantity(text))
    if size > LARGEST_SIZE:
        raise ValueError(f'expected less than 8Pi, found "{_shown(text)}"')
    return size


def parse_duration(text: str | float) -> float:
    """Parse a duration (``90s``, ``1h30m``, ``2d``, or a number) to seconds.

    Raises ValueError for anything else, and for zero.
    """
    if isinstance(text, (int, float)):
        seconds = float(text)
    else:
        match = _DURATION.fullmatch(text)
        if match is None or not text:
            raise ValueError(
                f'expected a duration such as 90s, 1h30m or 2d, found "{_shown(text)}"'
            )
        days, hours, minutes, rest = match.groups()
        seconds = (
            int(days or 0) * 86400
            + int(hours or 0) * 3600
            + int(minutes or 0) * 60
            + float(rest or 0)
        )
    if not 0 < seconds < 10**9:
        raise ValueError(f'expected a duration above zero, found "{_shown(text)}"')
    return seconds


def _shown(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"


class Section(BaseModel):
    """A mapping in YAML: unknown fields and wrong types are errors.

    Validators are built at the first use: a section inside another one needs none of its own.
    Modules of sections do not import annotations from ``__future__``: pydantic evaluates those that
    are text one by one, which takes a third of the time of the class.
    """

    model_config = ConfigDict(
        defer_build=True,
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
    )

    @classmethod
    def of_defaults(cls) -> Self:
        """Return a section without any of its fields, without its validator.

        To be called only where every field has a default.
        """
        return super().model_construct()


Name = Annotated[
    str,
    Field(pattern=patterns.NAME, description="A DNS-1123 label: lower-case letters, digits, -."),
]
KeyHex = Annotated[str, Field(pattern=patterns.KEY, description="A key: 40 lower-case hex digits.")]
Subdomain = Annotated[str, Field(pattern=patterns.SUBDOMAIN, max_length=253)]
LabelKey = Annotated[str, Field(pattern=patterns.LABEL_KEY, max_length=317)]
LabelValue = Annotated[str, Field(pattern=patterns.LABEL_VALUE)]
AnnotationKey = Annotated[str, Field(pattern=patterns.ANNOTATION_KEY, max_length=317)]
EnvName = Annotated[str, Field(pattern=patterns.ENV, max_length=255)]


def _cores(value: object) -> object:
    return float(parse_quantity(_scalar(value)))


def _bytes(value: object) -> object:
    return parse_bytes(_scalar(value))


def _seconds(value: object) -> object:
    return parse_duration(_scalar(value))


def _scalar(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("expected a string or a number")
    return value


_QUANTITY_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"},
        {"type": "number", "minimum": 0},
    ]
}
_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?$", "minLength": 2},
        {"type": "number", "exclusiveMinimum": 0},
    ]
}
Cores = Annotated[
    float, BeforeValidator(_cores), WithJsonSchema(_QUANTITY_SCHEMA | {"examples": [4, "500m"]})
]
Bytes = Annotated[
    int, BeforeValidator(_bytes), WithJsonSchema(_QUANTITY_SCHEMA | {"examples": ["16Gi"]})
]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        _DURATION_SCHEMA
        | {"description": "Such as 90s, 1h30m or 2d; a number is seconds.", "examples": ["1h30m"]}
    ),
]


def _relative(path: str) -> str:
    """Normalize a path. Raises ValueError if it leads out of the repository."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f'expected a path inside the repository, found "{path[:80]}"')
    return "/".join(parts)


RepositoryPath = Annotated[
    str,
    Field(max_length=1024, json_schema_extra={"pattern": r"^(?!(.*/)?\.\.(/|$))[^\\]*$"}),
    AfterValidator(_relative),
]
#: Parts that Git forbids in the name of a branch or tag (``git check-ref-format --branch``).
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|(^|/)\.|\.lock(/|$)|^HEAD$")


def _git_ref(name: str) -> str:
    if _NO_REF.search(name):
        raise ValueError(f"{described(name)} is no name that a branch or tag can have in Git")
    return name


def _git_url(url: str) -> str:
    try:
        return check_url(url)
    except UrlError as error:
        raise ValueError(str(error)) from error


def _bucket_url(url: str) -> str:
    bucket, _, path = url.partition("://")[2].partition("/")
    if "@" in bucket:
        raise ValueError(f"{redact(url)}: credentials do not belong in a URL")
    if ".." in path.split("/"):
        raise ValueError(f"expected a folder of a bucket, found {described(url)}")
    return url


GitRef = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_git_ref)]
BucketUrl = Annotated[
    str, Field(pattern=patterns.BUCKET, max_length=2048), AfterValidator(_bucket_url)
]
GitUrl = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_git_url)]
Retries = Annotated[
    int, Field(ge=0, le=100, description="How often a command that failed is started again.")
]
