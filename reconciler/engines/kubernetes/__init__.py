"""The Kubernetes engine: a run is a Job, an artifact a directory of a bucket that its pod mounts.

Rendering is pure: :func:`.render.render` makes of a run, and of what the configuration says about
the cluster, the objects that carry it out. ``reconciler render`` prints them.

What a Job's pods do in a container of the user's image is in shell, as that image may hold
nothing but one program (:mod:`.wrapper`); what they report comes back in the container's
termination message (:mod:`.termination`). Everything that is written for a pod is pure.
"""
