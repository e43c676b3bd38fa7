"""Save a scikit-learn model for `mlflow models serve`: `python mlflow_model.py NAME_OF_ARM FOLDER`.

Runs in the environment of the servers.
"""

from __future__ import annotations

import sys

import mlflow.sklearn
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

if __name__ == "__main__":
    arm, folder = sys.argv[1:]
    pixels, digits = load_digits(return_X_y=True)
    half = len(pixels) // 2
    model = LogisticRegression(max_iter=2000) if arm == "live" else KNeighborsClassifier(1)
    # Named requirements, or MLflow would look for them by importing half of the environment. The models are our own,
    # so the format that can run code while it is loaded does no harm.
    mlflow.sklearn.save_model(
        model.fit(pixels[:half] / 16, digits[:half]),
        folder,
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
