"""The Kubernetes engine: runs are plain Jobs, found again by their labels.

What a Job is to be is rendered by pure functions from a RunSpec; what has become of it is read by
pure functions from the Job and its Pods. Between them stand a client that decodes only the fields
in use, and caches that are kept current by one list and one watch per kind.
"""
