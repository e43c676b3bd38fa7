"""A small model server: one saved scikit-learn model behind the Open Inference Protocol (V2, JSON).

    python -m proxy.demo.model_server --model svm.pickle --name svm

It listens on a free port of the loopback interface and prints `listening PORT` once it can answer. Two flags give it
the faults that real deployments have:

--raw-pixels        forgets to scale the pixels as in training: training/serving skew. Every answer is well formed.
--audit-log-broken  writes an audit log for real requests, and not for copies (they carry `x-shadow`); the log's disk is
                    full. A model like this is faultless in shadow and fails as soon as it serves somebody.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from proxy.demo.digits import BRIGHTEST


class ModelServer:
    """Answers V2 inference requests with the labels of `model`."""

    def __init__(self, model: Any, name: str, raw_pixels: bool, audit_log_broken: bool) -> None:
        self._model, self._name = model, name
        self._scale = 1 if raw_pixels else BRIGHTEST
        self._audit_log_broken = audit_log_broken
        self._audited = itertools.count()

    def labels(self, body: bytes) -> list[int]:
        """The label of each row; raises `ValueError` or `KeyError` when the request cannot be read."""
        tensor = orjson.loads(body)["inputs"][0]
        rows = np.asarray(tensor["data"], dtype=float).reshape(tensor["shape"])
        return [int(label) for label in self._model.predict(rows / self._scale)]

    async def infer(self, request: web.Request) -> web.Response:
        """POST /v2/models/{model}/infer."""
        if self._audit_log_broken and "x-shadow" not in request.headers and not await self._audit():
            return web.json_response({"error": "audit log: no space left on device"}, status=500)
        try:
            labels = self.labels(await request.read())
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        output = {"name": "predict", "shape": [len(labels)], "datatype": "INT64", "data": labels}
        answer = {"model_name": self._name, "outputs": [output]}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def _audit(self) -> bool:
        """Write to the audit log: every second time the disk is full at once, else it hangs before it is."""
        if next(self._audited) % 2:
            await asyncio.sleep(1)
        return False


async def serve(server: ModelServer) -> None:
    """Serve until cancelled."""
    app = web.Application()
    app.router.add_post("/v2/models/{model}/infer", server.infer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("listening", runner.addresses[0][1], flush=True)  # noqa: T201 - this is how the parent learns the port
    await asyncio.Event().wait()


def main() -> None:
    """Load the model named on the command line and serve it."""
    parser = argparse.ArgumentParser(description="serve one pickled scikit-learn model over V2")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--raw-pixels", action="store_true")
    parser.add_argument("--audit-log-broken", action="store_true")
    options = parser.parse_args()
    model = pickle.loads(options.model.read_bytes())  # noqa: S301 - written a moment ago by the demo itself
    asyncio.run(serve(ModelServer(model, options.name, options.raw_pixels, options.audit_log_broken)))


if __name__ == "__main__":
    main()
