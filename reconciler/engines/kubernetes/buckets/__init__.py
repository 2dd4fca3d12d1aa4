"""Buckets as directories of a pod, one driver a file."""
