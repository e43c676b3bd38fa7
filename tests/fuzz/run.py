"""Coverage-guided fuzzing of `glue.once`: `make fuzz` (atheris, which drives LLVM's libFuzzer, whose options it takes).

The last argument is the folder of inputs, to which those that reach new code are added. An input that fails is written
to `crash-…`, and belongs into `test_glue.py`.
"""

import sys
from itertools import product
from pathlib import Path


def main() -> None:
    """Fuzz until told to stop; atheris has to be there before what it watches is imported."""
    import atheris

    with atheris.instrument_imports(include=["proxy.plane", "proxy.core"]):
        from tests.fuzz.glue import ANSWERS, MARK, SEEDS, once
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (seed, answer) in enumerate(product(SEEDS, ANSWERS)):
        (corpus / f"seed-{number}").write_bytes(b"\x03\x01" + seed + MARK + answer)
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
