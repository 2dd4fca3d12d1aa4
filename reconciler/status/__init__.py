"""Status: what the daemon knows, as the files it commits."""
