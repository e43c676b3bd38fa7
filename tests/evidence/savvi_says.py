"""What savvi makes of some streams: run by `test_savvi.py` in savvi's own environment, where nothing of ours is.

Standard input: `[{"theta": [...], "k": ..., "counts": [[...], ...]}, ...]`. Standard output: for each stream the log of
the posterior odds after each of its counts.
"""

import json
import sys
from typing import Any


def odds(stream: dict[str, Any]) -> list[float]:
    import numpy as np
    from savvi.multinomial import Multinomial  # only where this is run as a program

    test = Multinomial(alpha=0.05, theta_0=np.array(stream["theta"]), k=stream["k"])
    found = []
    for counts in stream["counts"]:
        test.update(np.array(counts))
        found.append(float(np.log(test.odds)))
    return found


if __name__ == "__main__":
    json.dump([odds(stream) for stream in json.load(sys.stdin)], sys.stdout)
