"""The demo's data and models: scikit-learn's digits, a logistic regression and a stronger support vector machine.

A third of the 1,797 scanned digits trains both models; requests are drawn from the other two thirds, which neither has
seen. There the two models differ on 3 to 4 % of the digits, mostly where the logistic regression is wrong.

A request carries two digits drawn independently *with replacement*, so every request is an independent draw (what the
guarantees ask for), and equal requests are rare: with one digit per request, half of them would repeat one of the last
1,000 and be skipped as repeats.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

TRAINING_ROWS = 600
DIGITS_PER_REQUEST = 2
BRIGHTEST = 16
"""Pixels run from 0 to 16; both models are trained on pixels divided by this."""
SPLIT_SEED = 7


@dataclass(frozen=True, slots=True)
class DigitRequest:
    """One inference request and what each model must answer to it: the labels by model name."""

    body: bytes
    expected: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Studio:
    """Trained models, saved under `files`, and the digits requests are drawn from."""

    files: dict[str, Path]
    pixels: np.ndarray[Any, Any]
    predictions: dict[str, np.ndarray[Any, Any]]
    accuracy: dict[str, float]
    disagreement: float

    def draw(self, source: random.Random, digits: int = DIGITS_PER_REQUEST) -> DigitRequest:
        """The next request: so many digits drawn with replacement by `source`."""
        rows = [source.randrange(len(self.pixels)) for _ in range(digits)]
        tensor = {
            "name": "pixels",
            "shape": [len(rows), self.pixels.shape[1]],
            "datatype": "FP64",
            "data": self.pixels[rows].ravel().tolist(),
        }
        expected = {name: tuple(int(p[row]) for row in rows) for name, p in self.predictions.items()}
        return DigitRequest(orjson.dumps({"inputs": [tensor]}), expected)


def train(folder: Path) -> Studio:
    """Train both models on the same third of the digits and save them in `folder`; raises `ImportError`."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pixels))
    seen, fresh = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    models = {"logistic": LogisticRegression(max_iter=300), "svm": SVC(C=10.0)}
    predictions, accuracy, files = {}, {}, {}
    for name, model in models.items():
        model.fit(pixels[seen] / BRIGHTEST, digits[seen])
        predictions[name] = model.predict(pixels[fresh] / BRIGHTEST)
        accuracy[name] = float(np.mean(predictions[name] == digits[fresh]))
        files[name] = folder / f"{name}.pickle"
        files[name].write_bytes(pickle.dumps(model))
    disagreement = float(np.mean(predictions["logistic"] != predictions["svm"]))
    return Studio(files, pixels[fresh], predictions, accuracy, disagreement)
