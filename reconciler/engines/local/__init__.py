"""The local engine: runs are processes, buckets are directories, nothing else is needed."""
