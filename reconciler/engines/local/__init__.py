"""The local engine: runs are processes or containers, buckets are directories.

Three kinds of process take part, and any of them may be killed at any instruction:

* The daemon (:mod:`.engine`) records the runs and allocates slots and GPUs. It never starts a
  command itself.
* A *supervisor* per run (:mod:`.supervisor`), detached from the daemon, executes the run:
  attempts, timeout, retries, output, completion marker, result. It is the only writer of the
  run's ``state.json`` and holds the lock of the run as long as it lives, so "is it alive" is
  "is the lock taken", never a test of a process id, which another process may have by now.
* The command, child of the supervisor, with the lock of its *key* open (:mod:`.locks`): the next
  owner of that lock first ends the processes of an attempt whose supervisor was lost. Of a
  container it is the attached ``docker run``; the container itself is found by its labels
  (:mod:`.container_runtime`).

Every step is decided by a file before it is done, and is safe to do again: a run exists once its
directory does, is started once it has an allocation, and has ended once its state says so.

On disk (version 2, :mod:`.layout`)::

    version                 the version of this layout
    daemon.lock             held by the one daemon that uses this root
    notify                  a FIFO: supervisors write a byte when something has changed
    runs/<name>/            one run; made elsewhere and renamed into place
        spec.json           the order (RunSpec)                         written by the daemon
        params.json         PARAMS_FILE of the command                  written by the daemon
        source/             of a build: the exported build context      written by the daemon
        allocation.json     it may start, with these GPUs and terms     written by the daemon
        cancel              it is to end and be forgotten               written by the daemon
        end.json            a user has ended it, with the cause         written by ``cancel --now``
        state.json          its state                                   written by the supervisor
        progress.json       what its command reported last              written by the supervisor
        lock, control       held by the supervisor; a FIFO that wakes it
        logs/attempt-<n>.log   of a build; other tasks log into their artifact directory
        supervisor.log      errors of a supervisor that failed; normally empty
    images/<key>/tree/      a build's source tree, read-only
    images/<key>/env/       the project itself, installed, above an environment of envs/
    images/<key>/image.json written last: the image is complete. Of a container image it has the
                            id, and stands alone
    envs/<hash>/            a virtual environment, shared by all images with these requirements
                            (of a project: its dependencies)
    envs/<hash>.json        written last: the environment is complete
    locks/                  <key>, env-<hash>: held by what makes it; use-<key or hash>: by all that
                            use it, with the time of the last use (:mod:`.use`)
    scratch/, exports/      may be deleted while no daemon runs
    trash/                  the same; what is being removed (:mod:`.collection`)
    buckets/                where buckets are unless the configuration names another place
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.engines.local.artifact_places import (
        ArtifactFacts,
        ArtifactPlaceError,
        ArtifactPlaces,
        ArtifactState,
    )
    from reconciler.engines.local.container_sweep import Containers
    from reconciler.engines.local.ended_runs import LocalRun, live_runs
    from reconciler.engines.local.engine import LocalEngine
    from reconciler.engines.local.followed_logs import FollowedFileLogs, rank_lines
    from reconciler.engines.local.isolation_request import IsolationRequest
    from reconciler.engines.local.layout import RootLayout, path_of
    from reconciler.engines.local.logs import LocalLogs
    from reconciler.engines.local.marker import (
        LOCAL,
        MARKER,
        ArtifactFile,
        Marker,
        is_reserved,
        load_marker,
    )
    from reconciler.engines.local.progress_reader import LocalProgress
    from reconciler.engines.local.scheduler import find_gpus
    from reconciler.engines.local.scrub import StoredArtifact, is_stored_as_made
    from reconciler.engines.local.tries import TryEngine, try_name
    from reconciler.engines.local.try_listing import (
        FailedTry,
        TryArtifact,
        find_failed_tries,
        find_tries,
    )
    from reconciler.engines.local.verification import (
        FaultKind,
        FileFault,
        find_faults,
        finish,
    )
    from reconciler.engines.local.virtual_environments import (
        StoredEnvironment,
        stored_environments,
    )

__all__ = [
    "LOCAL",
    "MARKER",
    "ArtifactFacts",
    "ArtifactFile",
    "ArtifactPlaceError",
    "ArtifactPlaces",
    "ArtifactState",
    "Containers",
    "FailedTry",
    "FaultKind",
    "FileFault",
    "FollowedFileLogs",
    "IsolationRequest",
    "LocalEngine",
    "LocalLogs",
    "LocalProgress",
    "LocalRun",
    "Marker",
    "RootLayout",
    "StoredArtifact",
    "StoredEnvironment",
    "TryArtifact",
    "TryEngine",
    "find_failed_tries",
    "find_faults",
    "find_gpus",
    "find_tries",
    "finish",
    "is_reserved",
    "is_stored_as_made",
    "live_runs",
    "load_marker",
    "path_of",
    "rank_lines",
    "stored_environments",
    "try_name",
]

#: A supervisor imports this package at the start of each run, and the engine's imports (asyncio,
#: structlog) would double its start-up time.
_MODULES = {
    "Containers": "container_sweep",
    "ArtifactFacts": "artifact_places",
    "ArtifactPlaceError": "artifact_places",
    "ArtifactPlaces": "artifact_places",
    "ArtifactState": "artifact_places",
    "IsolationRequest": "isolation_request",
    "LocalEngine": "engine",
    "LocalLogs": "logs",
    "LocalProgress": "progress_reader",
    "LocalRun": "ended_runs",
    "live_runs": "ended_runs",
    "RootLayout": "layout",
    "path_of": "layout",
    "FollowedFileLogs": "followed_logs",
    "rank_lines": "followed_logs",
    "LOCAL": "marker",
    "MARKER": "marker",
    "ArtifactFile": "marker",
    "Marker": "marker",
    "load_marker": "marker",
    "is_reserved": "marker",
    "is_stored_as_made": "scrub",
    "FailedTry": "try_listing",
    "TryArtifact": "try_listing",
    "find_failed_tries": "try_listing",
    "TryEngine": "tries",
    "find_tries": "try_listing",
    "try_name": "tries",
    "StoredArtifact": "scrub",
    "FaultKind": "verification",
    "FileFault": "verification",
    "find_faults": "verification",
    "finish": "verification",
    "StoredEnvironment": "virtual_environments",
    "find_gpus": "scheduler",
    "stored_environments": "virtual_environments",
}
__getattr__ = lazy_exports(__name__, _MODULES)
