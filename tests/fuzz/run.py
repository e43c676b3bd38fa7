"""Coverage-guided fuzzing of `glue.once` and `calls.once` in turn: `make fuzz` (atheris, which drives LLVM's libFuzzer,
whose options it takes).

The last argument is the folder of inputs, to which those that reach new code are added. An input that fails is written
to `crash-…`, and belongs into `test_glue.py` or, if its first byte is odd, without that byte into `test_calls.py`.
"""

import sys
from itertools import product
from pathlib import Path


def main() -> None:
    """Fuzz until told to stop; atheris has to be there before what it watches is imported."""
    import atheris

    # What is done once per configuration sees no input, and would be most of the time.
    with atheris.instrument_imports(
        include=["proxy.worker", "proxy.request", "proxy.http"], exclude=["proxy.http.scanning"]
    ):
        from tests.fuzz import calls, glue
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [b"\0\x03\x01" + seed + glue.MARK + answer for seed, answer in product(glue.SEEDS, glue.ANSWERS)]
    for number, seed in enumerate(seeds + [b"\1" + seed for seed in calls.SEEDS]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def either(data: bytes) -> None:
        (calls if data[:1] and data[0] & 1 else glue).once(data[1:])

    atheris.Setup(sys.argv, either)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
