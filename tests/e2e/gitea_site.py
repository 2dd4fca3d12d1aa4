"""An installation whose repository is on a real Gitea, which the daemon reads as ``bot``."""

from __future__ import annotations

import secrets
from typing import Any

from tests.cluster.ports import free
from tests.e2e.site import Site, git
from tests.forge.gitea import SCOPES, Gitea, GiteaRepository
from tests.git.remotes import make_key

#: Seconds between polls that no test waits for: what happens was delivered by a hook.
_NEVER = "1h"


class GiteaSite(Site):
    """A Site whose clone pushes to a repository of ``team`` by HTTP.

    Polls are an hour apart: the daemon acts on Gitea's hooks, unless a test configures another
    ``interval``.
    """

    def __init__(self, root: Any, gitea: Gitea) -> None:
        super().__init__(root)
        self.gitea = gitea
        name = f"r{secrets.token_hex(6)}"
        gitea.call("POST", "/user/repos", {"name": name, "default_branch": "main"})
        self.repository = GiteaRepository(gitea, f"team/{name}")
        self.repository.call("PUT", "/collaborators/bot", {"permission": "write"})
        self.remote = self.repository.path
        origin = gitea.url(self.repository.name, user="team")
        git(self.work, "remote", "set-url", "origin", origin)
        self.give_token(*SCOPES)
        (self.root / "git-token").write_text(gitea.token("bot", "write:repository"))
        self.follow()

    def follow(self, *, api: str = "", interval: str = _NEVER, **sections: Any) -> None:
        """Configure the daemon for this repository, with hooks that reach it."""
        secret, (port,) = self.root / "secret", free(1)
        secret.write_text(secrets.token_hex(16))
        self.configure(
            server={"address": f"127.0.0.1:{port}", "webhookSecretFile": "secret"},
            repository={
                "url": self.gitea.url(self.repository.name),
                "interval": interval,
                "credentials": {"username": "bot", "passwordFile": "git-token"},
            },
            sources={"allow": ["http://*"]},
            review={
                "forge": "gitea",
                "api": api or self.gitea.api,
                "repository": self.repository.name,
                "tokenFile": "token",
                "interval": interval,
            },
        )
        self.configure_more(**sections)
        self.repository.add_hook(f"http://127.0.0.1:{port}/webhook", secret.read_text())

    def by_ssh(self) -> None:
        """Have the daemon fetch and push by SSH, with a key of ``bot``."""
        make_key(self.root / "key")
        public = (self.root / "key.pub").read_text()
        key = {"title": secrets.token_hex(8), "key": public}
        self.gitea.call("POST", "/user/keys", key, user="bot")
        credentials = {
            "sshKeyFile": "key",
            "knownHostsFile": str(self.gitea.known_hosts),
        }
        self.configure_section("repository", url=self.repository.ssh_url, credentials=credentials)

    def give_token(self, *scopes: str) -> str:
        """Put a new token of ``bot`` in the place of the one that is read."""
        token = self.gitea.token("bot", *scopes)
        (self.root / "token.new").write_text(f"{token}\n")
        (self.root / "token.new").replace(self.root / "token")
        return token

    def propose_branch(self, branch: str, message: str = "Change") -> str:
        """Commit everything and push it as a branch, by force; returns the commit."""
        return self.propose(f"refs/heads/{branch}", message)

    def started_names(self) -> set[str]:
        """The objects of which a command was started."""
        return {name for name, _ in self.started()}
