"""What befalls a world, one disturbance a step, each drawn by its weight."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from reconciler.engines.local import ArtifactPlaces
from reconciler.engines.local.artifact_places import HIDDEN_MARKER
from reconciler.engines.local.marker import MARKER
from reconciler.types import TaskKey
from tests.simulator.api_server import Object
from tests.simulator.invariants import FOREIGN_FILE
from tests.simulator.objects import is_of_task, is_over, over
from tests.simulator.site import MANIFESTS, STATUS

if TYPE_CHECKING:
    from tests.simulator.author import Author
    from tests.simulator.network import Link
    from tests.simulator.world import Replica, World

Disturbance = Callable[[], str]
_GARBAGE = (b"", b"{", b"kind: Model\nstatus: [", bytes(range(256)), b"null\n")


class Disturbances:
    """The disturbances of one world; ``chance`` decides all of them."""

    def __init__(self, world: World, author: Author, chance: Random) -> None:
        self._world = world
        self._author = author
        self._chance = chance
        #: What goes on for some steps: how many are left, and how to end it.
        self._open: dict[str, tuple[int, Callable[[], None]]] = {}
        self._drawn: list[tuple[float, Disturbance]] = [
            (14, self.push),
            (3, self.push_source),
            (4, self.evict),
            (3, self.delete_pod),
            (3, self.fail),
            (3, self.expire),
            (3, self.delete_job),
            (3, self.silence_node),
            (2, self.lose_node),
            (4, self.cut),
            (4, self.lose_answers),
            (3, self.refuse),
            (2, self.slow_down),
            (3, self.break_watches),
            (2, self.compact),
            (1, self.crash),
            (1, self.crash_soon),
            (1, self.ask_to_stop),
            (4, self.stop),
            (3, self.set_clock),
            (2, self.fill_disk),
            (1, self.damage_copies),
            (0.2, self.lose_status),
            (0.5, self.corrupt_status),
            (2, self.write_beside),
            (2, self.lose_artifact),
            (3, self.release),
            (2, self.accept),
            (1, self.pin),
            (1, self.undo),
            (2, self.push_branch),
            (1, self.use_elsewhere),
        ]
        self._weights = [weight for weight, _ in self._drawn]

    def step(self) -> str:
        """Do one; returns what was done."""
        for name, (left, end) in list(self._open.items()):
            self._open[name] = (left - 1, end)
            if left <= 0:
                self.end(name)
        [(_, disturbance)] = self._chance.choices(self._drawn, self._weights)
        done = disturbance()
        self._world.figures[disturbance.__name__.replace("_", " ")] += 1
        return done

    def end(self, name: str) -> None:
        _, end = self._open.pop(name)
        end()

    def end_all(self) -> None:
        for name in list(self._open):
            self.end(name)

    def _for_some_steps(self, name: str, end: Callable[[], None]) -> str:
        self._open.setdefault(name, (self._chance.randrange(1, 40), end))
        return name

    # -- users -------------------------------------------------------------------------------

    def push(self) -> str:
        return f"push {self._author.change(self._chance)}"

    def push_source(self) -> str:
        self._author.push_source(self._chance.randrange(4))
        return "push source"

    def release(self) -> str:
        """Release whatever is held."""
        ours = self._world.invariants.holds
        holds = list(ours.release())
        if not holds:
            return "nothing is held"
        self._author.repository.release(iter(holds), ours.lines)
        self._author.push("release")
        return f"release {holds}"

    def accept(self) -> str:
        """Accept a rejected artifact."""
        rejected = [r for r in self._world.statuses().values() if r.candidate is not None]
        found = self._chance.choice(rejected) if rejected else None
        each = self._author.head.of(found.ref.name) if found is not None else None
        if found is None or found.candidate is None or each is None:
            return "nothing is rejected"
        self._author.set(each.name, "accept", accept=found.candidate.key[:12])
        return f"accept {found.candidate.key[:12]} of {each.name}"

    def pin(self) -> str:
        """Ask for some artifact of a base, or for its newest again."""
        name, base = self._chance.choice((("m5", "tested"), ("m6", "judged"), ("live", "tested")))
        keys = [url.split("/")[-2] for url in self._world.bucket.complete() if f"/{base}/" in url]
        key = self._chance.choice(("", *(key for key in keys)))
        self._author.set(name, "pin", pin=key)
        return f"pin {name} at {key[:12]}"

    def push_branch(self) -> str:
        return self._author.push_release(self._chance)

    def use_elsewhere(self) -> str:
        """Let another cluster use some artifact."""
        urls = self._world.bucket.complete()
        keys = [self._chance.choice(urls).split("/")[-2]] if urls else []
        return self._author.push_use(keys)

    def undo(self) -> str:
        """Bring a hidden artifact back by hand."""
        hidden = self._world.bucket.hidden()
        if not hidden:
            return "nothing is hidden"
        url = self._chance.choice(hidden)
        if self._world.variant.mounted:
            self._world.bucket.move(url, HIDDEN_MARKER, MARKER)
            self._world.invariants.artifacts.restored(url.rstrip("/"))
        elif not ArtifactPlaces().restore(url, TaskKey(url.split("/")[-2])):
            self._world.invariants.broken(f"{url} is hidden, and cannot be restored")
        return f"undo {url}"

    # -- the cluster -------------------------------------------------------------------------

    def _pod(self) -> Object | None:
        pods = [pod for pod in self._world.server.of("pods") if not is_over(pod)]
        pod = self._chance.choice(pods) if pods else None
        return pod if pod is None or self._world.cluster.blames(pod) else None

    def evict(self) -> str:
        pod = self._pod()
        if pod is None:
            return "no pod to evict"
        self._world.cluster.end_pod(pod, disrupted=True)
        return f"evict {pod['metadata']['name']}"

    def delete_pod(self) -> str:
        pod = self._pod()
        if pod is None:
            return "no pod to delete"
        self._world.cluster.end_pod(pod)
        return f"delete {pod['metadata']['name']}"

    def fail(self) -> str:
        running = list(self._world.cluster.running.values())
        pod = self._chance.choice(running) if running else None
        if pod is None or not self._world.cluster.blames(pod):
            return "nothing runs that may fail"
        self._world.cluster.fail(pod)
        return f"fail {pod['metadata']['name']}"

    def expire(self) -> str:
        """End the TTL of a finished Job."""
        jobs = [job for job in self._world.server.of("jobs") if over(job)]
        if not jobs:
            return "no finished Job"
        job = self._chance.choice(jobs)
        self._world.server.remove("jobs", job)
        return f"expire {job['metadata']['name']}"

    def delete_job(self) -> str:
        jobs = list(self._world.server.of("jobs"))
        if not jobs:
            return "no Job"
        job = self._chance.choice(jobs)
        if is_of_task(job):
            self._world.server.remove("jobs", job)
        else:
            self._world.server.end_pods_first(job)
        return f"delete {job['metadata']['name']}"

    def silence_node(self) -> str:
        node = self._chance.choice(self._world.cluster.nodes)
        self._world.cluster.silence(node)
        return self._for_some_steps(f"silence {node}", lambda: self._world.cluster.hear(node))

    def lose_node(self) -> str:
        cluster = self._world.cluster
        node = self._chance.choice(cluster.nodes)
        for pod in cluster.on(node):
            if not cluster.blames(pod):
                return f"{node} has had enough"
        cluster.remove_node(node)
        return f"lose {node}"

    def lose_artifact(self) -> str:
        results = self._world.bucket.complete()
        if not results:
            return "no artifact"
        lost = self._chance.choice(results)
        self._world.cluster.lose(lost)
        return f"lose {lost}"

    # -- networks ----------------------------------------------------------------------------

    def _link(self) -> tuple[str, Link]:
        name = self._chance.choice(("one", "two"))
        kind = self._chance.choice(("api", "git", "bucket"))
        links = {
            "api": self._world.api_links,
            "git": self._world.git_links,
            "bucket": self._world.bucket_links,
        }
        return f"{kind} of {name}", links[kind][name]

    def cut(self) -> str:
        name, link = self._link()
        link.cut = True
        return self._for_some_steps(f"cut {name}", link.heal)

    def lose_answers(self) -> str:
        name, link = self._link()
        link.losing = self._chance.choice((0.1, 0.5))
        return self._for_some_steps(f"lose answers, {name}", link.heal)

    def refuse(self) -> str:
        name, link = self._link()
        link.failing = self._chance.choice((0.1, 0.5, 1.0))
        return self._for_some_steps(f"refuse, {name}", link.heal)

    def slow_down(self) -> str:
        name, link = self._link()
        link.slow = 0.5
        return self._for_some_steps(f"slow, {name}", link.heal)

    def break_watches(self) -> str:
        name = self._chance.choice(("one", "two"))
        self._world.api_links[name].break_streams()
        return f"break watches of {name}"

    def compact(self) -> str:
        self._world.server.compact()
        for link in self._world.api_links.values():
            link.break_streams()
        return "compact"

    # -- processes ---------------------------------------------------------------------------

    def _replica(self) -> Replica:
        return self._world.replicas[self._chance.choice(("one", "two"))]

    def crash(self) -> str:
        replica = self._replica()
        replica.crash()
        return f"crash {replica.name}"

    def crash_soon(self) -> str:
        """Crash at one of the next requests, before it arrives or just after."""
        replica = self._replica()
        self._world.crash_at[replica.name] = self._chance.randrange(1, 8)
        return f"crash {replica.name} soon"

    def ask_to_stop(self) -> str:
        replica = self._replica()
        replica.ask_to_stop()
        return f"ask {replica.name} to stop"

    def stop(self) -> str:
        """Stop a process, as a suspended machine does."""
        replica = self._replica()
        process = replica.process
        if process is None or process.stopped:
            return f"{replica.name} does not run"
        process.stopped = True

        def go_on() -> None:
            if process.alive and process.stopped:
                process.go_on()

        return self._for_some_steps(f"stop {replica.name} at {self._world.loop.now:.0f}", go_on)

    def set_clock(self) -> str:
        replica = self._replica()
        skew = self._chance.choice((0.0, 5.0, -5.0, 3600.0, -3600.0, 86400.0))
        replica.skew = skew
        if replica.process is not None:
            replica.process.skew = skew
        self._world.clock_set_at = self._world.loop.now
        self._world.invariants.artifacts.clock_set()
        return f"set clock of {replica.name} {skew:+.0f}"

    def fill_disk(self) -> str:
        replica = self._replica()

        def fill(full: bool) -> None:
            replica.full_disk = full
            if replica.process is not None:
                replica.process.full_disk = full

        fill(True)
        return self._for_some_steps(f"fill disk of {replica.name}", lambda: fill(False))

    def damage_copies(self) -> str:
        """Lose files of a replica's copies while it is not running."""
        replica = self._replica()
        replica.crash()
        objects = sorted(replica.git_folder.glob("*.git/objects/??"))
        if not objects:
            return "no copy to damage"
        for folder in self._chance.sample(objects, min(3, len(objects))):
            shutil.rmtree(folder)
        return f"damage copies of {replica.name}"

    # -- the status branch -------------------------------------------------------------------

    def lose_status(self) -> str:
        self._world.remotes.delete(MANIFESTS, STATUS)
        self._world.invariants.forget()
        return "lose the status branch"

    def corrupt_status(self) -> str:
        files = self._status_files()
        objects = sorted(path for path in files if path.endswith(".yaml"))
        if not objects:
            return "no status to corrupt"
        path = self._chance.choice(objects)
        self._commit_status({**files, path: self._chance.choice(_GARBAGE)}, f"corrupt {path}")
        return f"corrupt {path}"

    def write_beside(self) -> str:
        files = self._status_files()
        if not files:
            return "no status branch"
        text = f"{self._chance.random()}\n".encode()
        self._commit_status({**files, FOREIGN_FILE: text}, "a note")
        return "write a note beside the status"

    def _status_files(self) -> dict[str, bytes]:
        tip = self._world.remotes.tip(MANIFESTS, STATUS)
        return self._world.remotes.files(MANIFESTS, tip) if tip is not None else {}

    def _commit_status(self, files: dict[str, bytes], message: str) -> None:
        self._world.remotes.commit(MANIFESTS, STATUS, files, message)
        self._world.invariants.reread(files)
