"""The loop's data: digits as a scanner sees them, the truth about them, and models that are trained on what was seen.

The scanner has some noise, so that no two scans are alike. One day it is replaced: the new one is fainter and sees
everything one pixel further to the right. A model that was trained before reads those badly; one that is trained on
recent scans reads them as well as ever.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from proxy.demo.digits import BRIGHTEST

CHAMPION = "champion"
"""The alias of the version that live serves."""
NOISE = 0.8
"""Half the range of a pixel's noise, of 16."""
FAINT = 0.55
"""What is left of a pixel's brightness by the new scanner."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One request: its id, pixels and body, and the digit that somebody will read later."""

    id: str
    pixels: np.ndarray[Any, Any]
    digit: int
    body: bytes
    replaced: bool


class Scanner:
    """Scans of scikit-learn's digits, drawn with replacement by `seed`; raises `ImportError` without scikit-learn."""

    def __init__(self, seed: int) -> None:
        from sklearn.datasets import load_digits

        self._images, self._digits = load_digits(return_X_y=True)
        self._random = np.random.default_rng(seed)
        self._number = 0
        self.replaced = False
        """Whether it is the new one."""

    def scan(self) -> Scan:
        """The next digit, as this scanner sees it."""
        self._number += 1
        row = int(self._random.integers(len(self._images)))
        pixels = self._images[row]
        if self.replaced:
            pixels = FAINT * np.roll(pixels.reshape(8, 8), 1, axis=1).ravel()
        pixels = np.round(np.clip(pixels + self._random.uniform(-NOISE, NOISE, 64), 0, BRIGHTEST), 2)
        name = f"scan-{self._number}"
        tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP64", "data": pixels.tolist()}
        ink = {"ink": round(float(pixels.mean()) / BRIGHTEST, 4)}
        body = orjson.dumps({"id": name, "parameters": ink, "inputs": [tensor]})
        return Scan(name, pixels, int(self._digits[row]), body, self.replaced)


def train_on(scans: list[Scan], file: Path) -> None:
    """Fit a support vector machine to scans whose digits are known, and save it. Raises `ImportError`."""
    from sklearn.svm import SVC

    pixels = np.stack([scan.pixels for scan in scans]) / BRIGHTEST
    model = SVC(C=10.0).fit(pixels, [scan.digit for scan in scans])
    whole = file.with_suffix(".part")
    whole.write_bytes(pickle.dumps(model))
    whole.replace(file)
