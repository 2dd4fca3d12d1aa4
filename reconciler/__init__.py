"""GitOps for machine-learning models: manifests in Git, artifacts in buckets, Jobs in between."""

__version__ = "0.1.0"
