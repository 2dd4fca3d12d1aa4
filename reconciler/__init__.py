"""GitOps for machine-learning models.

Manifests are in Git, artifacts in buckets; Jobs make the ones from the others.
"""

__version__ = "0.1.0"
