"""Which pairs are judged, and in which order a judge sees the two answers: keyed hashes, so that neither clients nor
models can know or choose, and a pair comes out the same wherever it is drawn.

Which pairs is drawn by the request's id alone (`Pair.id`, which is ours), before any answer is known: by nothing that a
model could turn to its advantage, such as length or content. The order is drawn by the content, so that equal pairs are
one question, which is asked and paid for once.
"""

from __future__ import annotations

import hashlib
from typing import Final

_WIDTH: Final = 8


def judge_key(secret: str, *words: str) -> bytes:
    """The key of 32 bytes for everything drawn for one judge, from a secret that clients do not know.

    >>> judge_key("a", "helpful") == judge_key("a", "helpful"), judge_key("a", "helpful") == judge_key("b", "helpful")
    (True, False)
    """
    return hashlib.blake2b("\0".join((secret, *words)).encode(), digest_size=32, person=b"judge").digest()


def is_drawn(key: bytes, pair_id: str, share: float) -> bool:
    """Whether a pair belongs to the judged share (0..1).

    >>> [is_drawn(b"k", "a", share) for share in (0.0, 1.0)]
    [False, True]
    >>> sum(is_drawn(b"k", str(n), 0.1) for n in range(10_000))
    951
    """
    digest = hashlib.blake2b(pair_id.encode(), digest_size=_WIDTH, key=key, person=b"drawn").digest()
    return int.from_bytes(digest, "little") < share * 2.0 ** (8 * _WIDTH)


def content_hash(key: bytes, *texts: str) -> bytes:
    """16 bytes of a question's texts, in their order, whatever their lengths.

    >>> content_hash(b"k", "ab", "c") == content_hash(b"k", "a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=16, key=key, person=b"content")
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def candidate_comes_first(content: bytes) -> bool:
    """Whether the candidate's answer stands first, by the `content_hash` of request, live's and candidate's answer.

    >>> {candidate_comes_first(content_hash(b"k", text)) for text in "abcdef"} == {False, True}
    True
    """
    return bool(content[0] & 1)
