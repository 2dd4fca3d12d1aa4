"""Faults planted in the daemon, each of which a simulation must find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from reconciler.engines.kubernetes.leader_election import Leadership
from reconciler.workspace.commit_reader import CommitReader, EffectiveObjects


def _lead_for_ever() -> AbstractContextManager[object]:
    """Guard removed: who has led once believes to lead, whatever the time."""
    return mock.patch.object(Leadership, "leads", property(lambda self: self._led))


def _prune_on_doubt() -> AbstractContextManager[object]:
    """Check dropped: a manifest that cannot be read counts as one that is gone."""

    def effective(_: CommitReader, snapshot: Any, *__: object) -> EffectiveObjects:
        return EffectiveObjects(snapshot.collection.objects, {})

    def read(self: CommitReader, *given: Any) -> Any:
        return replace(real(self, *given), unreadable=None)

    real = CommitReader.read
    return mock.patch.multiple(CommitReader, effective=effective, read=read)


def _overlook_pods() -> AbstractContextManager[object]:
    """Check dropped: of a Job that is deleted nothing is thought to be left."""
    return mock.patch("reconciler.engines.kubernetes.engine.observe_orphan", return_value=None)


def _delete_by_name() -> AbstractContextManager[object]:
    """Guard removed: a deletion does not say which object of a name it means."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    return mock.patch("reconciler.engines.kubernetes.engine.delete_options", return_value=options)


MUTATIONS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "lead-for-ever": _lead_for_ever,
    "prune-on-doubt": _prune_on_doubt,
    "overlook-pods": _overlook_pods,
    "delete-by-name": _delete_by_name,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a fault during the block; None plants nothing."""
    if name is None:
        yield
        return
    with MUTATIONS[name]():
        yield
