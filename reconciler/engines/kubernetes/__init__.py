"""The Kubernetes engine: runs are Jobs, buckets are volumes.

What a Job's pods do in a container of the user's image is in shell, as that image may hold
nothing but one program (:mod:`.wrapper`); what they report comes back in the container's
termination message (:mod:`.termination`). Everything that is written for a pod is pure.
"""
