"""Planning as a pure function of manifests, runs and recorded statuses.

Manifests, observations and the ledger go in; tasks, keys and actions come out.
"""
