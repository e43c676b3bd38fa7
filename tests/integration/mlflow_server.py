"""A real MLflow server with its model registry in SQLite, and as much of its REST API as tests use."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

PYTHON = Path(os.environ.get("SERVERS_VENV", ".venv-servers")).absolute() / "bin" / "python"
WITHIN = 120.0


class MlflowServer:
    """`mlflow server` on one port; it may be killed and started again, and finds what it knew."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._key = base64.urlsafe_b64encode(os.urandom(32)).decode()

    def start(self) -> None:
        """Start it and wait until it answers."""
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        environment = {
            **os.environ,
            "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # else a new webhook hears nothing for up to a minute
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": self._key,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        command = [str(PYTHON), "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port)]
        log = (self.folder / "mlflow.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        end = time.monotonic() + WITHIN
        while not self._answers():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < end, f"not ready after {WITHIN} s:\n{self.output}"
            time.sleep(0.1)  # there is no event to wait for in somebody else's process

    def stop(self) -> None:
        """End it at once, with all its children."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def output(self) -> str:
        """The end of what it wrote."""
        return (self.folder / "mlflow.log").read_text("utf-8", "replace")[-4000:]

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    # --- the API -----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """The JSON of one call."""
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/{path}{text}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()!r}") from None

    def model(self, name: str) -> None:
        self.ask("POST", "registered-models/create", {"name": name})

    def version(self, name: str, data: str = "") -> tuple[str, str]:
        """A new version, of a run of its own that was trained on the data set `NAME@DIGEST`; its number, and the
        run's id."""
        found = self.ask("POST", "runs/create", {"experiment_id": "0", "start_time": int(time.time() * 1000)})
        run = found["run"]["info"]
        if data:
            title, _, digest = data.partition("@")
            dataset = {"name": title, "digest": digest, "source_type": "local", "source": "file:///data"}
            self.ask("POST", "runs/log-inputs", {"run_id": run["run_id"], "datasets": [{"dataset": dataset}]})
        body = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        made = self.ask("POST", "model-versions/create", body)["model_version"]
        return str(made["version"]), str(run["run_id"])

    def alias(self, name: str, alias: str, version: str) -> None:
        self.ask("POST", "registered-models/alias", {"name": name, "alias": alias, "version": version})

    def version_of(self, name: str, alias: str) -> str:
        return str(self.ask("GET", "registered-models/alias", name=name, alias=alias)["model_version"]["version"])

    def tags(self, name: str, version: str) -> dict[str, str]:
        found = self.ask("GET", "model-versions/get", name=name, version=version)["model_version"]
        return {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def webhook(self, url: str, secret: str) -> str:
        """A webhook of all that happens to versions; its id."""
        events = [("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_TAG", "SET"), ("MODEL_VERSION_ALIAS", "CREATED")]
        body = {
            "name": "understudy",
            "url": url,
            "secret": secret,
            "status": "ACTIVE",
            "events": [{"entity": entity, "action": action} for entity, action in events],
        }
        return str(self.ask("POST", "webhooks", body)["webhook"]["webhook_id"])
