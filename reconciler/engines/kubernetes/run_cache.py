"""What a Job and its Pods are as a run, kept until one of them is another object.

The caches replace what has changed and nothing else, so that of a thousand Jobs those are looked at
which an event was about.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import is_

from reconciler.engine import Run
from reconciler.engines.kubernetes.api_types import Job, Pod
from reconciler.engines.kubernetes.observer import observe_run
from reconciler.reasons import Reason


@dataclass(frozen=True, slots=True)
class _Seen:
    objects: tuple[Job | Pod, ...]
    deleting: bool
    disrupted: Reason | None
    run: Run | None


class Views:
    """The runs as last seen, by the UID of their Job."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def of(
        self, job: Job, pods: Sequence[Pod], *, deleting: bool, disrupted: Reason | None
    ) -> Run | None:
        """As :func:`view` has it; the very same run where nothing is another."""
        objects: tuple[Job | Pod, ...] = (job, *pods)
        known = self._seen.get(job.metadata.uid)
        if (
            known is not None
            and (known.deleting, known.disrupted) == (deleting, disrupted)
            and len(known.objects) == len(objects)
            and all(map(is_, known.objects, objects))
        ):
            return known.run
        run = observe_run(job, pods, deleting=deleting, disrupted=disrupted)
        self._seen[job.metadata.uid] = _Seen(objects, deleting, disrupted, run)
        return run

    def keep(self, uids: AbstractSet[str]) -> None:
        """No other Jobs are there any more."""
        if len(self._seen) > len(uids):
            self._seen = {uid: seen for uid, seen in self._seen.items() if uid in uids}
