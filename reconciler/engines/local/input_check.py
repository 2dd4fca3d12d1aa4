"""The check of a run's inputs by content, listing and signature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.engine import FailureClass
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.layout import path_of
from reconciler.engines.local.listing import FolderError, list_folder
from reconciler.engines.local.marker import Marker
from reconciler.engines.local.run_context import RunContext, StoppedError
from reconciler.engines.local.verification import (
    FaultKind,
    FileFault,
    Verification,
    find_external_faults,
    find_faults,
    finish,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.signing import KeyFileError, SigningFiles, SigningKey, TrustedKeys
from reconciler.types import ListingDigest, Mounted, Verify

#: Digits of a listing in a message.
_SHOWN = 12


@dataclass(slots=True)
class InputCheck:
    """The check of a run's inputs, before its command and after it.

    ``listing`` is what is in the dataset's folder as the command starts, if that is observed.
    """

    run: RunContext
    listing: ListingDigest | None = None

    def check(self) -> None:
        """Raise RunFailedError unless each input is what the run asks for."""
        spec = self.run.spec
        inputs = {"base": spec.base, "dataset": spec.dataset, "model": spec.artifact}
        for name, mounted in inputs.items():
            if mounted is not None:
                self._check(name, mounted)
                if mounted.listing is not None:
                    self._check_listing(mounted, mounted.listing)

    def _check_listing(self, mounted: Mounted, wanted: ListingDigest) -> None:
        """Raise RunFailedError if the data is not what the key says."""
        found = self._listed(mounted)
        if found != wanted:
            reason = Reason.of(
                ReasonCode.DATA_NOT_AS_LISTED,
                url=mounted.url,
                wanted=wanted[:_SHOWN],
                found=found[:_SHOWN],
            )
            raise RunFailedError(reason, FailureClass.INFRASTRUCTURE)
        self.listing = found

    def _listed(self, mounted: Mounted) -> ListingDigest:
        """List observed data. Raises RunFailedError and StoppedError."""
        path = path_of(mounted.url)
        assert path is not None  # the daemon has listed it
        try:
            return list_folder(path, self._go_on).digest
        except FolderError as error:
            detail = f"{mounted.url} cannot be listed: {error}"
            raise RunFailedError(
                Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail),
                FailureClass.INFRASTRUCTURE,
            ) from error

    def changed_meanwhile(self) -> Iterator[Reason]:
        """Yield a warning if observed data changed while the command ran."""
        mounted = self.run.spec.dataset
        if mounted is None or self.listing is None:
            return
        try:
            after = self._listed(mounted)[:_SHOWN]
        except StoppedError:
            raise
        except RunFailedError:
            after = "none"
        if after != self.listing[:_SHOWN]:
            yield Reason.of(
                ReasonCode.DATA_CHANGED_MEANWHILE,
                url=mounted.url,
                before=self.listing[:_SHOWN],
                after=after,
            )

    def _go_on(self) -> None:
        if (stop := self.run.control.stop()) is not None:
            raise StoppedError(stop, self.run.run)

    def _check(self, name: str, mounted: Mounted) -> None:
        """Raise RunFailedError unless an input is there, as it was made."""
        path = path_of(mounted.url)
        if path is None:
            return
        if not path.is_dir():
            raise _refused(Reason.of(ReasonCode.ARTIFACT_LOST, input=name, url=mounted.url))
        verify = self.run.allocation.verified(mounted.url)
        if mounted.external and verify is not Verify.SIGNATURE:
            return
        if verify is not Verify.SIZES:
            checking = Reason.of(ReasonCode.VERIFYING_INPUT, input=name)
            self.run.save(self.run.state.because(checking))
        keys = self._trusted_keys() if verify is Verify.SIGNATURE else None
        if mounted.external and keys is not None:
            _, faults = self.finish(find_external_faults(path, keys))
        else:
            digests = verify is not Verify.SIZES
            _, faults = self.finish(find_faults(path, mounted.key, digests=digests, keys=keys))
        if faults:
            raise _refused(_explained(name, mounted, faults))

    def _trusted_keys(self) -> TrustedKeys:
        try:
            return self.run.allocation.signing.trusted_keys()
        except KeyFileError as error:
            raise _infrastructure(str(error)) from error

    def finish(self, steps: Verification) -> tuple[Marker | None, tuple[FileFault, ...]]:
        """Return an artifact's marker and its faults. Raises StoppedError."""
        return finish(steps, self._go_on)


def read_signing_key(files: SigningFiles) -> SigningKey | None:
    """Read the key that signs.

    It is read before the command starts: no finished work is lost for want of it.
    """
    try:
        return files.signing_key()
    except KeyFileError as error:
        raise _infrastructure(str(error)) from error


def _explained(name: str, mounted: Mounted, faults: Sequence[FileFault]) -> Reason:
    """Return the reason of an input's faults.

    A signature that is not valid is no loss: what was signed would not come back by making it
    again unasked. Nor is a change of a folder that no task made.
    """
    place = f"the {name} at {mounted.url}"
    unread = next((fault for fault in faults if fault.kind is FaultKind.UNREADABLE), None)
    if unread is not None:
        return Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=f"{place}: {unread}")
    if mounted.external or faults[0].kind is FaultKind.SIGNATURE:
        code = ReasonCode.ARTIFACT_NOT_VERIFIED
        return Reason.of(code, input=name, url=mounted.url, detail=str(faults[0]))
    lost = Reason.of(ReasonCode.ARTIFACT_LOST, input=name, url=mounted.url)
    text = f"the {name} is gone or damaged: {mounted.url}: {faults[0]}"
    return replace(lost, recorded=text)


def _refused(reason: Reason) -> RunFailedError:
    return RunFailedError(reason, FailureClass.INFRASTRUCTURE)


def _infrastructure(detail: str) -> RunFailedError:
    return _refused(Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail))
