"""Manifests and problems of tenants' files, and what they may name.

A document whose path has another tenant than its namespace, or none, defines nothing: its problems
are of the file alone, so that it can neither replace nor invalidate the object that it names. What
a document that may claim its object then names is held to the lists of its tenant, field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from reconciler.manifests.loader import FileContent, Manifest
from reconciler.manifests.messages import described
from reconciler.manifests.schema import CommandSection, ModelSpec, RunSection
from reconciler.manifests.sources import GitSection
from reconciler.manifests.tenants import ANY_GPU, Tenant, Tenants
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import ForeignRef, ObjectRef, Problem
from reconciler.urls import (
    UrlError,
    admits_bucket,
    admits_image,
    admits_name,
    admits_url,
    normal_url,
    resolve_url,
)

_NAMESPACE: Path = ("metadata", "namespace")
_SOURCE: Path = ("spec", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The tenants of one configuration, and how manifests are theirs.

    ``located`` gives the path in the repository of a file as it is shown.
    """

    tenants: Tenants = field(default_factory=Tenants)
    repository_url: str = ""
    located: Callable[[str], str] = str

    def of_file(self, file: str) -> Tenant | None:
        """Return the tenant of a file."""
        return self.tenants.of_path(self.located(file))

    def own(self, content: FileContent) -> FileContent:
        """Return a file's content without claims to others' objects.

        These become ``foreign`` problems, which are of no object.
        """
        if not self.tenants:
            return content
        tenant = self.of_file(content.path)
        claims = [(manifest, self._claim(tenant, manifest)) for manifest in content.manifests]
        foreign = [found for _, found in claims if found is not None]
        own = []
        for problem in content.problems:
            if tenant is None or not self._is_own(tenant, problem.object):
                foreign.append(replace(problem, object=None))
            else:
                own.append(problem)
        return replace(
            content,
            manifests=tuple(manifest for manifest, found in claims if found is None),
            problems=tuple(own),
            foreign=tuple(foreign),
            broken=content.broken and tenant is not None,
        )

    def _is_own(self, tenant: Tenant, ref: ObjectRef | None) -> bool:
        return ref is None or self.tenants.of_namespace(ref.namespace) is tenant

    def _claim(self, tenant: Tenant | None, manifest: Manifest) -> Problem | None:
        """Return the problem of a manifest that may not define its object."""
        namespace = manifest.ref.namespace
        if tenant is None:
            message = f"the path {described(manifest.file)} is in no tenant's paths"
            found = manifest.problem(("metadata",), message)
        elif self._is_own(tenant, manifest.ref):
            return None
        else:
            known = ", ".join(tenant.namespaces)
            message = f'namespace "{namespace}" is not one of tenant {tenant.name}: {known}'
            found = manifest.problem(_NAMESPACE, message)
        return replace(found, object=None)

    def problems(self, manifest: Manifest) -> Iterator[Problem]:
        """Find what a manifest may not define or name."""
        if not self.tenants:
            return
        tenant = self.of_file(manifest.file)
        claim = self._claim(tenant, manifest)
        if tenant is None or claim is not None:
            assert claim is not None
            yield claim
            return
        check = _Named(tenant, self.tenants, self.repository_url, manifest)
        for path, message in check.findings():
            yield manifest.problem(path, message)


@dataclass(frozen=True, slots=True)
class _Named:
    """The names in one manifest, against the lists of its tenant."""

    tenant: Tenant
    tenants: Tenants
    repository_url: str
    manifest: Manifest

    def findings(self) -> Iterator[tuple[Path, str]]:
        """Yield each field that names what is not admitted, with a message."""
        spec = self.manifest.document.spec
        yield from self._references()
        for field_, git in self.manifest.git_sources.items():
            for path, message in self._git(git):
                yield (*field_.path, "git", *path), message
        image = spec.source.image
        if image is not None and not admits_image(image.ref, self.tenant.images):
            yield (*_SOURCE, "image", "ref"), self._not_in(f"the image {image.ref}", "images")
        bucket = None if isinstance(spec, ModelSpec) else spec.source.bucket
        loaded = spec.load.from_
        for path, section in (
            ((*_SOURCE, "bucket", "url"), bucket),
            (("spec", "load", "from", "url"), loaded),
        ):
            if section is not None and not admits_bucket(section.url, self.tenant.buckets):
                yield path, self._not_in(f"the bucket {section.url}", "buckets")
        runs: list[tuple[str, RunSection | None]] = [("build", spec.build), ("load", spec.load)]
        if isinstance(spec, ModelSpec):
            runs += [("training", spec.training), ("evaluation", spec.evaluation)]
        for name, run in runs:
            if run is not None:
                for path, message in self._run(run):
                    yield ("spec", name, *path), message

    def _run(self, run: RunSection) -> Iterator[tuple[Path, str]]:
        tenant = self.tenant
        named = [
            ("profile", "profile", run.profile, "profiles", tenant.profiles),
            ("queue", "queue", run.queue, "queues", tenant.queues),
            ("priority", "priority class", run.priority, "priorities", tenant.priorities),
            (
                "serviceAccount",
                "service account",
                run.service_account,
                "serviceAccounts",
                tenant.service_accounts,
            ),
        ]
        for field_, what, value, key, globs in named:
            if value is not None and not admits_name(value, globs):
                yield (field_,), self._not_in(f'the {what} "{value}"', key)
        gpu = run.resources.gpu
        if gpu is not None and not admits_name(gpu.type or ANY_GPU, tenant.gpus):
            found = f'the type of GPU "{gpu.type}"' if gpu.type else "a GPU without a type (any)"
            yield ("resources", "gpu", "type"), self._not_in(found, "gpus")
        if isinstance(run, CommandSection):
            for variable, key_ in run.secret_env.items():
                if not admits_name(key_.name, tenant.secrets):
                    path = ("secretEnv", variable, "name")
                    yield path, self._not_in(f'the Secret "{key_.name}"', "secrets")

    def _references(self) -> Iterator[tuple[Path, str]]:
        """An object of another cluster counts as its namespace's tenant's."""
        for target, reference, path in self.manifest.references:
            ref = target.ref if isinstance(target, ForeignRef) else target
            owner = self.tenants.of_namespace(ref.namespace)
            if owner is None or not self.tenant.may_use(owner):
                place = "namespace" if reference.namespace is not None else "name"
                yield (*path, place), f"{target} {self._whose(owner)}"

    def _whose(self, owner: Tenant | None) -> str:
        """Say why the objects of another tenant may not be referred to."""
        if owner is None:
            return "is in a namespace of no tenant"
        if owner.name in self.tenant.uses:
            return f"is tenant {owner.name}'s, whose references.to has not {self.tenant.name}"
        return self._not_in(f"is tenant {owner.name}'s, which", "references.from")

    def _git(self, git: GitSection) -> Iterator[tuple[Path, str]]:
        if git.url == ".":
            if not self._is_own_folder(git.path):
                yield ("path",), self._not_in(f"the folder {described(git.path)}", "paths")
        else:
            try:
                url = resolve_url(self.repository_url, git.url)
            except UrlError:
                return  # a source that no configuration admits
            if not admits_url(url, self.tenant.sources):
                yield ("url",), self._not_in(f"the source {url}", "sources")
        if git.submodules and "*" not in self.tenant.sources:
            # .gitmodules names further repositories, which are fetched with the same credentials.
            yield ("submodules",), self._not_in('submodules need "*", which', "sources")

    def _is_own_folder(self, folder: str) -> bool:
        """Return whether a folder of the manifest repository may be built.

        It is in the tenant's own paths, or the repository is one of its sources.
        """
        owner = self.tenants.of_path(f"{folder}/Dockerfile")
        return owner is self.tenant or self._is_source(self.repository_url)

    def _is_source(self, url: str) -> bool:
        try:
            return admits_url(normal_url(url), self.tenant.sources)
        except UrlError:
            return False

    def _not_in(self, what: str, key: str) -> str:
        return f"{what} is not in {key} of tenant {self.tenant.name}"
