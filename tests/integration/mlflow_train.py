"""A training pipeline: `python mlflow_train.py URL MODEL SCANS.npz FOLDER ALIAS` fits a model, logs it as a run of the
MLflow server at URL, registers it, deploys it into FOLDER as `MODEL-VERSION.pickle`, and sets the alias.

Runs in the environment of the servers; prints the version.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import mlflow.sklearn
import numpy as np
from sklearn.svm import SVC

if __name__ == "__main__":
    url, name, data, folder, alias = sys.argv[1:]
    mlflow.set_tracking_uri(url)
    scans = np.load(data)
    model = SVC(C=10.0).fit(scans["pixels"] / 16.0, scans["digits"])
    with mlflow.start_run():
        mlflow.log_param("scans", len(scans["digits"]))
        # Named requirements, or MLflow would look for them by importing half of the environment. The model is our own,
        # so the format that can run code while it is loaded does no harm.
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=name,
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
    version = str(info.registered_model_version)
    loaded = mlflow.sklearn.load_model(f"models:/{name}/{version}")
    part = Path(folder) / f"{name}-{version}.part"
    part.write_bytes(pickle.dumps(loaded))
    part.rename(part.with_suffix(".pickle"))
    mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
    sys.stdout.write(f"{version}\n")
