"""Listings: one digest over names, sizes and versions of a folder's files.

The format is ``l1``. What a version is depends on the store: a time of modification, an ETag. So a
digest is compared only with others of the same folder, taken by the same engine.
"""

from __future__ import annotations

import hashlib

from reconciler.types import DataListing, ListingDigest

#: Files and folders of a listing, beyond which there is none: a revision serves better there.
MOST_ENTRIES = 1_000_000
#: Bytes of all their names.
LONGEST_NAMES = 128 << 20
#: Seconds that a listing may take.
LISTING_PATIENCE = 300.0

_HEX_DIGITS = 40


class ListingTooLargeError(Exception):
    """A folder with more than a listing may have."""


class ListingBuilder:
    """Builds a listing of entries.

    They are added in the order of their paths. Each is written as path, size and version, each
    ended by a NUL, which no name has.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"l1\0")
        self._entries = self._names = 0
        self._files = self._size = 0

    def add(self, path: bytes, *, size: int, version: bytes) -> None:
        """Add a file. Raises ListingTooLargeError."""
        self.count(path)
        self._files += 1
        self._size += size
        self._hash.update(b"%s\0%d\0%s\0" % (path, size, version))

    def count(self, path: bytes) -> None:
        """Count a folder, which is in no listing. Raises ListingTooLargeError."""
        self._entries += 1
        self._names += len(path)
        self.check()

    def check(self, unread: int = 0) -> None:
        """Check the bounds, with names that are not added yet. Raises ListingTooLargeError."""
        if self._entries + unread > MOST_ENTRIES or self._names > LONGEST_NAMES:
            raise ListingTooLargeError(
                f"it has more than {MOST_ENTRIES:,} files, or {LONGEST_NAMES >> 20} MiB of names; "
                "give a revision in place of update"
            )

    def listing(self) -> DataListing:
        """Return the listing of what was added."""
        digest = ListingDigest(self._hash.hexdigest()[:_HEX_DIGITS])
        return DataListing(digest, files=self._files, size=self._size)
