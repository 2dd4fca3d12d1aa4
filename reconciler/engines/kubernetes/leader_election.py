"""Leader election among replicas, by a Lease that the leader renews.

The kubernetes package's own election keeps its record in an annotation and does not say for how
long it still holds. Here every write asks :attr:`Leadership.leads` first, which is false as soon as
the lease *may* have gone to another: by this process's clock, counted from before the last renewal
was sent. A process that was stopped for longer than the lease therefore writes nothing when it
wakes. A write in the instant between the question and the request is harmless: names are content,
deletions carry UIDs.

The number of changes of hand (``leaseTransitions``) is the epoch; status commits carry it.

Replicas share a Lease, and no other daemon may: two daemons of one instance that sync different
things would each take the other's runs for ones that no manifest wants. So the Lease names its
owner.

Each renewal also carries a note of the leader, which costs no further request: the progress of runs
for users who cannot reach the daemon.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import structlog

from reconciler.backoff import jittered
from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_errors import ApiConflict, ApiError, NotFound
from reconciler.engines.kubernetes.api_types import ObjectMeta
from reconciler.engines.kubernetes.client import Api
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP, JSON

log = structlog.get_logger(__name__)

#: Seconds for giving up a lease: a pod that ends has 30, and a server that does not answer takes
#: two minutes with all tries.
RELEASE_WITHIN = 5.0

#: The leader stops writing this share of the lease before another may take it: no two clocks
#: run at the same rate.
MARGIN = 0.2
#: The lease is renewed so many times in its duration; a standby reads it more than twice as often,
#: so that it sees the last renewal within half such a period, with time left for slow answers.
RENEWALS = 5


#: On the Lease: the cluster and the repository that its replicas sync.
OWNER = f"{GROUP}/owner"
#: On the Lease: the leader's note.
NOTE = f"{GROUP}/progress"


class OtherOwnerError(EngineError):
    """The Lease belongs to a daemon that is no replica of this."""


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Spec of a coordination.k8s.io/v1 Lease."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """A Lease on the server."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


class Leadership:
    """One candidate for one Lease.

    ``duration`` is in seconds, of at least one.

    ``owner`` is the same for all replicas of a daemon, and for no other daemon. ``note`` returns
    that of the leader, at each renewal.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        holder: str,
        owner: str,
        duration: float,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[], str] = str,
    ) -> None:
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._note = note
        self._namespace = namespace
        self._name = name
        self._holder = holder
        self._owner = owner
        self._duration = max(1, round(duration))
        self._clock = clock
        self._until = 0.0
        self._last_change = ("", 0.0)
        self._free_at = 0.0
        self._held: Lease | None = None
        self._led = False
        self._leader: str | None = None
        self._logged: str | None = None
        self.epoch = 0

    @property
    def leads(self) -> bool:
        """Return whether no other replica can hold the lease now."""
        return self._clock() < self._until

    @property
    def leader(self) -> str | None:
        """The holder that another candidate was last seen to be, if any."""
        return self._leader

    async def acquire(self) -> None:
        """Wait until this candidate leads. Raises OtherOwnerError."""
        self._leader = self._logged = None  # it stands by from now on, and no sooner
        while True:
            if await self._try():
                break
            self._log_leader()
            await asyncio.sleep(self._until_next_try())
        log.info("leading", lease=self._name, epoch=self.epoch)

    def _until_next_try(self) -> float:
        """Return seconds, never past the time at which the lease expires."""
        period = jittered(0.4 * self._duration / RENEWALS)
        free_in = self._free_at - self._clock()
        return min(period, free_in) if free_in > 0 else period

    async def keep(self) -> None:
        """Renew the lease until it is lost; then return."""
        renewed = True
        while self.leads:
            # After a failure sooner: one lost answer in two must not cost the lease.
            period = self._duration / RENEWALS
            await asyncio.sleep(jittered(period if renewed else period / 4))
            try:
                renewed = await self._try(held=True)
            except OtherOwnerError:
                break  # the next to acquire it says so
        self._until = 0.0
        log.warning("not leading any more", lease=self._name, epoch=self.epoch)

    async def release(self) -> None:
        """Release the lease, for the next to take without waiting.

        A failure is harmless: the lease runs out.
        """
        if not self.leads:
            return
        self._until = 0.0
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                lease = await self._read()
                if lease is not None and lease.spec.holder_identity == self._holder:
                    await self._write(lease, holder="", transitions=self.epoch)
        except (ApiError, TimeoutError) as error:
            log.info("the lease could not be released; it runs out", error=str(error))

    async def _try(self, *, held: bool = False) -> bool:
        """Take the lease if it is free, or renew this replica's.

        Return whether this replica leads now; False on errors, which the caller retries. With
        ``held`` it is renewed alone: a free one may have been another's meanwhile, which has done
        what this replica does not know.

        Raises OtherOwnerError.
        """
        before = self._clock()
        try:
            # One's own is renewed unread: no other writes it while it holds.
            lease = self._held if self.leads else None
            lease = lease or await self._read()
            self._check_owner(lease)
            holder = lease.spec.holder_identity if lease is not None else None
            if held and holder != self._holder:
                self._until = 0.0
                self._leader = holder or None
                return False
            if lease is None:
                epoch = 0
                self._held = await self._create()
            elif lease.spec.holder_identity == self._holder and self.leads:
                epoch = self.epoch
                self._held = await self._write(lease, holder=self._holder, transitions=epoch)
            elif self._is_free(lease):
                epoch = (lease.spec.lease_transitions or 0) + 1
                self._held = await self._write(lease, holder=self._holder, transitions=epoch)
            else:
                self._until = 0.0
                self._leader = lease.spec.holder_identity
                return False
        except ApiConflict:
            self._held = None  # another was quicker, or the answer to the last renewal was lost
            return False
        except ApiError as error:
            log.warning("the lease cannot be reached", lease=self._name, error=str(error))
            return False
        self.epoch, self._leader, self._led = epoch, None, True
        self._until = before + self._duration * (1 - MARGIN)
        return True

    def _check_owner(self, lease: Lease | None) -> None:
        """Check whose daemon's the Lease is. Raises OtherOwnerError.

        A Lease that no replica holds is checked too: its owner's runs are still there.
        """
        owner = lease.metadata.annotations.get(OWNER) if lease is not None else None
        if owner is not None and owner != self._owner:
            reason = Reason.of(
                ReasonCode.LEASE_OWNED,
                namespace=self._namespace,
                name=self._name,
                other=owner,
                own=self._owner,
            )
            raise OtherOwnerError(reason)

    def _log_leader(self) -> None:
        """Log once who leads, to show why nothing happens here."""
        if self._leader != self._logged:
            self._logged = self._leader
            log.info("standing by: another leads", lease=self._name, leader=self._leader)

    def _is_free(self, lease: Lease) -> bool:
        """Return whether the lease is released, expired, or this replica's own.

        It is its own where this replica has led, was stopped for longer than the lease, and nobody
        took it. The duration is by *this* clock; no two clocks are compared.
        """
        if self._led and lease.spec.holder_identity == self._holder:
            log.warning("the lease ran out unnoticed: this replica was stopped", lease=self._name)
            return True
        version = lease.metadata.resource_version
        now = self._clock()
        if version != self._last_change[0]:
            self._last_change = (version, now)
        self._free_at = self._last_change[1] + (lease.spec.lease_duration_seconds or self._duration)
        return not lease.spec.holder_identity or now >= self._free_at

    async def _read(self) -> Lease | None:
        try:
            data = await self._api.get(f"{self._collection}/{self._name}")
        except NotFound:
            return None
        return msgspec.json.decode(data, type=Lease)

    async def _create(self) -> Lease:
        now = _now()
        spec = LeaseSpec(self._holder, self._duration, now, now, 0)
        data = await self._api.create(self._collection, self._object(None, spec))
        return msgspec.json.decode(data, type=Lease)

    async def _write(self, lease: Lease, *, holder: str, transitions: int) -> Lease:
        now = _now()
        same = lease.spec.holder_identity == holder
        acquired = lease.spec.acquire_time if same else now
        spec = LeaseSpec(holder, self._duration, acquired, now, transitions)
        data = await self._api.replace(
            f"{self._collection}/{self._name}",
            self._object(lease.metadata.resource_version, spec),
        )
        return msgspec.json.decode(data, type=Lease)

    def _object(self, version: str | None, spec: LeaseSpec) -> dict[str, JSON]:
        note = self._note() if spec.holder_identity else ""
        metadata: dict[str, JSON] = {
            "name": self._name,
            "namespace": self._namespace,
            "annotations": {OWNER: self._owner, **({NOTE: note} if note else {})},
        }
        if version is not None:
            metadata["resourceVersion"] = version
        built: dict[str, JSON] = msgspec.to_builtins(spec)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": built,
        }


async def leader_note(api: Api, namespace: str, name: str) -> str | None:
    """Return the leader's note; None without a Lease. Raises ApiError."""
    try:
        data = await api.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")
    except NotFound:
        return None
    return msgspec.json.decode(data, type=Lease).metadata.annotations.get(NOTE, "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
