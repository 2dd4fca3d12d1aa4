"""The Kubernetes engine: a run is a Job, an artifact a directory of a bucket that its pod mounts.

Rendering is pure: :func:`.render.render` makes of a run, and of what the configuration says about
the cluster, the objects that carry it out. ``reconciler render`` prints them.
"""
