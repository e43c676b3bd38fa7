"""`python -m proxy.preflight FILE`: whether this version can serve a file, asked by the one that runs before it hands
over. Prints what cannot change without a restart (`config_reader.fixed`) as JSON, or the mistakes to standard error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from proxy import supervisor  # noqa: F401 - the whole program must import, or this version would not start
from proxy.answers import give, own_output
from proxy.config import load
from proxy.config_reader import fixed
from proxy.errors import ConfigError
from proxy.handover import unblock


def main(path: Path) -> int:
    """Read the file as a supervisor does; the exit code."""
    output = own_output()
    try:
        config = load(path)
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor reads it
        return 2
    give(output, json.dumps(fixed(config)).encode())
    return 0


if __name__ == "__main__":
    unblock()  # who asks holds signals back while this begins
    sys.exit(main(Path(sys.argv[1])))
