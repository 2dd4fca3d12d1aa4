"""Messages: one template a code, with its meaning and what to do.

The only place where a reason becomes a sentence for status files, logs and the command line.
docs/reasons.md is written from this table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.reasons.codes import ReasonCode
from reconciler.reasons.reason import Argument, Reason
from reconciler.types import TaskKind

#: How templates of reasons to wait for something begin.
_WAITING = "waiting for "
#: The remedy of codes that need none.
_NOTHING = "Nothing."


@dataclass(frozen=True, slots=True)
class Entry:
    """The message template of a code, its meaning, and the remedy."""

    template: str
    meaning: str
    action: str


def message(reason: Reason, *, task: str | None = None) -> str:
    """Render a reason as one sentence without its full stop.

    ``task`` names the task that has the reason.
    """
    if task is not None:
        return f"{task}: {message(reason)}"
    if reason.recorded is not None:
        return reason.recorded
    shown = {name: _shown(value) for name, value in reason.arguments.items()}
    return MESSAGES[reason.code].template.format_map(shown)


def remedy(code: ReasonCode, *, file: str = "") -> str:
    """Return the remedy as sentences; empty without one.

    ``file`` is the path of the file that the reason is about, where it is known.
    """
    action = MESSAGES[code].action
    return "" if action == _NOTHING else action.format(file=file or "FILE")


def _shown(argument: Argument) -> object:
    if isinstance(argument, Reason):
        return message(argument)
    if type(argument) is tuple:
        return names(argument)
    return argument


def waits(reason: Reason) -> str:
    """Render a reason to wait as a predicate, as in "waits for…"."""
    template = MESSAGES[reason.code].template
    if reason.recorded is None and template.startswith(_WAITING):
        shown = {name: _shown(value) for name, value in reason.arguments.items()}
        return "waits for " + template.removeprefix(_WAITING).format_map(shown)
    return f"waits: {message(reason)}"


def names(items: Iterable[object]) -> str:
    """Join the names of what a task waits for.

    Other objects stand by their name, the own tasks of an object as "its build".
    """
    shown = (f"its {item}" if isinstance(item, TaskKind) else str(item) for item in items)
    return " and ".join(dict.fromkeys(shown))


MESSAGES: dict[ReasonCode, Entry] = {
    # -- Planner: a task
    ReasonCode.COMPLETE: Entry(
        "complete",
        "The artifact or image of this key exists.",
        "Nothing.",
    ),
    ReasonCode.NOT_NEEDED: Entry(
        "not needed: what it is for is complete",
        "The result of this task is unknown, and nothing that is still to be made needs it.",
        "Nothing.",
    ),
    ReasonCode.SHARED: Entry(
        "shared with {owner}",
        "Another object has a task of the same key, which counts for both.",
        "Nothing.",
    ),
    ReasonCode.RUNNING: Entry(
        "running",
        "The command has started.",
        "Nothing; `reconciler logs NAME` shows its output.",
    ),
    ReasonCode.RUN_PENDING: Entry(
        "its run is about to start",
        "The Job exists; its command has not started.",
        "Nothing, unless it lasts; then look at the Job's pods.",
    ),
    ReasonCode.STARTING: Entry(
        "starts now",
        "The next sync creates the Job.",
        "Nothing.",
    ),
    ReasonCode.SUSPENDED: Entry(
        "spec.suspend is true, so nothing new starts",
        "The manifest suspends the object; what runs, goes on.",
        "Set `spec.suspend: false` in its manifest, and commit that.",
    ),
    ReasonCode.WAITING_FOR_BUILD: Entry(
        "waiting for {needs}",
        "The image that the task runs in is not built yet.",
        "Nothing; the build runs or says why it does not.",
    ),
    ReasonCode.WAITING_FOR_LOAD: Entry(
        "waiting for {needs}",
        "The object's own weights are not loaded yet.",
        "Nothing; the load runs or says why it does not.",
    ),
    ReasonCode.WAITING_FOR_BASE: Entry(
        "waiting for {needs}",
        "The base model is not complete yet.",
        "Look at the base: `reconciler why NAME` follows the chain.",
    ),
    ReasonCode.WAITING_FOR_DATASET: Entry(
        "waiting for {needs}",
        "The dataset is not complete yet.",
        "Look at the dataset: `reconciler why NAME` follows the chain.",
    ),
    ReasonCode.DEPENDENCY_BLOCKED: Entry(
        "waiting for {object} ({task}): {cause}",
        "Something that the task needs cannot start or has failed.",
        "Mend what the cause names.",
    ),
    ReasonCode.WAITING_FOR_EVALUATION: Entry(
        "waiting for {needs}",
        "An evaluation decides whether the base is accepted, and is not complete yet.",
        "Nothing, or look at the base: `reconciler why NAME` follows the chain.",
    ),
    ReasonCode.WAITING_FOR_PROMOTION: Entry(
        "waiting for the artifact of {object}",
        "The artifact that the object takes over is not complete yet.",
        "Look at the object that is promoted.",
    ),
    ReasonCode.STILL_SERVING: Entry(
        "still serves {key}: {cause}",
        "A promotion is Ready: its last artifact is served until the one it asks for is complete.",
        "Nothing, or look at the object that the cause names.",
    ),
    ReasonCode.TERMINATING: Entry(
        "the run before it is still ending",
        "An earlier run of the same key is being ended.",
        "Nothing.",
    ),
    ReasonCode.PREVIOUS_RUN_UNREACHABLE: Entry(
        "the run before it has not ended: {cause}",
        "Nobody knows whether the earlier run still goes on, so the next one waits.",
        "Bring the node back, or delete its Node object.",
    ),
    ReasonCode.PENDING_RUN_REPLACED: Entry(
        "replaces a run that had not started",
        "How the task runs was changed before its command started.",
        "Nothing.",
    ),
    ReasonCode.EXECUTION_CHANGED: Entry(
        "{cause}; how it runs was changed, which applies to the next run",
        "The run goes on under its old resources, timeout and retries.",
        "Nothing; to apply the change at once, cancel the run.",
    ),
    ReasonCode.EXECUTION_CHANGED_BEFORE_START: Entry(
        "how it runs was changed before its command started",
        "A run that had not started is replaced by one under the new settings.",
        "Nothing.",
    ),
    ReasonCode.EARLIER_RUN_GOES_ON: Entry(
        "the run of {key} finishes first: {then}",
        "A run that was started for an earlier state of the inputs finishes first.",
        "Nothing; to end it, change a field of the manifest, such as a param.",
    ),
    ReasonCode.SOURCE_MOVED: Entry(
        "what it follows has moved",
        "A followed source, base or dataset has another key now.",
        "Nothing.",
    ),
    ReasonCode.WAITING_FOR_SUPERSEDED_RUN: Entry(
        "starts when the run it supersedes has ended",
        "The run of the old manifest is being cancelled.",
        "Nothing.",
    ),
    ReasonCode.FAILED_RUN_CLEARED: Entry(
        "starts when the earlier run is cleared away",
        "An ended Job of the same name is deleted before the next attempt.",
        "Nothing.",
    ),
    ReasonCode.RETRY_BACK_OFF: Entry(
        "{cause}; tried again at {at:%H:%M:%S} UTC ({count} so far)",
        "The last attempt failed for a reason other than its command; the next one waits.",
        "Mend the cause; nothing needs to be pushed.",
    ),
    ReasonCode.RUN_LIMIT_REACHED: Entry(
        "starts when fewer than {limit} runs are live ({key})",
        "As many runs are live as `limits.runs` allows, of all or of the tenant.",
        "Wait, or raise the limit that the message names.",
    ),
    ReasonCode.GPU_LIMIT_REACHED: Entry(
        "starts when {gpus} of {limit} GPUs are free ({key})",
        "Live runs use the GPUs that `limits.gpus` allows, of all or of the tenant.",
        "Wait, or raise the limit that the message names.",
    ),
    ReasonCode.INSUFFICIENT_GPUS: Entry(
        "waiting for GPUs: it needs {gpus}, and this machine has {available}",
        "The machine of the local engine can never offer that many GPUs.",
        "Ask for fewer GPUs, or use a larger machine.",
    ),
    ReasonCode.IMAGE_NOT_ALLOWED: Entry(
        "the image {image} is not in allow.images",
        "The configuration does not admit this image.",
        "Use an admitted image, or extend `allow.images`.",
    ),
    ReasonCode.CONTAINER_RUNTIME_MISSING: Entry(
        "this engine has no container runtime, so it cannot run an image by name",
        "The local engine runs processes unless `local.runtime` says otherwise.",
        "Set `local.runtime` to `docker` or `podman`, use `source.git`, or the Kubernetes engine.",
    ),
    ReasonCode.KEY_UNKNOWN: Entry(
        "its key is not known yet",
        "Something that the key is made of cannot be read yet.",
        "Look at the object's other messages.",
    ),
    ReasonCode.VARIANTS_INCOMPLETE: Entry(
        "{complete} of {total} variants complete, {failed} failed",
        "Not all trainings of a sweep have ended, so the best one is not known.",
        "Nothing; `reconciler status NAME` shows each.",
    ),
    ReasonCode.VARIANTS_FAILED: Entry(
        "{failed} of {total} variants failed; the first: {cause}",
        "Some trainings of a sweep have failed. The others count.",
        "Look at `reconciler status NAME`, and at the log of each by its key. "
        "`reconciler retry NAME` runs those that failed once more.",
    ),
    ReasonCode.ALL_VARIANTS_FAILED: Entry(
        "all {total} variants failed; the first: {cause}",
        "No training of a sweep is complete, so it has no artifact.",
        "Mend what the cause names.",
    ),
    ReasonCode.BEST_METRIC_MISSING: Entry(
        "no complete variant has the metric {metric} of training.matrix.best",
        "The metrics of the trainings have no such finite number, so none of them is the best.",
        "Write the metric to metrics.json in the training, or change `matrix.best.metric`.",
    ),
    ReasonCode.BEST_NOT_CHOSEN: Entry(
        "its matrix has no best, so it has no artifact",
        "A sweep without `matrix.best` has artifacts, and none of its own that others can use.",
        "Add `matrix.best`, or name one by its key.",
    ),
    # -- Planner: sources and references
    ReasonCode.SOURCE_NOT_RESOLVED: Entry(
        "its source has not been looked up yet",
        "The source is looked up beside the syncs and has not answered.",
        "Nothing, unless it lasts; then check the remote or the bucket.",
    ),
    ReasonCode.SOURCE_UNAVAILABLE: Entry(
        "{detail}",
        "The Git source, or the folder of an observed bucket, cannot be read.",
        "Mend the URL, branch, credentials or network that the message names.",
    ),
    ReasonCode.SOURCE_INVALID: Entry(
        "{detail}",
        "The Git source can never be used as it is: its URL, its commit's tree or a submodule.",
        "Correct what the message names, and push; a build is tried again at the new commit, or by `reconciler retry`.",
    ),
    ReasonCode.SOURCE_NOT_ALLOWED: Entry(
        "the source {url} is not in sources.allow",
        "The configuration does not admit this source.",
        "Use an admitted URL, or extend `sources.allow`.",
    ),
    ReasonCode.SOURCE_FOLDER_MISSING: Entry(
        "{path} is not a folder of this repository at head",
        "`source.git.path` names no folder of the commit.",
        "Correct `source.git.path`.",
    ),
    ReasonCode.COMMIT_UNSIGNED: Entry(
        "the commit is not signed",
        "`repository.verify` is set, and the commit has no signature.",
        "Sign it (`git commit --amend --gpg-sign`), or sign a commit on top of it.",
    ),
    ReasonCode.SIGNATURE_INVALID: Entry(
        "the signature does not fit the commit, or its key is not accepted",
        "The signature is of another commit, is damaged, or is of a key that the list of revoked "
        "keys names.",
        "Sign the commit again, with a key of an allowed signer.",
    ),
    ReasonCode.SIGNER_UNKNOWN: Entry(
        "the key {key} is of no signer that is allowed at the commit's date",
        "The signature is valid, and no line of `repository.verify.signers` that is valid at the "
        "commit's date has its key, nor has the keyring.",
        "Sign with a key of an allowed signer, or add the key's owner to the signers.",
    ),
    ReasonCode.SIGNER_EXPIRED: Entry(
        "the signature, or the key that made it, has expired",
        "An OpenPGP key or signature is past its end.",
        "Extend the key and replace it in the keyring, or sign with another one.",
    ),
    ReasonCode.SIGNER_REVOKED: Entry(
        "the key that made the signature is revoked",
        "The keyring has a revocation of the key.",
        "Sign with another key. Look at what the revoked key has signed.",
    ),
    ReasonCode.TOO_MANY_COMMITS: Entry(
        "more than {limit} commits since the last verified one",
        "With `repository.verify.mode: every` each new commit is checked, up to a limit.",
        "Push them in smaller steps, or use `mode: head`.",
    ),
    ReasonCode.HISTORY_SHALLOW: Entry(
        "the history ends at commit {commit}, so that those since the last verified one are unknown",
        "With `repository.verify.mode: every` each new commit is checked, and the repository is a "
        "shallow clone that has not got all of them.",
        "Deepen the repository that the daemon fetches from, or use `mode: head`.",
    ),
    ReasonCode.NOT_SIGNED_BY_TENANT: Entry(
        "{path} of tenant {tenant} is changed without a signature of the tenant's signers ({cause})",
        "The tenant has `signers`, and a commit that changes its files is not signed by one of them.",
        "Have one of the tenant's signers sign a change of the tenant's files on top of it, or revert "
        "the branch. With `mode: every`, push the branch without the commit.",
    ),
    ReasonCode.SOURCE_NOT_APPROVED: Entry(
        "the source {url} is new, and is looked up once this is merged",
        "A pull request names a source that no merged manifest names.",
        "Merge, or set `review.sources: any`.",
    ),
    ReasonCode.REFERENCE_CYCLE: Entry(
        "waiting for {object}, which depends on this object",
        "Two objects are each made from the other.",
        "Break the cycle.",
    ),
    ReasonCode.REFERENCE_INVALID: Entry(
        "waiting for {object}, which has no valid manifest yet",
        "The object referred to is missing or Invalid.",
        "Mend its manifest.",
    ),
    ReasonCode.REFERENCE_BLOCKED: Entry(
        "waiting for {object}: {cause}",
        "The key of the object referred to is not known.",
        "Mend what the cause names.",
    ),
    ReasonCode.REFERENCE_INCOMPLETE: Entry(
        "waiting for {object}: it has no complete artifact {key}",
        "The artifact that `key` pins does not exist.",
        "Pin a key from the object's history.",
    ),
    ReasonCode.BASE_REJECTED: Entry(
        "{object} was rejected by its gate: artifact {key}",
        "The artifact that is to be used did not pass the `evaluation` of its object.",
        "Make a better one, or accept this one: `reconciler accept NAME` of that object.",
    ),
    ReasonCode.BASE_NOT_ACCEPTED: Entry(
        "waiting for {object}: its gate has not accepted artifact {key}",
        "The artifact that `key` pins is not evaluated yet.",
        "Nothing, or look at the evaluation of the object.",
    ),
    ReasonCode.REFERENCE_IMAGE_UNKNOWN: Entry(
        "waiting for {object}: no image of it is known",
        "The image that the base was made in cannot be named any more.",
        "Change the base so that its image is built again.",
    ),
    ReasonCode.CLUSTER_NOT_CONFIGURED: Entry(
        "waiting for {object}: clusters does not configure that cluster",
        "The reference names a cluster that `clusters` does not list.",
        "Add the cluster to `clusters`.",
    ),
    ReasonCode.REMOTE_STATUS_UNAVAILABLE: Entry(
        "waiting for {object}: {detail}",
        "The other cluster's status branch cannot be read.",
        "Check that cluster's daemon and its status branch.",
    ),
    ReasonCode.REMOTE_INCOMPLETE: Entry(
        "waiting for {object}: it is {phase}, with no complete artifact {key}",
        "The other cluster has no complete artifact of the object.",
        "Wait for that cluster.",
    ),
    ReasonCode.REMOTE_ARTIFACT_REFUSED: Entry(
        "waiting for {object}: {detail}",
        "The other cluster's artifact or image is outside of what `clusters` admits.",
        "Extend the cluster's `buckets` or `registries`.",
    ),
    ReasonCode.REMOTE_UNKNOWN: Entry(
        "unknown until a sync, as it follows {object} ({now})",
        "A plan cannot know what another cluster will have when it is synced.",
        "Nothing; or pin it with `key`.",
    ),
    # -- Planner: objects, holds and runs that are ended
    ReasonCode.GATE_FAILED: Entry(
        "artifact {key} was rejected: {failed}",
        "The artifact did not pass the lines of `evaluation.require`. It is kept, and nobody's "
        "base, promotion or production.",
        "Make a better one, change `require`, or accept it as it is: `reconciler accept NAME`.",
    ),
    ReasonCode.INVALID_MANIFEST: Entry(
        "{problem}",
        "The manifest at head is wrong.",
        "Mend the line that the message names.",
    ),
    ReasonCode.HELD_BY_GUARD: Entry(
        "needs the line {id} in {files}: {hold}",
        "The sync would make more than `guard` admits.",
        "Add the line to the file that the message names and commit that, or revert the change.",
    ),
    ReasonCode.HELD_BY_PRUNE: Entry(
        "needs the line {id} in {files}: {hold}",
        "The sync would remove more objects than `prune` admits.",
        "Add the line to the file that the message names and commit that, or restore the manifests.",
    ),
    ReasonCode.HELD_BY_COST: Entry(
        "needs the line {id} in {files}: {hold}",
        "The sync would cost more than `guard.cost` admits, by its forecast.",
        "Add the line to the file that the message names and commit that, or revert the change.",
    ),
    ReasonCode.HELD_BY_BUDGET: Entry(
        "needs the line {id} in {files}: {hold}",
        "What is to run does not fit into the rest of the month's budget.",
        "Add the line to the file that the message names and commit that, raise `budget.month`, or wait for the next month.",
    ),
    ReasonCode.HELD_BY_RUNNING: Entry(
        "needs the line {id} in {files}: {hold}",
        "The sync would cancel runs that have taken more than `guard.running` admits. They go on meanwhile.",
        "Add the line to the file that the message names and commit that, revert the change, or let the runs end.",
    ),
    ReasonCode.COST_TOO_HIGH: Entry(
        "would cost an estimated {cost} with {tasks} tasks, of which {unknown} are unknown ({guard}: cost {limit})",
        "What a cost hold holds.",
        "Release the hold, or revert.",
    ),
    ReasonCode.BUDGET_EXCEEDED: Entry(
        "{tasks} tasks would cost an estimated {cost} ({unknown} are unknown); an estimated {spent} was spent in {month}, and {running} is for what runs ({budget}: {limit} a month)",
        "What a budget hold holds.",
        "Release the hold, raise the budget, or wait for the next month.",
    ),
    ReasonCode.RUNNING_WORK_LOST: Entry(
        "would cancel {runs} runs that have taken {hours:.1f} hours, {gpu_hours:.1f} GPU hours{cost} (guard.running)",
        "What a running hold holds: the work that would be lost.",
        "Release the hold, revert, or let the runs end.",
    ),
    ReasonCode.RECOMPUTE_TOO_LARGE: Entry(
        "would make {tasks} tasks with {gpus} GPUs, of {objects} objects, {existing} of which have an artifact ({guard}: {guard_tasks} tasks made again, {guard_gpus} GPUs)",
        "What a guard hold holds.",
        "Release the hold, or revert.",
    ),
    ReasonCode.TREE_EMPTY: Entry(
        "the tree holds no manifests at all; {objects} objects would go",
        "A prune hold: the commit has no manifests.",
        "Check `repository.path`; release the hold if it is meant.",
    ),
    ReasonCode.PRUNE_TOO_LARGE: Entry(
        "{objects} of {known} objects would go at once (prune: maxShare {share:g}, floor {floor})",
        "What a prune hold holds.",
        "Release the hold, or restore the manifests.",
    ),
    ReasonCode.REMOVAL_STILL_HELD: Entry(
        "{objects} objects whose removal an earlier sync held would go",
        "A held removal stays held, although it is less than `prune` admits by now.",
        "Release the hold, or restore the manifests.",
    ),
    ReasonCode.PRUNE_DISABLED: Entry(
        "its manifest is gone; prune is disabled",
        "`prune.enabled` is false.",
        "Enable prune to have the object removed.",
    ),
    ReasonCode.PRUNE_WITHHELD: Entry(
        "its manifest is gone, but nothing is removed while a manifest cannot be read: {problem}",
        "A manifest cannot be attributed to an object, so nothing is removed.",
        "Mend the manifest, or name a file that is none in `.reconcilerignore`.",
    ),
    ReasonCode.PRUNE_PROTECTED: Entry(
        'its manifest is gone; substratus.ai/prune: "false" protects it',
        "An annotation keeps the object.",
        "Restore the manifest, or remove the annotation first.",
    ),
    ReasonCode.MANIFEST_REMOVED: Entry(
        "its manifest was removed",
        "The object's manifest is gone from head.",
        "Nothing; artifacts stay.",
    ),
    ReasonCode.SUPERSEDED: Entry(
        "superseded by {key}",
        "The manifest, or one upstream of it, changed.",
        "Nothing.",
    ),
    ReasonCode.FAILED_RUN_RETRIED: Entry(
        "its failure was not the command's; it is tried again",
        "The failed Job is cleared away for the next attempt.",
        "Nothing.",
    ),
    ReasonCode.RESULT_LOST: Entry(
        "its result is gone; it is made again",
        "A Job that succeeded is cleared away, as its artifact or image was lost since.",
        "Nothing.",
    ),
    ReasonCode.BUILD_NOT_NEEDED: Entry(
        "no object needs this build any more",
        "The build's key is wanted by no object.",
        "Nothing.",
    ),
    ReasonCode.HISTORY_LIMIT: Entry(
        "an older run, whose outcome is recorded",
        "More than `history.jobs` finished Jobs of the object exist.",
        "Nothing.",
    ),
    ReasonCode.ARTIFACT_COLLECTED: Entry(
        "its artifact was collected",
        "A finished Job would say that the artifact is there, if the status branch were lost.",
        "Nothing.",
    ),
    ReasonCode.NEWER_COMMIT: Entry(
        "the {source} is pinned at {pinned}; {newest} is newer",
        "Condition UpdateAvailable: the pinned source, or that of the evaluation, has a newer commit.",
        "Change the annotation substratus.ai/update to take it.",
    ),
    ReasonCode.NEWER_COMMITS: Entry(
        "{source}; {evaluation}",
        "Condition UpdateAvailable: both pinned sources, the object's and that of its evaluation, "
        "have newer commits.",
        "Change the annotation substratus.ai/update to take both, or `commit` of one of them.",
    ),
    ReasonCode.NEWER_DATA: Entry(
        "the data is pinned at listing {pinned}; it is {newest} now",
        "Condition UpdateAvailable: what is in the folder is not what was pinned.",
        "Change the annotation substratus.ai/update to take it, or put back what was there.",
    ),
    ReasonCode.DATA_CHANGED: Entry(
        "the data of {object} in {url} has changed underneath: pinned is listing {pinned}, and it is "
        "{newest} now",
        "Condition DataChanged, or a task that waits: the Dataset has `update: Pin`, and what it "
        "pinned is not there any more. What was made from it stays; nothing is made from it now.",
        "Change the annotation substratus.ai/update of the Dataset to take what is there, or put "
        "back what was there.",
    ),
    ReasonCode.DATA_NOT_AS_LISTED: Entry(
        "the data in {url} is listing {found} now, and not {wanted}, which the run was to use",
        "The folder has changed since the daemon listed it, so the command was not started.",
        "Nothing: it is listed again within `sources.interval`, and tried again.",
    ),
    ReasonCode.UNKNOWN: Entry(
        "no reason is known",
        "A status file of another version, or an engine, gave no known code.",
        "Upgrade the command that reads it.",
    ),
    # -- Review: an object for which nothing runs
    ReasonCode.COLLECTION_TOO_LARGE: Entry(
        "{artifacts} artifacts would go, {size} of {whole} bytes of {whose} (retention: maxShare {share:g})",
        "What a hold of the collection holds.",
        "Look at `reconciler artifacts --collect`; release the hold if it is meant.",
    ),
    ReasonCode.COLLECTION_UNREADABLE: Entry(
        "the {what} may refer to an artifact, and cannot be read: {detail}",
        "A manifest, status branch, pull request, branch or artifact that could not be read may keep others.",
        "Mend what is named, or remove it.",
    ),
    ReasonCode.COLLECTION_KEY_UNKNOWN: Entry(
        "what {object} asks for is not known: {cause}",
        "The keys of an object are unknown, and may be those of old artifacts.",
        "See the cause; an object that is not needed can be removed.",
    ),
    ReasonCode.COLLECTION_CONFLICT: Entry(
        "it conflicts with the branch",
        "What a pull request would ask for once it is merged is not known to the collection.",
        "Mend the conflict, or close the pull request.",
    ),
    ReasonCode.COLLECTION_RUN_GOES_ON: Entry(
        "the run {run} of an earlier key goes on, and reads what no manifest names",
        "A superseded run finishes first; its inputs are not known to the collection.",
        "Nothing; the collection goes on once the run has ended.",
    ),
    ReasonCode.ARTIFACT_HIDDEN: Entry(
        "its artifact {key} was hidden by a collection, and a Job restores it",
        "A commit asks for an artifact again that nothing referred to. Only pods reach its bucket.",
        "Nothing; if it stays so, see the Job `r-collect-…` of the namespace, and the daemon's log.",
    ),
    ReasonCode.ARTIFACT_NOT_RESTORED: Entry(
        "its artifact {key} was hidden by a collection, and is not restored yet: {cause}",
        "A commit asks for an artifact again that nothing referred to, and the Job that restores it got no pod, failed, or took too long.",
        "Mend the cause that is named; it is tried again. Where a namespace enforces `restricted`, have the Job run as an ordinary user "
        "with `kubernetes.templates.collect`; where a quota is used up, make room for a pod.",
    ),
    ReasonCode.ARTIFACTS_KEPT: Entry(
        "artifacts in {folder} are not collected: {detail}",
        "A Job there got no pod, failed, or took too long. Other parts of buckets are collected, unless an artifact there "
        "that stays may be made from any other: one that no Job has listed since the start of the daemon.",
        "Mend the cause that is named: a quota, say, a claim that cannot be mounted, or an admission that refuses pods.",
    ),
    ReasonCode.IMAGES_KEPT: Entry(
        "images are not collected: {detail}",
        "The registry cannot be read, does not delete, or has another image at the tag of a build. All else is collected.",
        "Allow the daemon to read and delete images: registry.credentialsFile, and deletion in the registry. "
        "An image whose tag leads elsewhere is left to you.",
    ),
    ReasonCode.TAKES_OVER: Entry(
        "takes over the artifact of {object}, which is there already",
        "A promotion of an artifact that exists.",
        "Nothing.",
    ),
    ReasonCode.TAKES_OVER_ONCE_MADE: Entry(
        "takes over the artifact of {object} once it is made",
        "A promotion of an artifact that is still to be made.",
        "Nothing.",
    ),
    ReasonCode.TAKES_OVER_ONCE_ACCEPTED: Entry(
        "takes over the artifact of {object} once a gate has accepted it",
        "A promotion of an artifact that is still to be evaluated.",
        "Nothing.",
    ),
    ReasonCode.KEPT_WHILE_BLOCKED: Entry(
        "stays as it is, {cause}",
        "The object's keys are unknown, so its last artifact stays.",
        "Mend what the cause names.",
    ),
    ReasonCode.KEPT_UNTIL_CHOSEN: Entry(
        "stays as it is until the sweep upstream has ended, and then runs: {cause}",
        "Which artifact the object is made from is known once all trainings of a sweep have ended.",
        "Nothing.",
    ),
    ReasonCode.KEPT_UNTIL_MENDED: Entry(
        "stays as it is until that is mended",
        "Something upstream is wrong or gone, so the last artifact stays.",
        "Mend what the line above names.",
    ),
    ReasonCode.ALREADY_THERE: Entry(
        "what it names is there already",
        "The manifest names a bucket or an image that exists.",
        "Nothing.",
    ),
    ReasonCode.ONLY_EXECUTION_CHANGES: Entry(
        "only how it is run changes, for runs from now on; what is made stays",
        "Resources, timeout, retries or the like changed; no key did.",
        "Nothing.",
    ),
    ReasonCode.RESULT_UNCHANGED: Entry(
        "what is made stays",
        "The change decides neither what is made nor how it runs.",
        "Nothing.",
    ),
    ReasonCode.NOTHING_RUNS: Entry(
        "nothing runs for it",
        "No task of the object changes.",
        "Nothing.",
    ),
    # -- Engines: a run that waits
    ReasonCode.IMAGE_PULL_FAILED: Entry(
        "the image {image} cannot be pulled: {detail}",
        "The node, or Docker or Podman of the local engine, cannot pull the image.",
        "Check the image's name, the registry and its credentials.",
    ),
    ReasonCode.UNSCHEDULABLE: Entry(
        "no node can take it: {detail}",
        "The scheduler finds no node for the pod.",
        "Check requests, GPU type, taints and quotas.",
    ),
    ReasonCode.CONTAINER_CONFIG_INVALID: Entry(
        "its container cannot be made: {detail}",
        "A Secret, ConfigMap or mount that the pod names is missing.",
        "Create what the message names.",
    ),
    ReasonCode.CONTAINER_CRASHING: Entry(
        "the container {container} fails again and again: {detail}",
        "A container beside the command restarts in a loop.",
        "Look at the container's log.",
    ),
    ReasonCode.CONTAINER_WAITING: Entry(
        "the container {container} waits: {detail}",
        "The kubelet cannot start the container yet.",
        "Look at the pod's events.",
    ),
    ReasonCode.POD_STARTING: Entry(
        "its pod is starting",
        "The pod is scheduled; its volumes are being mounted, and its containers are not running yet.",
        "Nothing. If it lasts for minutes, look at the pod's events: a volume that cannot be mounted is named there alone.",
    ),
    ReasonCode.POD_REFUSED: Entry(
        "the Job {job} gets no pod: {detail}",
        "Admission or a quota refuses the pod of a Job that collects.",
        "Change what the cause names, or the pod, with `kubernetes.templates.collect`.",
    ),
    ReasonCode.POD_MISSING: Entry(
        "it has no pod; where that lasts, `kubectl describe job {job}` says why",
        "The Job has no pod.",
        "Look at the Job's events: quota or admission refuse pods there.",
    ),
    ReasonCode.QUEUED: Entry(
        "queued in {queue}{place}: {detail}",
        "The Job waits in a Kueue queue. What follows the name of the queue is Kueue's own account, and the position where Kueue tells it.",
        "Wait, or look at the queue: its quota, what holds it, whether it exists.",
    ),
    ReasonCode.QUEUED_AGAIN: Entry(
        "queued again in {queue}{place}: {cause}{detail}",
        "Kueue took the place of a run away, to give it to another one or because its quota was reduced. The run is not a failure: it goes on in its next attempt.",
        "Wait, or give the object a higher priority.",
    ),
    ReasonCode.QUEUE_CONTROLLER_MISSING: Entry(
        "queued in {queue}, but this cluster has no Kueue: its Job stays suspended",
        "The manifest names a queue, and the API server knows no resources of Kueue.",
        "Install Kueue, or take `queue` out of the manifest.",
    ),
    ReasonCode.QUEUE_IGNORES_JOB: Entry(
        "queued in {queue}, but Kueue has made no Workload for its Job",
        "Kueue's controller does not run, does not manage Jobs of this namespace, or has no integration for Jobs.",
        "Look at Kueue's controller and its configuration.",
    ),
    ReasonCode.JOB_SUSPENDED: Entry(
        "its Job is suspended, and is in no queue that would release it",
        "Somebody has suspended the Job.",
        "Set `spec.suspend` of the Job to false, or delete the Job: it is made anew.",
    ),
    ReasonCode.RUN_SUSPENDING: Entry(
        "its Job is suspended; its pods are ending",
        "The Job was suspended, by Kueue for another run as a rule. Its pods have their time to end, and hold their GPUs until then.",
        "Nothing.",
    ),
    ReasonCode.RUN_SUSPENDED: Entry(
        "suspended while it ran{cause}",
        "In a history: an attempt whose Job was suspended, by Kueue for another run as a rule. It is no failure.",
        "Nothing: the run goes on in its next attempt.",
    ),
    ReasonCode.NODE_UNREACHABLE: Entry(
        "nothing is heard of {nodes}, where its pod may still run; the next attempt waits until the cluster gives that up (where a node is gone for good, delete its Node object)",
        "The node of a running pod does not answer.",
        "Bring the node back, or delete its Node object.",
    ),
    ReasonCode.OUTCOME_PENDING: Entry(
        "it has ended; how is not known yet",
        "The Job has ended; its pod's termination message is not seen yet.",
        "Nothing.",
    ),
    ReasonCode.RETRYING_ATTEMPT: Entry(
        "{cause}; the next attempt follows",
        "An attempt failed and the engine makes the next.",
        "Nothing.",
    ),
    ReasonCode.WAITING_FOR_SLOTS: Entry(
        "waiting for {need} of {slots} cpu slots",
        "Other runs use the machine's slots.",
        "Wait, or raise `local.slots`.",
    ),
    ReasonCode.WAITING_FOR_GPUS: Entry(
        "waiting for {need} of {gpus} GPUs",
        "Other runs use the machine's GPUs.",
        "Wait.",
    ),
    ReasonCode.WAITING_FOR_SAME_KEY: Entry(
        "waiting for another run of the same key to end",
        "Two runs never write the same artifact at once.",
        "Nothing.",
    ),
    ReasonCode.WAITING_FOR_ENVIRONMENT: Entry(
        "waiting for another build of the same environment",
        "Builds with the same requirements share one virtual environment.",
        "Nothing.",
    ),
    ReasonCode.FETCHING_SOURCE: Entry(
        "fetching the source",
        "The local engine exports the build's source.",
        "Nothing.",
    ),
    ReasonCode.PULLING_IMAGE: Entry(
        "pulling the image {image}",
        "Docker or Podman of the local engine pulls an image that a manifest names.",
        "Nothing.",
    ),
    ReasonCode.VERIFYING_INPUT: Entry(
        "comparing the content of the {input} with its completed.json",
        "Its bucket has `verify: digests` or `signature`, so all of it is read before the command starts.",
        "Nothing.",
    ),
    # -- Engines: a run in a cluster
    ReasonCode.RANK_WAITING: Entry(
        "running; {cause}",
        "Some ranks of a training run; another cannot start.",
        "Mend the cause.",
    ),
    ReasonCode.COPYING_OUT: Entry(
        "copying {done} of {files} files, {percent} %",
        "The command has ended, and the wrapper copies what it wrote into the bucket. The percentage "
        "is of all bytes.",
        "Nothing.",
    ),
    ReasonCode.COPYING_IN: Entry(
        "restoring {done} of {files} files of an earlier attempt, {percent} %",
        "Before the command starts, the wrapper copies from the bucket what an earlier attempt left.",
        "Nothing.",
    ),
    ReasonCode.UPLOADING: Entry(
        "uploading, {files} files left",
        "The command has ended and its files are copied; rclone has not uploaded all of them yet.",
        "Nothing.",
    ),
    ReasonCode.NEXT_ATTEMPT_WAITING: Entry(
        "{cause}; before: {previous}",
        "An attempt failed, and the pod of the next cannot start.",
        "Mend the cause; look at why the attempt before failed.",
    ),
    ReasonCode.PODS_TERMINATING: Entry(
        "its pods are being ended{where}",
        "The Job is deleted; pods of it still run.",
        "Nothing.",
    ),
    ReasonCode.SERVICE_MISSING: Entry(
        "its ranks cannot find each other, as their Service cannot be made: {cause}",
        "The headless Service of a training with several nodes is refused.",
        "Mend the cause, a quota for one; it is tried again.",
    ),
    ReasonCode.CONTAINER_EXITED: Entry(
        "it ended with exit code {exit_code}{detail}",
        "The container ended and left no termination message of the wrapper.",
        "Read the log of its pod.",
    ),
    ReasonCode.INTERRUPTED: Entry(
        "its container was told to end: {detail}",
        "The pod was ended before the command had finished.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.DISK_FULL: Entry(
        "the disk is full: {detail}",
        "The disk that the command writes to has no room.",
        "Make room on the disk or in the bucket, in a cluster perhaps by `resources.disk`; it is tried again.",
    ),
    ReasonCode.BUCKET_FAILED: Entry(
        "the artifact's directory cannot be read or written: {detail}",
        "The mounted bucket failed.",
        "Check the bucket and its credentials; it is tried again.",
    ),
    ReasonCode.NAMESPACE_MISSING: Entry(
        "there is no namespace {namespace}; make it first",
        "The namespace of the object is not in the cluster.",
        "Create the namespace.",
    ),
    ReasonCode.NAMESPACE_NOT_CONFIGURED: Entry(
        "kubernetes.namespaces does not name {namespace}; add it, and give the daemon the rights of deploy/components/job-rights there",
        "The daemon neither watches nor makes Jobs in this namespace.",
        "Add it to `kubernetes.namespaces`, with the rights.",
    ),
    ReasonCode.JOB_TERMINATING: Entry(
        "an earlier Job {job} is still being deleted",
        "A Job of the run's name is being deleted.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.JOB_CONFLICT: Entry(
        "a Job {namespace}/{job} is there that is not this run's ({labels} differs); it is left alone",
        "Something else made a Job of this name.",
        "Delete or rename that Job.",
    ),
    ReasonCode.OBJECT_REJECTED: Entry(
        "the API server refuses its {kind}: {detail}",
        "A volume, claim or Service that the run needs is not valid.",
        "Correct the configuration that it is made of.",
    ),
    ReasonCode.GPU_TYPE_UNKNOWN: Entry(
        'kubernetes.gpus does not say what a GPU of type "{type}" is called in this cluster (known: {known}); ask for a known type, or have it added',
        "The configuration has no entry for this GPU type.",
        "Use a known type, or add it to `kubernetes.gpus`.",
    ),
    ReasonCode.PROFILE_UNKNOWN: Entry(
        'kubernetes.profiles has no profile "{profile}" (known: {known})',
        "The manifest names a profile that is not configured.",
        "Use a known profile, or add it to `kubernetes.profiles`.",
    ),
    ReasonCode.BUCKET_NOT_ALLOWED: Entry(
        "{url} is in no bucket of the configuration, and allow.buckets does not name it",
        "The manifest reads a bucket that is not allowed.",
        "Have it added to `allow.buckets`.",
    ),
    ReasonCode.BUCKET_DRIVER_MISSING: Entry(
        "no driver mounts {url}: expected one of {known}, or a bucket under buckets with driver: rclone",
        "No driver is for the scheme of the URL.",
        "Use another URL, or configure the bucket with `driver: rclone`.",
    ),
    ReasonCode.SECRET_RESERVED: Entry(
        'secretEnv {variable} names the Secret "{secret}", which is the reconciler\'s own; use another',
        "The Secret holds credentials of the operators.",
        "Use a Secret of your own.",
    ),
    # -- Engines: requests to an API server
    ReasonCode.CLUSTER_NOT_FOUND: Entry(
        "no cluster can be reached: {detail}",
        "Neither a kubeconfig nor a pod's service account names a cluster.",
        "Set `kubernetes.context` or KUBECONFIG.",
    ),
    ReasonCode.API_SERVER_UNREACHABLE: Entry(
        "the API server cannot be reached: {detail}",
        "The API server does not answer.",
        "Nothing; it is asked again.",
    ),
    ReasonCode.API_SERVER_FAILED: Entry(
        "the API server answered {status}: {detail}",
        "The API server is overloaded, starting or broken.",
        "Nothing; it is asked again.",
    ),
    ReasonCode.API_SERVER_UNAUTHORIZED: Entry(
        "the API server does not accept the daemon's credentials: {detail}",
        "The token or certificate of the daemon is not valid.",
        "Give the daemon valid credentials.",
    ),
    ReasonCode.API_SERVER_FORBIDDEN: Entry(
        "{detail}",
        "The daemon's account lacks a right, or a quota is used up.",
        "Grant the right, or raise the quota.",
    ),
    ReasonCode.API_SERVER_REFUSED: Entry(
        "{detail}",
        "The API server refuses the request: the object is not valid, missing or there already.",
        "Do what the message says.",
    ),
    ReasonCode.LEASE_OWNED: Entry(
        "the Lease {namespace}/{name} is of the daemon of {other}, and this is the daemon of {own}: give it a kubernetes.instance of its own, or delete the Lease if that daemon is gone",
        "Two daemons that sync different things use one instance name.",
        "Set `kubernetes.instance`.",
    ),
    ReasonCode.NOT_LEADING: Entry(
        "this replica does not lead any more",
        "Another replica holds the Lease.",
        "Nothing.",
    ),
    # -- Engines: a result with a warning
    ReasonCode.METRICS_IGNORED: Entry(
        "{detail}",
        "Condition MetricsIgnored: what is no finite number in metrics.json, or beyond its bounds, is not kept.",
        "Correct what the command writes; the numbers that are usable are kept.",
    ),
    ReasonCode.ARTIFACT_EMPTY: Entry(
        "the artifact has no file: the command has written nothing into its directory",
        "Condition ArtifactEmpty: the command succeeded and left nothing.",
        "Have the command write into the directory that MODEL_DIR, of a Dataset DATA_DIR, names.",
    ),
    ReasonCode.GIT_LFS_POINTERS: Entry(
        "the source has Git LFS pointers in place of files: {files}",
        "Condition GitLfsPointers: sources are fetched without Git LFS, so the image has the pointers, small texts.",
        "Have the load download the files, or keep them in a bucket or in Git itself.",
    ),
    ReasonCode.DATA_CHANGED_MEANWHILE: Entry(
        "the data in {url} has changed while the command ran, so that this may be made from both: "
        "listing {before} at its start, {after} at its end",
        "Condition DataChangedMeanwhile of an artifact: whoever wrote into the folder did so while "
        "a training read it.",
        "Write new data beside the old, into another folder. To train again, change `rerun`.",
    ),
    # -- Engines: a run that failed
    ReasonCode.COMMAND_FAILED: Entry(
        "its command ended with exit code {exit_code}{last}",
        "The command failed.",
        "Read the log; mend the code or the params and push.",
    ),
    ReasonCode.DEADLINE_EXCEEDED: Entry(
        "it did not end within its timeout of {seconds}s",
        "The attempt ran longer than `timeout`.",
        "Raise `timeout`, or make it faster.",
    ),
    ReasonCode.START_DEADLINE_EXCEEDED: Entry(
        "its timeout passed{when}: {cause}",
        "The Job's deadline passed before its command started.",
        "Mend the cause.",
    ),
    ReasonCode.OUT_OF_MEMORY: Entry(
        "it ran out of memory (exit code {exit_code}); raise resources.memory",
        "The container passed its memory limit.",
        "Raise `resources.memory`.",
    ),
    ReasonCode.STALLED: Entry(
        "its command neither printed nor reported progress for {seconds}s",
        "The attempt was ended after the time of `stall` without output and without progress.",
        "Read the log for what it waits for; raise `stall` where a step takes longer, or have it print.",
    ),
    ReasonCode.LIMIT_EXCEEDED: Entry(
        "evicted: {detail}; raise resources.disk or shm",
        "The pod passed a disk or shared memory limit of the manifest.",
        "Raise `resources.disk` or `resources.shm`.",
    ),
    ReasonCode.EVICTED: Entry(
        "evicted{where}: {detail}",
        "The node was short of something and evicted the pod.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.DISRUPTED: Entry(
        "its pod was disrupted{where}: {detail}",
        "The pod was evicted, preempted, or its node was lost.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.PODS_GONE: Entry(
        "its pods are gone{detail}",
        "Pods of the Job were deleted.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.MOUNT_FAILED: Entry(
        "the mount by {container} broke{where}",
        "A bucket's FUSE sidecar restarted.",
        "Nothing; it is tried again. Check the bucket if it lasts.",
    ),
    ReasonCode.INIT_CONTAINER_FAILED: Entry(
        "the container {container} failed ({exit_code}){where}: {detail}",
        "A container before the command failed.",
        "Read its log.",
    ),
    ReasonCode.POD_FAILED: Entry(
        "its pod failed{where}: {detail}",
        "The pod failed and no container says why.",
        "Look at the pod's events.",
    ),
    ReasonCode.CONTAINER_KILLED: Entry(
        "its container was killed{where} (exit code {exit_code})",
        "The container was killed from outside while its command ran.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.COMMAND_NOT_STARTED: Entry(
        "its command could not be started: {detail}",
        "The kernel or the container runtime refuses to start the command.",
        "Correct `command` or the image.",
    ),
    ReasonCode.COMMAND_NOT_FOUND: Entry(
        '"{name}" is neither a file in the working directory nor a program on PATH',
        "The first word of `command` names nothing. The working directory is the source's folder, of an image its WORKDIR.",
        "Correct `command`; its words are a list, not one line.",
    ),
    ReasonCode.COMMAND_NOT_EXECUTABLE: Entry(
        "{name} has no execute permission (chmod +x)",
        "The file of the command has no mode bit to execute it.",
        "`git update-index --chmod=+x {file}` and commit that, or chmod +x in the Dockerfile.",
    ),
    ReasonCode.COMMAND_NOT_PERMITTED: Entry(
        "the user {user} may not execute {name}, whose mode is {mode}",
        "The file of the command may be executed by other users only.",
        "Change its mode or owner, or the user of the pod.",
    ),
    ReasonCode.NOEXEC_MOUNT: Entry(
        "{name} is on {mount}, which is mounted noexec: no file there can be executed",
        "The file system of the command is mounted with noexec.",
        "Mount it without noexec, or move `local.root`; or name a program in `command` that is elsewhere, as in [sh, train.sh].",
    ),
    ReasonCode.WINDOWS_LINE_ENDS: Entry(
        'the first line of {name} ends in a carriage return, as Windows ends lines: save it with Unix line ends, and keep them by "{name} text eol=lf" in .gitattributes',
        "The carriage return is a part of the interpreter's name, and no such program exists.",
        "Save {file} with Unix line ends.",
    ),
    ReasonCode.BYTE_ORDER_MARK: Entry(
        "{name} begins with a byte order mark, so that its first line #! does not count: save it as UTF-8 without one",
        "An editor has put three invisible bytes before the #! of the script.",
        "Save {file} without a byte order mark.",
    ),
    ReasonCode.INTERPRETER_LINE_MISSING: Entry(
        "{name} is no program, and has no first line such as #!/bin/sh or #!/usr/bin/env python3",
        "The kernel does not know how to execute the file.",
        "Add a first line that names its interpreter to {file}, or name that in `command`.",
    ),
    ReasonCode.INTERPRETER_MISSING: Entry(
        'the first line of {name} names "{interpreter}", which is not there',
        "The script's interpreter is not on this machine, or not in the image.",
        "Correct the first line of {file}, or install the interpreter.",
    ),
    ReasonCode.LOADER_MISSING: Entry(
        "{name} is made for another system: it needs {loader}, which is not there",
        "The program is linked dynamically, against a C library that the machine or the image does not have.",
        "Use an image with that library, or a program that is linked statically.",
    ),
    ReasonCode.BUILD_FAILED: Entry(
        "{detail}",
        "The build failed.",
        "Mend what the message names; the build's log has more.",
    ),
    ReasonCode.BUILD_RESULT_LOST: Entry(
        "the build has ended, but its pod, which knew the image's digest, is gone",
        "The digest of the image was not seen.",
        "Nothing; the build is made again.",
    ),
    ReasonCode.ARTIFACT_INCOMPLETE: Entry(
        "{detail}",
        "What the command left cannot be made an artifact.",
        "Correct what the command writes.",
    ),
    ReasonCode.SECRET_MISSING: Entry(
        "{detail}",
        "A Secret that `secretEnv` names is missing.",
        "Create it.",
    ),
    ReasonCode.RUN_REFUSED: Entry(
        "{detail}",
        "The engine refuses the run as the manifest has it.",
        "Correct the manifest.",
    ),
    ReasonCode.ENGINE_UNAVAILABLE: Entry(
        "{detail}",
        "The engine cannot be asked, or has no room.",
        "Nothing; it is asked again.",
    ),
    ReasonCode.INFRASTRUCTURE_FAILED: Entry(
        "{detail}",
        "Something other than the command failed.",
        "Nothing; it is tried again up to ten times.",
    ),
    ReasonCode.CANCELLED: Entry(
        "it was cancelled",
        "The run was ended on request.",
        "Nothing; of an object that is suspended, `reconciler resume NAME` lets it run again.",
    ),
    ReasonCode.ENDED_BY_USER: Entry(
        "{by} ended it by `reconciler cancel --now`{at}{cause}",
        "The run was ended on the engine, without a commit. It is remembered like a failure, so it does not start again by itself.",
        "`reconciler retry NAME` runs it again, and goes on from what the command has left; so does a change of its params or settings.",
    ),
    ReasonCode.IMAGE_GONE: Entry(
        "the image {image} is not there any more; it has to be built again",
        "The build's folder, its virtual environment or its container image was removed.",
        "Nothing; it is built again.",
    ),
    ReasonCode.ARTIFACT_LOST: Entry(
        "the {input} is gone or damaged: {url} is not there, or its files are not as in completed.json",
        "An artifact that was complete was deleted, or files of it were.",
        "Nothing: it is made again, within the guard. Find out who deletes from the bucket.",
    ),
    ReasonCode.ARTIFACT_NOT_VERIFIED: Entry(
        "the {input} at {url} is refused: {detail}",
        "Its bucket has `verify: signature`, and it has no valid signature by a key of `signing`; or a file of "
        "a folder that no task made is not as it was signed. The command is not started.",
        "Find out who wrote it. If the files are as they should be, sign them, or add the signer's key to "
        "`signing.publicKeyFiles`. If not, delete `completed.json` beside them: then it is made again.",
    ),
    ReasonCode.SUPERVISOR_LOST: Entry(
        "the run's supervisor was lost, probably by a reboot or for want of memory",
        "The process that supervises the run was killed after its command had started.",
        "Nothing; it is tried again.",
    ),
    ReasonCode.SUPERVISOR_STOPPED: Entry(
        "its supervisor was told to stop (SIGTERM), probably by a shutdown",
        "The machine or an operator ended the run's supervisor.",
        "Nothing; it is tried again.",
    ),
}
