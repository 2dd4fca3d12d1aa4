"""Kubernetes quantities (``500m``, ``16Gi``) and Go-like durations (``1h30m``) as numbers."""

from __future__ import annotations

import re
from decimal import Decimal

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
