"""Versions of one model behind the Open Inference Protocol (V2), as servers with a model repository have them.

    python -m proxy.demo.versions_server --folder models

`/v3/…` asks the version in `models/digits-3.pickle`, `/v3/ready` says whether it is there; `/champion/…` asks the one
that the file `models/champion` names, which is read for each request: live follows the alias by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import pickle
from pathlib import Path

from aiohttp import web

from proxy.demo.model_server import ModelServer
from proxy.demo.scans import CHAMPION


class VersionsServer:
    """Loads versions from `folder` when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, ModelServer] = {}

    def _model(self, name: str) -> ModelServer | None:
        version = (self._folder / CHAMPION).read_text().strip() if name == CHAMPION else name.removeprefix("v")
        file = self._folder / f"digits-{version}.pickle"
        if version not in self._loaded and file.exists():
            model = pickle.loads(file.read_bytes())  # noqa: S301 - written a moment ago by the demo itself
            self._loaded[version] = ModelServer(model, f"digits-{version}", raw_pixels=False, audit_log_broken=False)
        return self._loaded.get(version)

    async def ready(self, request: web.Request) -> web.Response:
        """GET /{version}/ready."""
        return web.Response(status=200 if self._model(request.match_info["version"]) is not None else 404)

    async def infer(self, request: web.Request) -> web.Response:
        """POST /{version}/v2/models/{model}/infer."""
        model = self._model(request.match_info["version"])
        if model is None:
            return web.json_response({"error": f"no {request.match_info['version']}"}, status=404)
        return await model.infer(request)

    def load_champion(self) -> None:
        """Load what live serves, and what models are made of with it: that takes seconds."""
        self._model(CHAMPION)


async def serve_versions(server: VersionsServer) -> None:
    """Serve until cancelled."""
    server.load_champion()
    app = web.Application()
    app.router.add_get("/{version}/ready", server.ready)
    app.router.add_post("/{version}/v2/models/{model}/infer", server.infer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("listening", runner.addresses[0][1], flush=True)  # noqa: T201 - this is how the parent learns the port
    await asyncio.Event().wait()


def main() -> None:
    """Serve the versions in the folder named on the command line."""
    parser = argparse.ArgumentParser(description="serve versions of a pickled scikit-learn model over V2")
    parser.add_argument("--folder", type=Path, required=True)
    asyncio.run(serve_versions(VersionsServer(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
