"""The planner: manifests, observations and the ledger in; tasks, keys and actions out. Pure."""
