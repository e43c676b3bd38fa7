"""How this installation was built: the data path compiled by mypyc, or interpreted (`setup.py` says when)."""

from proxy.http import headers

DATA_PATH = "interpreted" if str(headers.__file__).endswith(".py") else "compiled"
"""`compiled` or `interpreted`. It does the same either way; compiled, a request costs a fifth (forwarded) to two
fifths (mirrored) less CPU."""
