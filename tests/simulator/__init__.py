"""The whole daemon in simulated time, driven by a seed: see docs/reliability.md.

A seed and a commit of this repository decide everything, so that any failure can be replayed. The
daemon's own code runs, from ``run_daemon`` down; what stands in is outside of it: clocks, threads'
turns, chance, calls to Git remotes, and the API server with its controllers and nodes.
"""
