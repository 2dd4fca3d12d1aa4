"""Sections of the configuration for progress, notifications and pull requests."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from reconciler.config.secret_paths import SECRET
from reconciler.manifests import Seconds, Section
from reconciler.planner import Phase
from reconciler.types import ObjectRef, SourceField

FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
#: A file or folder whose content no command of the local engine may read.
SecretPath = Annotated[str, Field(min_length=1, max_length=4096), SECRET]


class ProgressSection(Section):
    """Reports of progress from pods, for `engine: kubernetes`.

    ``url`` is how pods reach this server, such as http://reconciler.reconciler.svc:8080.
    ``keyFile`` holds a key of at least 16 bytes, from which the token of each run is derived.
    ``caFile`` is the CA of an https URL, in PEM. The local engine needs none of it.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2048)]
    key_file: SecretPath
    ca_file: FilePath | None = None


class NotificationsSection(Section):
    """A webhook for changes of recorded phases to one of ``phases``.

    ``urlFile`` holds its URL, which may be a secret itself, and ``secretFile`` the secret that
    deliveries are signed with; both are read at each delivery. At most one delivery an
    ``interval``. ``template`` makes its body, a Jinja2 template of JSON.
    """

    url_file: SecretPath
    secret_file: SecretPath | None = None
    phases: list[Annotated[Phase, Field(strict=False)]] = Field(
        default_factory=lambda: [
            Phase.INVALID,
            Phase.FAILED,
            Phase.REJECTED,
            Phase.HELD,
            Phase.READY,
        ]
    )
    interval: Seconds = 10.0
    template: Annotated[str, Field(max_length=65536)] | None = None

    @field_validator("template")
    @classmethod
    def _makes_json(cls, template: str | None) -> str | None:
        if template is not None:
            from reconciler.notify import TemplateFault, try_template  # noqa: PLC0415 -- takes a while

            try:
                try_template(template)
            except TemplateFault as error:
                raise ValueError(str(error)) from error
        return template


class ReviewSection(Section):
    """Pull requests that are planned, with a commit status and one comment.

    ``api`` and ``repository`` (owner/name, on GitLab with all groups) follow from
    ``repository.url`` where that is a forge's. ``tokenFile`` is read at each request. At most
    ``open`` requests are followed, polled once an ``interval``. ``sources: known`` looks up no
    source but those that merged manifests name.
    """

    forge: Literal["github", "gitlab", "gitea", "forgejo"]
    token_file: SecretPath
    api: (
        Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2048)] | None
    ) = None
    repository: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$", max_length=255)]
        | None
    ) = None
    interval: Seconds = 60.0
    open: Annotated[int, Field(ge=1, le=1000)] = 100
    comment: bool = True
    sources: Literal["known", "any"] = "known"

    @field_validator("api")
    @classmethod
    def _keeps_the_token(cls, api: str | None) -> str | None:
        if api is not None and api.startswith("http://") and not _is_loopback(api):
            raise ValueError("is plain HTTP, by which the token would be sent for all to read")
        return api


class RequestsSection(Section):
    """Pull requests of the daemon for newer commits and artifacts.

    They are for pinned commits and keys.

    Needs ``review``, and a token and credentials that may push ``branch`` and open requests. At
    most ``limit`` are open at once.
    """

    sources: bool = True
    promotions: bool = True
    branch: Annotated[str, Field(max_length=200)] = (
        "reconciler/update/{cluster}/{kind}-{namespace}-{name}"
    )
    limit: Annotated[int, Field(ge=1, le=100)] = 10

    @field_validator("branch")
    @classmethod
    def _names_the_object(cls, branch: str) -> str:
        missing = [part for part in ("{kind}", "{namespace}", "{name}") if part not in branch]
        if missing:
            raise ValueError(f"needs {' and '.join(missing)}: each object has a branch of its own")
        if not re.fullmatch(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*", _filled(branch, _ANY)):
            raise ValueError("is no name of a branch")
        return branch

    def branch_of(self, ref: ObjectRef, source: SourceField, cluster: str) -> str:
        """Return the branch of the request for an object's source.

        No name of an object has a dot, so that none is that of another's evaluation.
        """
        values = (cluster, ref.kind.value.lower(), ref.namespace, ref.name)
        branch = _filled(self.branch, dict(zip(_ANY, values, strict=True)))
        return branch + (_OF_EVALUATION if source is SourceField.EVALUATION else "")

    def is_own(self, branch: str, cluster: str) -> bool:
        """Return whether a branch is of a request of this cluster."""
        values = {re.escape(part): "[a-z0-9-]+" for part in _ANY}
        values[re.escape("{cluster}")] = re.escape(cluster)
        own = _filled(re.escape(self.branch), values)
        return re.fullmatch(f"{own}({re.escape(_OF_EVALUATION)})?", branch) is not None


#: The end of a branch's name for the source of an evaluation.
_OF_EVALUATION = ".evaluation"
#: The variables of a branch's name, with a value that any object may have.
_ANY = {"{cluster}": "x", "{kind}": "model", "{namespace}": "x", "{name}": "x"}


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


@dataclass(frozen=True, slots=True)
class ForgeSite:
    """A forge's API and the repository's name there.

    ``api`` is a URL without a slash at its end.
    """

    api: str
    repository: str


def forge_site(section: ReviewSection, url: str) -> ForgeSite:
    """Return the forge of the repository at a URL.

    Raises ValueError if neither the section nor the URL names it.
    """
    found = re.fullmatch(
        r"(?:https://(?:[^@/]*@)?|ssh://(?:[^@/]*@)?|[^@/:]+@)"
        r"(?P<host>[A-Za-z0-9.-]+)(?P<port>:\d+)?[/:](?P<name>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+)",
        url.rstrip("/").removesuffix(".git"),
    )
    api, name = section.api, section.repository
    if found is not None:
        port = found["port"] if url.startswith("https://") and found["port"] else ""
        api = api or _api(section.forge, found["host"] + port)
        name = name or found["name"]
    if name is not None and name.count("/") > 1 and section.forge != "gitlab":
        name = None
    if api is None or name is None:
        raise ValueError(
            "review needs api and repository, as repository.url is not that of a forge"
        )
    return ForgeSite(api.rstrip("/"), name)


def _api(forge: str, host: str) -> str:
    if forge == "gitlab":
        return f"https://{host}/api/v4"
    if forge != "github":
        return f"https://{host}/api/v1"
    return "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
