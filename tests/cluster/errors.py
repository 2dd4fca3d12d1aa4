"""What can keep a cluster from coming up."""

from __future__ import annotations


class ClusterUnavailable(Exception):
    """This machine cannot have such a cluster; the message says what it lacks."""


class ClusterFailed(Exception):
    """The cluster was to come up here and did not; the message ends in the log that says why."""
