"""A Kubernetes cluster of the tests' own: real processes, built from Go modules, gone afterwards.

Two levels. ``control-plane`` is etcd, API server, controller manager and scheduler on loopback: up
in seconds, no root needed, and enough for whatever ends at an object. ``node`` adds a kubelet with
containerd, a registry and an S3 server, so that pods run; it needs root on Linux.

``build`` makes the binaries, ``keeper`` runs one cluster in a process of its own, ``lease`` starts
or joins one, ``cluster`` is what a test holds, ``fixtures`` gives it to pytest.
"""
