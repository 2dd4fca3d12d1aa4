"""URLs in buckets: folders of namespaces, and paths below a folder.

A folder is a URL without a slash at its end. URLs are compared as they are written, component by
component: what is believed or mounted is the URL itself, and not another spelling of it.
"""

from __future__ import annotations

from collections.abc import Iterable


def clusters_folder(bucket: str) -> str:
    """Return the folder of a bucket with all clusters' artifacts."""
    return f"{bucket}/clusters"


def namespace_folder(bucket: str, cluster: str, namespace: str) -> str:
    """Return the folder of a bucket that has a namespace's artifacts."""
    return f"{clusters_folder(bucket)}/{cluster}/namespaces/{namespace}"


def below(url: str, folder: str) -> str | None:
    """Return a URL's path below a folder.

    It is empty for the folder itself, and None for what is elsewhere.
    """
    if url == folder:
        return ""
    return url.removeprefix(f"{folder}/") if url.startswith(f"{folder}/") else None


def innermost(url: str, folders: Iterable[str]) -> str | None:
    """Return the innermost folder with a URL, or None."""
    around = [folder for folder in folders if below(url, folder) is not None]
    return max(around, key=len) if around else None
