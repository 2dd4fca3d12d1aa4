"""The daemon: fetch, read, plan, act, report."""
