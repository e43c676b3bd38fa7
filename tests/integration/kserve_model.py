"""A scikit-learn model on KServe's own model server: V1, and V2 with JSON and binary tensors.

Runs in the environment of the servers: `python kserve_model.py NAME_OF_ARM --http_port=… --grpc_port=…`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier


class Digits(Model):
    """The model called `digits`."""

    def __init__(self, arm: str) -> None:
        super().__init__("digits")
        pixels, digits = load_digits(return_X_y=True)
        half = len(pixels) // 2
        model = LogisticRegression(max_iter=2000) if arm == "live" else KNeighborsClassifier(1)
        self.model = model.fit(pixels[:half] / 16, digits[:half])
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """V1 gets a dictionary, V2 an `InferRequest`."""
        if not isinstance(payload, InferRequest):
            return {"predictions": self.model.predict(numpy.array(payload["instances"])).tolist()}
        pixels = payload.inputs[0].as_numpy()
        outputs = []
        for name, datatype, values in (
            ("predict", "INT64", self.model.predict(pixels)),
            ("predict_proba", "FP32", self.model.predict_proba(pixels).astype(numpy.float32)),
            ("name", "BYTES", numpy.array([f"digit {digit}".encode() for digit in self.model.predict(pixels)], object)),
        ):
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return InferResponse(
            payload.id or "",
            self.name,
            outputs,
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )


if __name__ == "__main__":
    arm = sys.argv.pop(1)
    from kserve.model_server import args

    ModelServer(http_port=args.http_port, enable_grpc=False).start([Digits(arm)])
