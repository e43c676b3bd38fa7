"""Header blocks decoded (HPACK, RFC 7541), with the tables of the package `hpack`.

The package decodes too, in Python that is not compiled and at 5 to 10 µs for each header: its `Decoder` is what
`tests/http/test_decoding.py` holds this one to.

Invariants
- What a peer can make this hold is its table, of `TABLE` bytes as RFC 7541 counts them, and one list of `limit`.
- A block costs what it is long, and its list what it may be long.
"""

from __future__ import annotations

from typing import Final

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from proxy.http.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Headers, Http2Error

TABLE: Final = 4096
"""Bytes of the dynamic table, as long as nobody has said anything else, and we never do (RFC 7541, 4.2)."""
ENTRY: Final = 32
"""What a header counts besides its name and value (4.1)."""
_MOST_BYTES: Final = 5
"""Of an integer; what is longer is no number of anything here."""
_EMITS: Final = 1
_FAILS: Final = 2
_END_OF_STRING: Final = -257

_STATIC: Final[list[tuple[bytes, bytes]]] = [(bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE]
_STATIC_SIZE: Final = len(_STATIC)


def _tree() -> list[list[int]]:
    """Huffman's tree (5.2, appendix B): the two children of each node, from the root on. One below 0 is the symbol
    -1 - child."""
    children = [[0, 0]]
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
        node = 0
        for at in range(length - 1, 0, -1):
            bit = code >> at & 1
            if not children[node][bit]:
                children.append([0, 0])
                children[node][bit] = len(children) - 1
            node = children[node][bit]
        children[node][code & 1] = -1 - symbol
    return children


def _step(tree: list[list[int]], node: int, nibble: int) -> tuple[int, int, int]:
    """Four bits on from a node: the next one, what happens, and the symbol. No symbol has fewer than five bits."""
    does = symbol = 0
    for at in (3, 2, 1, 0):
        node = tree[node][nibble >> at & 1]
        if node == _END_OF_STRING:  # which nobody may send
            return 0, _FAILS, 0
        if node < 0:
            node, does, symbol = 0, _EMITS, -1 - node
    return node, does, symbol


def _steps() -> tuple[bytes, bytes, bytes, bytes]:
    """The same for every node (of 256) and nibble, and the nodes where a string may end: in padding of fewer than eight
    bits, all of them 1."""
    tree = _tree()
    steps = [_step(tree, node, nibble) for node in range(len(tree)) for nibble in range(16)]
    ends, node = bytearray(len(tree)), 0
    for _ in range(8):
        ends[node] = 1
        node = tree[node][1]
    return bytes(s[0] for s in steps), bytes(s[1] for s in steps), bytes(s[2] for s in steps), bytes(ends)


_TABLES: Final = _steps()
_NEXT: Final[bytes] = _TABLES[0]
_DOES: Final[bytes] = _TABLES[1]
_SYMBOL: Final[bytes] = _TABLES[2]
_ENDS: Final[bytes] = _TABLES[3]


def unhuffed(data: bytes) -> bytes:
    """A string in Huffman's code (5.2); raises `Http2Error`.

    >>> unhuffed(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff"))
    b'www.example.com'
    """
    out: list[int] = []
    node = 0
    for at in range(len(data)):
        byte = data[at]
        for shift in range(4, -1, -4):
            step = node << 4 | byte >> shift & 15
            does = _DOES[step]
            if does:
                if does == _FAILS:
                    raise Http2Error(COMPRESSION_ERROR, "the end of a string within it")
                out.append(_SYMBOL[step])
            node = _NEXT[step]
    if not _ENDS[node]:
        raise Http2Error(COMPRESSION_ERROR, "half a symbol")
    return bytes(out)


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer (5.1) whose first bits are those of `mask`, and where what follows begins."""
    end = len(block)
    if at >= end:
        raise Http2Error(COMPRESSION_ERROR, "a block that is broken off")
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    shift, last = 0, at + _MOST_BYTES
    while at < end:
        byte = block[at]
        at += 1
        number += (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if at >= last:
            raise Http2Error(COMPRESSION_ERROR, "an integer too long")
    raise Http2Error(COMPRESSION_ERROR, "a block that is broken off")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string (5.2), and where what follows begins."""
    size, start = _integer(block, at, 127)
    stop = start + size
    if stop > len(block):
        raise Http2Error(COMPRESSION_ERROR, "a block that is broken off")
    found = block[start:stop]
    return (unhuffed(found) if block[at] & 128 else found), stop


class HeaderDecoder:
    """What one peer compresses; `limit` bounds the list of a block, bytes as RFC 9113 counts them (6.5.2)."""

    __slots__ = ("_entries", "_held", "_limit", "_most", "changed", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: list[tuple[bytes, bytes]] = []
        """The dynamic table, the newest last."""
        self._held, self._most = 0, TABLE
        self.changed = False
        """The last block has changed the table, so that it does not mean the same again."""
        self.size = 0
        """Of its list."""

    def decode(self, block: bytes) -> Headers:
        """The headers of a block; raises `Http2Error`, after which the connection cannot go on.

        >>> HeaderDecoder(1000).decode(bytes.fromhex("828684410f7777772e6578616d706c652e636f6d"))[2:]
        [(b':path', b'/'), (b':authority', b'www.example.com')]
        """
        headers: Headers = []
        at, end, size = 0, len(block), 0
        self.changed = False
        while at < end:
            first = block[at]
            if first >= 128:
                index, at = _integer(block, at, 127)
                entry = self._entry(index)
            elif first & 0xE0 == 0x20:
                if headers:
                    raise Http2Error(COMPRESSION_ERROR, "another size of the table amid headers")
                most, at = _integer(block, at, 31)
                self._resize(most)
                continue
            else:
                entry, at = self._literal(block, at, first >= 64)
            size += ENTRY + len(entry[0]) + len(entry[1])
            if size > self._limit:
                raise Http2Error(ENHANCE_YOUR_CALM, "a head longer than allowed")
            headers.append(entry)
        self.size = size
        return headers

    def _literal(self, block: bytes, at: int, is_kept: bool) -> tuple[tuple[bytes, bytes], int]:
        index, at = _integer(block, at, 63 if is_kept else 15)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        entry = (name, value)
        if is_kept:
            self._keep(entry)
        return entry, at

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index <= _STATIC_SIZE:
            return _STATIC[index - 1]
        back = index - _STATIC_SIZE
        if index == 0 or back > len(self._entries):
            raise Http2Error(COMPRESSION_ERROR, "an index beyond the table")
        return self._entries[-back]

    def _keep(self, entry: tuple[bytes, bytes]) -> None:
        """One that is longer than the table empties it (4.4)."""
        self.changed = True
        self._entries.append(entry)
        self._held += ENTRY + len(entry[0]) + len(entry[1])
        self._shrink()

    def _resize(self, most: int) -> None:
        if most > TABLE:
            raise Http2Error(COMPRESSION_ERROR, "a table larger than allowed")
        self.changed, self._most = True, most
        self._shrink()

    def _shrink(self) -> None:
        entries = self._entries
        while self._held > self._most:
            name, value = entries.pop(0)
            self._held -= ENTRY + len(name) + len(value)
