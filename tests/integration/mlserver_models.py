"""Train two scikit-learn models on the bundled digits and lay them out for MLServer.

Runs in the environment of MLServer, which loads the pickles with the same scikit-learn:

    python mlserver_models.py FOLDER HTTP GRPC METRICS HTTP GRPC METRICS
    python mlserver_models.py FOLDER HTTP GRPC METRICS

Writes `FOLDER/live` and `FOLDER/candidate` (settings and a model called `digits` each), or with three ports one
`FOLDER/both` for one process, whose models are `digits` and `digits-next`; and `FOLDER/expected.json`: rows of the
held-out half, and what each model itself says about them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression


def main() -> None:
    folder, ports = Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels / 16
    half, together = len(pixels) // 2, len(ports) == 3
    models = {"live": LogisticRegression(max_iter=2000), "candidate": RandomForestClassifier(50, random_state=0)}
    expected: dict[str, object] = {"rows": pixels[half:].tolist()}
    for at in range(1 if together else 2):
        http, grpc, metrics = ports[3 * at : 3 * at + 3]
        settings = {
            "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0,
        }  # fmt: skip
        here = folder / ("both" if together else list(models)[at])
        here.mkdir(parents=True)
        (here / "settings.json").write_text(json.dumps(settings))
    for name, model in models.items():
        model.fit(pixels[:half], digits[:half])
        expected[name] = {
            "predict": model.predict(pixels[half:]).tolist(),
            "predict_proba": model.predict_proba(pixels[half:]).tolist(),
        }
        here = folder / "both" / name if together else folder / name
        here.mkdir(exist_ok=True)
        joblib.dump(model, here / "model.joblib")
        model_settings = {
            "name": "digits-next" if together and name == "candidate" else "digits",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.joblib", "version": name},
        }
        (here / "model-settings.json").write_text(json.dumps(model_settings))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
