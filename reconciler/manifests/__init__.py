"""Manifests: bytes to typed objects, or to errors that say where and what was expected."""
