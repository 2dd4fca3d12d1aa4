"""The Kubernetes engine: a run is a plain Job, an artifact a directory of a mounted bucket.

What a Job is to be is rendered by pure functions from a RunSpec (:mod:`.render`); what has become
of it is read by pure functions from the Job and its Pods (:mod:`.observe`). Between them stand a
client that decodes only the fields in use (:mod:`.api`), and caches that are kept current by one
list and one watch per kind (:mod:`.cache`).
"""
