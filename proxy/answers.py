"""The answer of a process that was started to find something out: the last line of its standard output.

Other code writes there too: a `.pth` file of the environment, a library at its import. X
comes in lines of its own; what it writes later goes to standard error.
"""

from __future__ import annotations

import os
import sys


def own_output() -> int:
    """Within such a process: the descriptor of its standard output, which nothing else reaches from now on."""
    mine = os.dup(1)
    os.dup2(2, 1)
    sys.stdout.flush()  # what others have left in the buffer
    return mine


def give(output: int, answer: bytes) -> None:
    """Write the answer, which has no line breaks, where `own_output` said."""
    with open(output, "wb") as file:
        file.write(b"\n" + answer)


def last_line(written: bytes) -> bytes:
    r"""The answer in what such a process wrote.

    >>> last_line(b'hello from a .pth\n{"a": 1}\n'), last_line(b"")
    (b'{"a": 1}', b'')
    """
    return written.rstrip().rpartition(b"\n")[2]
