"""URLs of Git repositories and buckets, and the allow-lists that admit them."""

from reconciler.urls.addresses import NODE_BOUND, Address, Pattern
from reconciler.urls.allow_lists import (
    admits_bucket,
    admits_image,
    admits_name,
    admits_path,
    admits_url,
    has_prefix,
    path_depth,
)
from reconciler.urls.buckets import below, clusters_folder, innermost, namespace_folder
from reconciler.urls.git import (
    UrlError,
    check_url,
    host_of,
    is_local,
    local_path,
    normal_url,
    redact,
    resolve_url,
    split_ssh,
)

__all__ = [
    "NODE_BOUND",
    "Address",
    "Pattern",
    "UrlError",
    "admits_bucket",
    "admits_image",
    "admits_name",
    "admits_path",
    "admits_url",
    "below",
    "check_url",
    "clusters_folder",
    "has_prefix",
    "host_of",
    "innermost",
    "is_local",
    "local_path",
    "namespace_folder",
    "normal_url",
    "path_depth",
    "redact",
    "resolve_url",
    "split_ssh",
]
