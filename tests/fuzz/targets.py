"""The parsers of what others write, as targets of a search.

Files that the daemon alone writes are not among them. Of ``.gitattributes`` nothing is read: a
source is exported by its tree, whatever attributes it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.config import ConfigError
from reconciler.engines.local.failures import RequirementsError
from reconciler.errors import GitError
from tests.fuzz import parsers
from tests.fuzz.target import Target

YAML = (
    b"{", b"}", b"[", b"]", b",", b": ", b"? ", b"- ", b"  ", b"\n", b"---\n", b"...\n", b"&a ",
    b"*a", b"<<: ", b"!t ", b"!!str ", b"%YAML 1.2\n", b"%TAG ! !\n", b"'", b'"', b"\\ud83d",
    b"\\U00110000", b"\\Uffffffff", b"\\0", b"|\n", b">-\n", b"\t", b"#", b"\r", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x00", b"\xff", b"1e999", b".nan", b"-.inf", b"0x", b"~",
    b"on", b"9999999999999999999999", b"2026-11-23T08:12:06Z", b"0001-01-01T00:00:00+23:59",
)  # fmt: skip
MANIFEST = (
    *YAML, b"kind: Model\n", b"kind: List\n", b"items:\n", b"metadata: {name: a}\n", b"spec:\n",
    b"source: {git: {url: https://x.y/z}}\n", b"training: {}\n", b"params: {a: .nan}\n",
    b"apiVersion: substratus.ai/v1\n", b"substratus.ai/formerly: a/b/c\n",
)  # fmt: skip
JSON = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"[" * 1200, b'{"a":', b"null", b"true", b"1e999",
    b"-0", b"NaN", b"Infinity", b"1" * 400, b'"\\ud83d"', b'"\\u0000"', b"\xff", b"0.5", b"-1",
)  # fmt: skip
REPORT = (
    b'"trainerStatus":', b'"progressPercentage":', b'"estimatedRemainingSeconds":', b'"step":',
    b'"metrics":', b'"name":', b'"value":', b'"current_step":', b'"1e3"', b'"+7"', b'" 7"',
)  # fmt: skip
TOML = (
    b"[project]\n", b"[build-system]\n", b"[tool.uv.sources]\n", b"dynamic = ", b"dependencies = ",
    b"[", b"]", b"{", b"}", b"a.", b"=", b'"', b"'''", b"1979-05-27T07:32:00Z", b"[" * 1200, b"1",
)  # fmt: skip
FORGE = (
    *JSON, b'"message":', b'"statuses":', b'"id":', b"x-ratelimit-remaining=0 x-ratelimit-reset=9",
    *(b"\n===\n%d retry-after=9\n" % status for status in (200, 304, 403, 404, 429, 500)),
)  # fmt: skip
URL = (
    b"https://", b"ssh://", b"file://", b"git@", b":", b"/", b"..", b"%2e", b"%", b"[::1]", b"@",
    b"?", b"#", b"\\", b"\xc4\xb0",
)  # fmt: skip
REQUIREMENTS = (
    b"-r ", b"-c", b"--hash=sha256:", b"\\\n", b" # ", b"; ", b"[", b"]", b" @ https://", b"..",
    b"/", b"\0", b"requirements.txt", b"\n", b"file://", b"-e .",
)  # fmt: skip

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(name="manifest", parse=parsers.manifest, tokens=MANIFEST),
        Target(
            name="ignore",
            parse=parsers.ignore,
            tokens=(b"**", b"*", b"/", b"!", b"[", b"]", b"[[:alpha:]]", b"\\", b"\n"),
        ),
        Target(
            name="release",
            parse=parsers.release,
            tokens=(b"0123456789ab", b"#", b"\n", b"\xc2\x85", b"\x1c"),
        ),
        Target(name="url", parse=parsers.url, raises=(GitError,), tokens=URL),
        Target(
            name="configuration",
            parse=parsers.configuration,
            raises=(ConfigError,),
            tokens=(
                *YAML,
                b"\n---environment\n",
                b"LIMITS__RUNS=3",
                b"BUCKETS__X__URL=",
                b"{cluster}",
            ),
        ),
        Target(name="own-status", parse=parsers.own_status, tokens=YAML),
        Target(name="own-sync", parse=parsers.own_sync, tokens=YAML),
        Target(name="remote-status", parse=parsers.remote_status, tokens=YAML),
        Target(
            name="marker",
            parse=parsers.marker,
            tokens=(*JSON, b'"gpuSeconds":', b'"metrics":', b'"warnings":'),
        ),
        Target(
            name="signature",
            parse=parsers.signature,
            tokens=(*JSON, b'"dsseEnvelope":', b'"resources":', b'"sig":', b'"ignore_paths":'),
        ),
        Target(name="metrics", parse=parsers.metrics, tokens=JSON),
        Target(
            name="termination",
            parse=parsers.termination,
            tokens=(*JSON, b'"v":1', b'"state":"failed"', b'"gpuSeconds":', b'"warnings":'),
        ),
        Target(name="build-message", parse=parsers.build_message, tokens=(*JSON, b'"image":')),
        Target(
            name="progress",
            parse=parsers.progress,
            tokens=(b"[reconciler] ", b"copying ", b" of ", b" files, ", b" %", b"\n", b"\xd9\xa1"),
        ),
        Target(
            name="end-request",
            parse=parsers.end_request,
            tokens=(*JSON, b'"by":', b'"at":', b'"cause":', b'"2026-11-30T14:38:00Z"'),
        ),
        Target(name="report", parse=parsers.report, tokens=(*JSON, *REPORT)),
        Target(name="curves", parse=parsers.curves, tokens=(*JSON, *REPORT, b"\n", b'"seconds":')),
        Target(
            name="inventory",
            parse=parsers.inventory,
            tokens=(*JSON, b" ", b"\n", b"1_0", b"nan", b"infinity"),
        ),
        Target(
            name="collection",
            parse=parsers.collection,
            tokens=(b" ", b"\n", b"end", b"complete", b"hidden", b"removing", b"removed", b"gone"),
        ),
        Target(
            name="requirements",
            parse=parsers.requirements,
            raises=(RequirementsError,),
            tokens=REQUIREMENTS,
        ),
        Target(name="pyproject", parse=parsers.pyproject, raises=(RequirementsError,), tokens=TOML),
        Target(
            name="wheel",
            parse=parsers.wheel,
            raises=(RequirementsError,),
            tokens=(b"PK\x01\x02", b"PK\x05\x06", b"Requires-Dist: ", b"\n"),
        ),
        Target(name="lfs-pointer", parse=parsers.lfs, tokens=(b"version ", b"oid ", b"\n")),
        Target(name="github", parse=parsers.github, tokens=FORGE),
        Target(name="gitea", parse=parsers.gitea, tokens=FORGE),
        Target(name="gitlab", parse=parsers.gitlab, tokens=FORGE),
        Target(
            name="webhook",
            parse=parsers.webhook,
            tokens=(
                *JSON,
                b"x-github-event: push\n",
                b"x-gitlab-token: ",
                b"\n\n",
                b'"ref": "main"',
            ),
        ),
    )
}
