"""The clock of the data path. A request looks at it half a dozen times."""

from __future__ import annotations

import time
from typing import Final

monotonic: Final = time.monotonic
"""Monotonic seconds. A `Final`: compiled code reads it where it lies, and would look up an imported name each time."""
