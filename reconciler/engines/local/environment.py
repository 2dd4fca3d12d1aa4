"""Environments of commands, installers and supervisors."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from reconciler.engines.local.failures import SecretError
from reconciler.types import SecretKey

#: The variables of the daemon that a command gets: locale, proxies and certificates.
_PASSED = frozenset(
    {
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
    }
)
#: OPENBLAS_CORETYPE and the like work round a processor that the library does not know.
_PASSED_PREFIX = "OPENBLAS_"
#: The daemon's configuration may stand in variables with this prefix, secrets too.
_OWN_PREFIX = "RECONCILER_"
#: The namespace whose secrets lie directly in their folder.
_DEFAULT_NAMESPACE = "default"
_SECRET_LIMIT = 100 << 10  # Linux takes at most 128 KiB for one variable


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the daemon's environment that commands get."""
    return {
        name: value
        for name, value in environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIX)
    }


def reaching_itself(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables by which a program uses no proxy for 127.0.0.1."""
    found = dict(variables)
    if any(name.lower() in ("http_proxy", "all_proxy") for name in variables):
        for name in ("NO_PROXY", "no_proxy"):
            found[name] = ",".join(filter(None, (variables.get(name), "127.0.0.1")))
    return found


def for_supervisor(environ: Mapping[str, str], package: Path) -> dict[str, str]:
    """Return a supervisor's environment: the daemon's without its configuration.

    ``package`` is the folder that holds this package, which need not be installed.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(_OWN_PREFIX)}
    return kept | {"PYTHONPATH": str(package)}


def for_installer(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an installer's environment.

    Indexes and caches may be configured in any variable.
    """
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {
        name: value
        for name, value in environ.items()
        if name not in dropped and not name.startswith(_OWN_PREFIX)
    }


def search_path(environ: Mapping[str, str], env: Path | None) -> str:
    """Return a command's PATH: its virtual environment, then the daemon's.

    The daemon's own virtual environment is left out.
    The interpreter that the daemon runs on comes last, so that a source without requirements
    finds a Python too.
    """
    own = {str(Path(sys.prefix) / "bin")} if sys.prefix != sys.base_prefix else set()
    folders = [str(env / "bin")] if env else []
    folders += environ.get("PATH", os.defpath).split(os.pathsep)
    folders.append(str(Path(sys.base_prefix) / "bin"))
    kept = [folder for folder in folders if folder and folder not in own]
    return os.pathsep.join(dict.fromkeys(kept))


def read_secrets(
    folder: str | None, namespace: str, wanted: Mapping[str, SecretKey]
) -> dict[str, str]:
    """Read the values of ``secretEnv`` by variable. Raises SecretError.

    Those of the namespace default are in ``<name>/<key>``, another's in
    ``<namespace>/<name>/<key>``: a folder's depth keeps the two apart, whatever the names.
    One line end at the end of a file is left out: editors and echo put it there, and no token
    ends in one.
    """
    if wanted and folder is None:
        raise SecretError(
            "secretEnv is set but local.secrets is not configured; it names the folder that "
            "holds <name>/<key>"
        )
    own = Path(folder or "") / (namespace if namespace != _DEFAULT_NAMESPACE else "")
    return {
        variable: _read_secret(own / secret.name, secret.key, variable)
        for variable, secret in wanted.items()
    }


def _read_secret(folder: Path, key: str, variable: str) -> str:
    path = folder / key
    try:
        if key in (".", "..") or not path.is_file():
            raise SecretError(f"the secret for {variable} is missing: there is no file {path}")
        with path.open("rb") as file:
            data = file.read(_SECRET_LIMIT + 1)
    except OSError as error:
        raise SecretError(
            f"the secret for {variable} cannot be read: {path}: {error.strerror}"
        ) from error
    if len(data) > _SECRET_LIMIT or b"\0" in data:
        raise SecretError(
            f"the secret for {variable} cannot be a variable: {path} has a NUL byte or more than "
            f"{_SECRET_LIMIT} bytes"
        )
    return os.fsdecode(data.removesuffix(b"\n").removesuffix(b"\r"))
