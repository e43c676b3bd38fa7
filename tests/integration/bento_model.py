"""A scikit-learn model on BentoML: `POST /classify {"rows": …}` answers labels and probabilities.

Runs in the environment of the servers: `bentoml serve tests.integration.bento_model:Digits`, the arm in `ARM`.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier


@bentoml.service(workers=1)  # type: ignore[misc]
class Digits:
    """The model of one arm."""

    def __init__(self) -> None:
        pixels, digits = load_digits(return_X_y=True)
        half = len(pixels) // 2
        model = LogisticRegression(max_iter=2000) if os.environ["ARM"] == "live" else KNeighborsClassifier(1)
        self.model = model.fit(pixels[:half] / 16, digits[:half])

    @bentoml.api  # type: ignore[misc]
    def classify(self, rows: list[list[float]]) -> dict[str, Any]:
        """Labels and probabilities, by row."""
        return {
            "labels": self.model.predict(rows).tolist(),
            "probabilities": self.model.predict_proba(rows).tolist(),
        }
