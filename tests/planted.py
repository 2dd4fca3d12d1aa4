"""A secret that commands and servers print, in the forms that are to be hidden."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

PLANTED = 'pl4nted "s3cret\\of+a/team'

#: Commands of a shell that print $TOKEN in some form, after another word.
ENCODERS = {
    "plain": 'echo "said $TOKEN"',
    "in the middle": 'echo "said token=$TOKEN;"',
    "cut at its end": 'printf "said %s\\n" "${TOKEN%am}"',
    "cut at its beginning": 'printf "said %s\\n" "${TOKEN#pl}"',
    "coloured": 'printf "said \\033[31m%s\\033[0m\\n" "$TOKEN"',
    "base64": 'echo "said $(printf %s "$TOKEN" | base64)"',
    "base64 of a line": 'echo "said $(echo "$TOKEN" | base64)"',
    "base64 after a user": 'echo "said $(printf %s "u:$TOKEN" | base64)"',
    "base64 after a name": 'echo "said $(printf %s "me:$TOKEN" | base64)"',
    "hexadecimal": 'echo "said $(printf %s "$TOKEN" | od -An -tx1 -v | tr -d " \\n")"',
    "reversed": 'echo "said $(printf %s "$TOKEN" | rev)"',
    "JSON": f"echo 'said {json.dumps(PLANTED)}'",
    "percent-encoded": f"echo 'said https://h/?token={quote(PLANTED, safe='')}'",
}


def assert_without(secret: str, text: str) -> None:
    """Assert that no piece of a secret is in a text, in any of its usual forms."""
    data = secret.encode()
    forms = [secret, secret[::-1], json.dumps(secret)[1:-1], quote(secret, safe=""), data.hex()]
    forms += [
        base64.b64encode(before + data + after).decode()
        for before in (b"", b"u:", b"me:", b"bot:")
        for after in (b"", b"\n")
    ]
    for form in forms:
        for start in range(len(form) - 9):
            assert form[start : start + 10] not in text
            # A message is in JSON.
            assert json.dumps(form)[1:-1][start : start + 10] not in text
