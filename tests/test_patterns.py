"""Allow-lists: the URLs, images and buckets that a glob admits, and attempts to get past one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import GitError
from reconciler.urls import Address, admits_bucket, admits_image, admits_url, normal_url

DIGEST = f"@sha256:{'e' * 64}"


@pytest.mark.parametrize(
    ("glob", "allowed", "refused"),
    [
        ("https://*", ["https://host/a", "https://host:1/a/b"],
         ["http://host/a", "ssh://host/a", "host:a", "file:///a"]),
        ("ssh://*", ["ssh://git@host/a", "git@host:a/b", "host:a"], ["https://host/a"]),
        ("https://github.com/org/*", ["https://github.com/org/a", "https://github.com/org/a/b"],
         ["https://github.com/organ/a", "https://github.com/org", "https://github.com.evil/org/a",
          "https://evil/github.com/org/a", "https://github.com:444/org/a"]),
        ("https://github.com", ["https://github.com/a/b"], ["https://github.company/a"]),
        ("https://*.example.com/*", ["https://git.example.com/a", "https://a.b.example.com/a"],
         ["https://evil/x.example.com/a", "https://example.com/a", "https://evil:1/.example.com/a"]),
        ("https://*/org/*", ["https://host/org/a"], ["https://host/x/org/a"]),
        ("ssh://github.com/org/*", ["git@github.com:org/a", "ssh://git@github.com/org/a"],
         ["ssh://github.com@evil/org/a", "git@evil:github.com/org/a"]),
        ("ssh://git@github.com/*", ["git@github.com:a"], ["root@github.com:a", "github.com:a"]),
        ("git@github.com:org/*", ["git@github.com:org/a"], ["git@github.com:other/a"]),
        ("http://host/*", ["http://host/a"], ["https://host/a"]),
        ("*://host/*", ["https://host/a", "ssh://host/a"], ["http://host/a"]),
        ("*", ["https://host/a", "git@host:a"], ["http://host/a", "file:///a"]),
        ("file:///srv/*", ["file:///srv/a"], ["file:///etc/a", "file:///srvx/a"]),
        ("file://*", ["file:///a"], ["https://file/a"]),
        ("HTTPS://Host/Team/*", ["https://host/Team/a"], ["https://host/team/a"]),
        ("https://host:443/*", ["https://host/a", "https://host:443/a"], ["https://host:444/a"]),
        ("https://*:8443/*", ["https://host:8443/a"], ["https://host/a", "https://host:8444/a"]),
        ("https://host/", ["https://host/a/b"], ["https://host.x/a"]),
        ("https://[::1]/*", ["https://[::1]/a"], ["https://1/a", "https://[::2]/a"]),
        ("file://localhost/srv/*", ["file:///srv/a"], ["file:///etc/a"]),
        ("https://host/a%20b/*", ["https://host/a%20b/c"], ["https://host/a/c"]),
        ("https://host/a%2a/*", ["https://host/a*/c"], ["https://host/ab/c"]),
        ("https://host/[!s]*", ["https://host/a"], ["https://host/%73ecret"]),
        ("host", [], ["https://host/a", "host:a"]),
    ],
)  # fmt: skip
def test_a_glob_over_urls_admits_these_and_refuses_those(
    glob: str, allowed: list[str], refused: list[str]
) -> None:
    for url in allowed:
        assert admits_url(normal_url(url), [glob]), url
    for url in refused:
        assert not admits_url(normal_url(url), [glob]), url


@pytest.mark.parametrize(
    ("glob", "allowed", "refused"),
    [
        ("*", ["alpine", "registry.test/a/b", "localhost/a", "registry:5000/a"], []),
        ("*.example.com/*", ["r.example.com/a", "R.Example.COM/a/b", "r.example.com:443/a"],
         ["evil.test/x.example.com/a", "example.com/a", "r.example.com:444/a",
          "evil/.example.com/a"]),
        ("registry.test/models/*", ["registry.test/models/a", "registry.test/models/a/b"],
         ["registry.test/models", "registry.test/other/a", "registry.test.evil/models/a",
          "evil.test/registry.test/models/a", "registry.test:5000/models/a"]),
        ("registry.test/models/a", ["registry.test/models/a", "registry.test/models/a:v1"],
         ["registry.test/models/ab", "registry.test/models/a/b"]),
        ("registry.test/models/a:v*", ["registry.test/models/a:v1"], ["registry.test/models/a"]),
        (f"registry.test/a{DIGEST}", ["registry.test/a"], ["registry.test/b"]),
        ("registry.test/a@sha256:0*", [], ["registry.test/a"]),
        ("registry.test", ["registry.test/a/b"], ["registry.test.evil/a", "registry.test"]),
        ("registry:5000", ["registry:5000/a"], ["registry/a", "registry:5001/a"]),
        ("registry.test:*/a", ["registry.test:5000/a", "registry.test/a"], ["registry.test/b"]),
        ("[::1]:5000", ["[::1]:5000/a"], ["[::2]:5000/a"]),
        ("localhost", ["localhost/a"], ["a", "docker.io/localhost/a"]),
        # An image without a host part is Docker Hub's, as for Docker.
        ("alpine", ["alpine", "library/alpine", "docker.io/alpine", "docker.io/library/alpine",
                    "index.docker.io/library/alpine", "alpine:3.12"],
         ["evil/alpine", "evil.test/alpine", "evil.test/library/alpine", "alpine/evil"]),
        ("alp*", ["alpine", "library/alpine"], ["alp.test/x", "evil.test/alpine"]),
        ("alpine:3.12", ["alpine:3.12"], ["alpine:3.13", "alpine"]),
        ("library/*", ["alpine", "library/x"], ["team/x", "registry.test/library/x"]),
        ("team/*", ["team/x", "docker.io/team/x/y"], ["team.test/x", "registry.test/team/x"]),
        ("docker.io/*", ["alpine", "team/x"], ["registry-1.docker.io/team/x", "docker.io.evil/x"]),
        ("index.docker.io/team/*", ["docker.io/team/x"], ["docker.io/other/x"]),
        ("docker.io/a/b", ["a/b"], ["docker.io/library/a/b"]),
        ("*/team/*", ["team/x", "registry.test/team/x", "Evil/team/x"], ["registry.test/x/team/x"]),
        ("evil/*", ["evil/x"], ["Evil/x"]),
    ],
)  # fmt: skip
def test_a_glob_over_images_admits_these_and_refuses_those(
    glob: str, allowed: list[str], refused: list[str]
) -> None:
    for image in allowed:
        assert admits_image(image + DIGEST, [glob]), image
    for image in refused:
        assert not admits_image(image + DIGEST, [glob]), image


@pytest.mark.parametrize(
    "image",
    ["a/../b", "a//b", "/a", "a/", "a/./b", "r.test/a%2fb", "r.test/a\\b", "r.test/A", "",
     "r.test:/a", "user@r.test/a", "https://r.test/a", "r.test:x/a", "-r.test/a", "r.test/a\n"],
)  # fmt: skip
def test_what_is_no_image_reference_is_admitted_by_no_glob_for_some(image: str) -> None:
    assert not admits_image(image + DIGEST, ["*/*", "r.test", "r.test/*", "docker.io/*", "*.test"])


@pytest.mark.parametrize(
    ("glob", "allowed", "refused"),
    [
        ("*", ["s3://a/b", "gs://a/b/c"], ["file:///a", "pvc://a/b"]),
        ("*://*", ["s3://a/b"], ["file:///a", "pvc://a/b"]),
        ("s3://*-prod/*", ["s3://a-prod/y"], ["s3://evil/x-prod/y", "gs://a-prod/y"]),
        ("s3://public-*", ["s3://public-a/b/c", "s3://public-a"], ["s3://evil/public-a/b"]),
        ("s3://a", ["s3://a/b/c", "s3://a"], ["s3://ab/c", "s3://A/b"]),
        ("s3://a/data", ["s3://a/data", "s3://a/data/"], ["s3://a/data/b", "s3://a/database"]),
        ("s3://a/data*", ["s3://a/data/b", "s3://a/database"], ["s3://a/x/data"]),
        ("pvc://*", ["pvc://claim/a"], ["file:///a"]),
        ("file:///srv/*", ["file:///srv/a"], ["file:///etc/a", "file://srv/a"]),
        ("s3*", [], ["s3://a/b"]),
    ],
)  # fmt: skip
def test_a_glob_over_buckets_admits_these_and_refuses_those(
    glob: str, allowed: list[str], refused: list[str]
) -> None:
    for url in allowed:
        assert admits_bucket(url, [glob]), url
    for url in refused:
        assert not admits_bucket(url, [glob]), url


@pytest.mark.parametrize(
    "url",
    ["s3://a/../b", "s3://a/./b", "s3://a//b", "s3://a/x%2fb", "s3://a/%2E%2e/b", "s3://a/%252e/b",
     "s3://a/x%5cb", "s3://a/x\\b", "s3://u@a/b", "s3://a:1/b", "s3:///b", "s3://a?x/b", "a/b", "",
     "s3://a/x\nb", "s3://a/x b"],
)  # fmt: skip
def test_a_bucket_url_with_two_readings_is_admitted_by_no_glob(url: str) -> None:
    assert not admits_bucket(url, ["*", "*://*", "s3://*", "s3://a", "s3://a/*"])


@pytest.mark.parametrize("below", [False, True])
def test_a_folder_admits_what_is_in_it_where_that_is_asked_for(below: bool) -> None:
    assert admits_bucket("s3://a/data/b", ["s3://a/data"], below=below) == below
    assert admits_image(f"r.test/m/a{DIGEST}", ["r.test/m"], below=below) == below
    assert not admits_bucket("s3://a/database", ["s3://a/data"], below=below)
    assert not admits_image(f"alpine/evil{DIGEST}", ["alpine"], below=below)


def test_an_empty_list_admits_nothing() -> None:
    assert not admits_url("https://host/a", [])
    assert not admits_image(f"registry.test/a{DIGEST}", [])
    assert not admits_bucket("s3://a/b", [])


_HOST_GLOBS = st.lists(
    st.sampled_from(["*", "?", "good", "evil", ".", "-prod", "example", "[ge]", "a", "1"]),
    min_size=1,
    max_size=4,
).map("".join)
_PATHS = st.lists(
    st.sampled_from(
        ["/", "good", "evil", ".", "-prod", "example", "a", "1", ":", "@", "..", "%2f", "\\", "x"]
    ),
    max_size=8,
).map("".join)


@given(_HOST_GLOBS, _PATHS, _PATHS)
@example("*-prod", "/*", "evil/x-prod/y")
@example("*.example", "/*", "evil/x.example/y")
@example("*1", "", "good:1/x")
def test_no_admitted_url_has_a_host_that_the_glob_s_host_does_not_match(
    host: str, path: str, rest: str
) -> None:
    for scheme in ("https", "ssh", "http"):
        url = f"{scheme}://{rest}"
        if admits_url(url, [f"{scheme}://{host}/{path}"]):
            assert fnmatchcase(urlsplit(url).hostname or "", host)
    bucket = f"s3://{rest}"
    if admits_bucket(bucket, [f"s3://{host}/{path}"]):
        assert fnmatchcase(rest.partition("/")[0], host)


@given(_HOST_GLOBS, _PATHS, _PATHS)
@example(host="*.example", path="*", rest="evil/x.example/a")
def test_no_admitted_image_has_a_host_that_the_glob_s_host_does_not_match(
    host: str, path: str, rest: str
) -> None:
    image = f"{rest}{DIGEST}"
    named = host if set(host) & set(".*?[") else "docker.io"
    if admits_image(image, [f"{host}/{path}"]):
        found = Address.of_image(image)
        assert found is not None
        assert fnmatchcase(found.host, named)


_PIECES = st.sampled_from(
    ["https://", "HTTPS://", "ssh://", "good.example", "evil.example", "/", ":", "@", "..", "%2f",
     "%40", "%2e", "\\", "#", "?", "team", "443", "git", ".", "\n", "//", "good.example/team/"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=10).map("".join))
def test_whatever_is_allowed_is_on_that_host_and_in_that_folder(url: str) -> None:
    try:
        normal = normal_url(url)
    except GitError:
        return
    if admits_url(normal, ["https://good.example/team/*"]):
        assert normal.startswith("https://good.example/team/")
    if admits_url(normal, ["ssh://good.example/team/*"]):
        host, _, path = normal.removeprefix("ssh://").rpartition("@")[2].partition("/")
        assert host in ("good.example", "good.example:team"), normal
        assert path.startswith("team/") or host.endswith(":team")
