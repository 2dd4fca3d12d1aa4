"""Git: the manifest repository, the sources, and the status branch, by pygit2."""
