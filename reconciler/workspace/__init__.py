"""A commit of the manifest repository, read and planned."""
