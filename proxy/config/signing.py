"""The key that signs a webhook, as it is written in the file (Standard Webhooks 1.0)."""

from __future__ import annotations

import base64
import binascii

PREFIX = "whsec_"


def signing_key(secret: str) -> bytes:
    """Bytes of a secret: base64 after `whsec_` (as the standard writes it), else the text itself as UTF-8.

    Raises `ValueError` for an empty secret or bad base64; the message never holds the secret.

    >>> signing_key("whsec_MfKQ"), signing_key("plain")
    (b'1\\xf2\\x90', b'plain')
    """
    if not secret.startswith(PREFIX):
        key = secret.encode()
    else:
        text = secret.removeprefix(PREFIX)
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            raise ValueError("what follows whsec_ is not base64") from None
    if not key:
        raise ValueError("the secret is empty")
    return key
