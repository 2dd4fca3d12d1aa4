"""Files of an image, read without running anything in it.

A container that is created and never started serves for that. A command's program is looked up as
everywhere: in the working directory, then on PATH. What it cannot start by has the same reasons.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from reconciler.engines.local.container_program import ContainerProgram, FileHead, ImageInfo
from reconciler.engines.local.failures import CommandError
from reconciler.engines.local.program import HEAD, check_head
from reconciler.reasons import ReasonCode

#: Of an image that sets none, as Docker has it.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EXECUTABLE = 0o111


@dataclass(slots=True)
class ContainerFiles:
    """The files of an image, inside of a ``with`` block.

    Its methods raise ContainerError. ``labels`` are arguments for the container that serves for it.
    """

    program: ContainerProgram
    image: ImageInfo
    labels: Sequence[str]
    _container: str = ""

    def __enter__(self) -> Self:
        arguments = [*self.labels, "--pull=never", "--network=none", "--entrypoint=/"]
        self._container = self.program.create([*arguments, self.image.id])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.program.remove([self._container])

    def find_program(self, name: str) -> str:
        """Return the path of a command's program. Raises CommandError."""
        for path in self._places(name):
            head = self._head(path)
            if head is not None:
                self._check(name, head)
                return path
        raise CommandError(ReasonCode.COMMAND_NOT_FOUND, name=name[:200])

    def _places(self, name: str) -> list[str]:
        here = posixpath.join(self.image.folder, name)
        if "/" in name:
            return [here]
        folders = self.image.env.get("PATH", _PATH).split(":")
        return [here, *(posixpath.join(folder, name) for folder in folders if folder)]

    def _head(self, path: str) -> FileHead | None:
        return self.program.head(self._container, posixpath.normpath(path), HEAD)

    def _check(self, name: str, head: FileHead) -> None:
        if head.link:
            return
        if not head.mode & _EXECUTABLE:
            raise CommandError(ReasonCode.COMMAND_NOT_EXECUTABLE, name=name)

        def is_file(path: str) -> bool:
            return self._head(posixpath.join(self.image.folder, path)) is not None

        def on_path(program: str) -> bool:
            return any(map(is_file, self._places(program)[1:]))

        check_head(name, head.content, is_file, on_path)
