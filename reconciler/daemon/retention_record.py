"""Steps of a collection, in the ledger and the records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from reconciler.codec import whole_seconds
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import EngineError
from reconciler.engines.local import ArtifactPlaceError
from reconciler.image_registry import RegistryError
from reconciler.metrics import Metrics
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """Notes the steps of a collection, by the artifacts' keys."""

    store: StatusStore
    metrics: Metrics

    def hidden(self, key: TaskKey) -> None:
        """Note an artifact as hidden."""
        now = whole_seconds(datetime.now(UTC))
        self.store.ledger.hidden[key] = now
        self.store.mark_artifact(key, lambda entry: replace(entry, hidden=now))

    def restored(self, key: TaskKey) -> None:
        """Note an artifact as restored, and as made at this time."""
        now = whole_seconds(datetime.now(UTC))
        self.store.ledger.restore(key)
        self.store.mark_artifact(key, lambda entry: replace(entry, hidden=None, restored=now))
        log.info("artifact restored", key=key[:12])

    def left(self, key: TaskKey) -> None:
        """Note that an artifact was not hidden after all."""
        self.store.ledger.restore(key)
        self.store.mark_artifact(key, lambda entry: replace(entry, hidden=None))

    def removed(self, key: TaskKey) -> None:
        """Note an artifact as removed."""
        now = whole_seconds(datetime.now(UTC))
        self.store.ledger.collect(key, now)
        self.store.mark_artifact(key, lambda entry: replace(entry, hidden=None, collected=now))

    def failed(self, error: ArtifactPlaceError | RegistryError | EngineError) -> None:
        """Count and log a step that could not be taken."""
        self.metrics.failed("engine", error)
        log.warning("an artifact cannot be collected or restored", error=str(error))
