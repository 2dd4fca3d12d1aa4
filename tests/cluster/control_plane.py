"""etcd, API server, controller manager and scheduler: a Kubernetes on which pods are objects.

What was learned, in flags: without ``--use-service-account-credentials`` the controllers lack
rights and no pod ever appears; ``--endpoint-reconciler-type=none`` because a loopback address may
not be an endpoint; etcd need not sync to disk what is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster.api import Api
from tests.cluster.certificates import Authority, Pair
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.ports import free
from tests.cluster.process import Program, until

#: Where in-cluster clients look for the API server.
SERVICE = "10.96.0.1"
_SERVICES = "10.96.0.0/24"

#: ``spec.scheduling`` of Jobs. The API server, the controllers and the scheduler have these gates.
_GANGS = ("--feature-gates=GenericWorkload=true,WorkloadWithJob=true",)
_POD_GROUPS = "--runtime-config=scheduling.k8s.io/v1beta1=true"

#: Every request is one line: what a steady daemon asks for can be counted.
_AUDIT = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


class ControlPlane:
    """Runs in ``folder``, on free ports of ``address``."""

    def __init__(
        self,
        folder: Path,
        binaries: Mapping[str, Path],
        *,
        address: str = "127.0.0.1",
        audit: bool = False,
        gangs: bool = False,
    ) -> None:
        self.folder = folder
        self._binaries = binaries
        self._audit = audit
        self._gates = _GANGS if gangs else ()
        self._address = address
        self._pki = folder / "pki"
        self.authority = Authority(self._pki)
        ports = free(5)
        self.port = ports[0]
        self.server = f"https://{address}:{self.port}"
        self.admin = self.authority.issue("admin", "admin", group="system:masters")
        self.kubeconfig = self.user("admin", self.admin)
        self.api = Api(self.server, str(self.authority.ca.certificate), self.admin)
        self.etcd, self.api_server, self.controllers, self.scheduler = self._programs(ports)

    def user(self, name: str, pair: Pair) -> Path:
        """A kubeconfig that speaks to this API server by ``pair``."""
        ca = str(self.authority.ca.certificate)
        user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        server = {"server": self.server, "certificate-authority": ca}
        return write_kubeconfig(self.folder / f"{name}.kubeconfig", server, user)

    @property
    def programs(self) -> tuple[Program, ...]:
        """In the order of starting; they are stopped in the reverse."""
        return self.etcd, self.api_server, self.controllers, self.scheduler

    async def start(self) -> None:
        """Until pods of Jobs would be created and bound. Raises `ClusterFailed`."""
        await self.etcd.start()
        await self.api_server.start()
        await until(self.api.answers, "the API server is ready", self.etcd, self.api_server)
        await self.controllers.start()
        await self.scheduler.start()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        await until(lambda: self.api.answers(account), "the controllers work", *self.programs)

    async def stop(self) -> None:
        for program in reversed(self.programs):
            await program.stop()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def describe(self) -> Mapping[str, Any]:
        return {
            "kubeconfig": str(self.kubeconfig),
            "server": self.server,
            "ca": str(self.authority.ca.certificate),
            "admin": {"certificate": str(self.admin.certificate), "key": str(self.admin.key)},
        }

    def _programs(self, ports: list[int]) -> tuple[Program, Program, Program, Program]:
        secure, client, peer, controllers, scheduler = ports
        ca = self.authority.ca.certificate
        pki = self.authority
        # fmt: off
        serving = pki.issue("serving", "kube-apiserver", hosts=(
            self._address, "127.0.0.1", SERVICE, "localhost",
            "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        ))
        kubelets = pki.issue("to-kubelets", "apiserver-kubelet-client", group="system:masters")
        front = pki.issue("front-proxy", "front-proxy")
        tokens = pki.token_key()
        etcd = f"http://127.0.0.1:{client}"
        peers = f"http://127.0.0.1:{peer}"
        return (
            self._program("etcd", "etcd", (
                f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
                f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
            )),
            self._program("apiserver", "kube-apiserver", (
                f"--etcd-servers={etcd}", "--endpoint-reconciler-type=none",
                f"--bind-address={self._address}", f"--secure-port={secure}",
                f"--service-cluster-ip-range={_SERVICES}",
                f"--tls-cert-file={serving.certificate}", f"--tls-private-key-file={serving.key}",
                f"--client-ca-file={ca}",
                "--authorization-mode=Node,RBAC", "--allow-privileged=true",
                "--enable-admission-plugins=NodeRestriction",
                f"--kubelet-client-certificate={kubelets.certificate}",
                f"--kubelet-client-key={kubelets.key}",
                "--kubelet-preferred-address-types=InternalIP",
                # For aggregated APIs, such as that of Kueue.
                f"--proxy-client-cert-file={front.certificate}",
                f"--proxy-client-key-file={front.key}",
                f"--requestheader-client-ca-file={ca}",
                "--requestheader-allowed-names=front-proxy",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={tokens.key}",
                f"--service-account-key-file={tokens.certificate}",
                *self._audit_flags(), *self._gates, *([_POD_GROUPS] if self._gates else []),
            )),
            self._program("controllers", "kube-controller-manager", (
                f"--kubeconfig={self._component('controllers', 'kube-controller-manager')}",
                "--bind-address=127.0.0.1", f"--secure-port={controllers}", "--leader-elect=false",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={tokens.key}", f"--root-ca-file={ca}",
                "--authentication-skip-lookup=true",
                f"--flex-volume-plugin-dir={self.folder / 'flex'}",
                # A lost node is noticed in seconds: six renewals of its lease (see `node`).
                "--node-monitor-period=1s", "--node-monitor-grace-period=12s",
                # As shipped: 20 requests a second would be the bottleneck of every test of load.
                "--kube-api-qps=500", "--kube-api-burst=1000", *self._gates,
            )),
            self._program("scheduler", "kube-scheduler", (
                f"--kubeconfig={self._component('scheduler', 'kube-scheduler')}",
                "--bind-address=127.0.0.1", f"--secure-port={scheduler}", "--leader-elect=false",
                "--authentication-skip-lookup=true",
                "--kube-api-qps=500", "--kube-api-burst=1000", *self._gates,
            )),
        )
        # fmt: on

    def _component(self, file: str, name: str) -> Path:
        return self.user(file, self.authority.issue(file, f"system:{name}"))

    def _program(self, name: str, binary: str, flags: Iterable[str]) -> Program:
        return Program(
            name, [self._binaries[binary], *flags], log=self.folder / "logs" / f"{name}.log"
        )

    def _audit_flags(self) -> tuple[str, ...]:
        if not self._audit:
            return ()
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(_AUDIT)
        return (
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.folder / 'logs' / 'audit.log'}",
        )
