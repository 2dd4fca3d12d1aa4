"""Keys and signed commits, made by ssh-keygen, gpg and git themselves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.needs import program


def _run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Signer:
    """A key with the git settings that sign by it."""

    name: str
    settings: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    key: str = ""  # the public key of SSH


def ssh_signer(folder: Path, name: str) -> Signer:
    program("ssh-keygen", package="openssh-client")
    file = folder / f"{name}.key"
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file), cwd=folder)
    return Signer(
        name,
        {"gpg.format": "ssh", "user.signingKey": str(file)},
        key=" ".join(file.with_suffix(".key.pub").read_text().split()[:2]),
    )


def gpg_signer(folder: Path, name: str) -> Signer:
    """A key with a home of its own, made an hour ago."""
    program("gpg", package="gpg gpg-agent")
    home = folder / f"{name}.gnupg"
    home.mkdir(mode=0o700)
    env = {"GNUPGHOME": str(home)}
    mail = f"{name}@example.test"
    made = f"{int(time.time()) - 3600}!"
    options = ("--faked-system-time", made)
    _gpg(home, *options, "--quick-generate-key", f"{name} <{mail}>", "ed25519", "sign", "never")
    return Signer(name, {"gpg.format": "openpgp", "user.signingKey": mail}, env)


def _gpg(home: Path, *arguments: str) -> str:
    env = {**os.environ, "GNUPGHOME": str(home)}
    command = [
        "gpg",
        "--batch",
        "--quiet",
        "--yes",
        "--passphrase",
        "",
        "--pinentry-mode",
        "loopback",
    ]
    return _run(*command, *arguments, cwd=home, env=env)


def keyring(folder: Path, *signers: Signer) -> Path:
    """A file of the public keys."""
    file = folder / "keyring.asc"
    homes = [Path(signer.env["GNUPGHOME"]) for signer in signers]
    file.write_text("".join(_gpg(home, "--armor", "--export") for home in homes))
    return file


def expire(signer: Signer) -> None:
    """Let a signer's key end half an hour ago."""
    home = Path(signer.env["GNUPGHOME"])
    listed = _gpg(home, "--with-colons", "--list-keys").splitlines()
    fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))
    now = f"{int(time.time()) - 3000}!"
    _gpg(home, "--faked-system-time", now, "--quick-set-expire", fingerprint, "seconds=600")


def revoke(folder: Path, signer: Signer) -> None:
    """Revoke a signer's own key, in the signer's home."""
    home = Path(signer.env["GNUPGHOME"])
    (certificate,) = (home / "openpgp-revocs.d").glob("*.rev")
    text = certificate.read_text()
    made = folder / "revoke.asc"
    made.write_text(text.replace("\n:-----BEGIN", "\n-----BEGIN"))
    _gpg(home, "--import", str(made))


def commit(
    work: Path, message: str, signer: Signer | None = None, *, date: str = "", who: str = "Dev"
) -> str:
    """Commit everything in a clone, signed or not; returns the commit."""
    env = {**os.environ, **(signer.env if signer else {})}
    if date:
        env |= {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
    settings = {"user.name": who, "user.email": f"{who.lower()}@example.test"}
    settings |= dict(signer.settings) if signer else {"commit.gpgSign": "false"}
    options = [part for pair in settings.items() for part in ("-c", "=".join(pair))]
    _run("git", "add", "--all", cwd=work)
    signing = ["--gpg-sign"] if signer else ["--no-gpg-sign"]
    _run(
        "git", *options, "commit", "--quiet", "--allow-empty", *signing, "--message", message,
        cwd=work, env=env,
    )  # fmt: skip
    return _run("git", "rev-parse", "HEAD", cwd=work).strip()
