"""LitServe, twice: `chat` speaks its OpenAI protocol over `language.Words`, `digits` its plain JSON over scikit-learn.

Runs in the environment of the servers: `python -m tests.integration.litserve_model chat|digits ARM PORT`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import litserve
from fastapi import HTTPException

from tests.integration.language import NAMES, Words


class Chat(litserve.LitAPI):  # type: ignore[misc]
    """A chat model that, as vLLM does, knows only its own name."""

    def __init__(self, arm: str) -> None:
        super().__init__(spec=litserve.OpenAISpec())
        self.arm = arm

    def setup(self, device: str) -> None:
        """Train."""
        self.model = Words(self.arm)

    def decode_request(self, request: Any, context: dict[str, Any] | None = None) -> str:
        """The question."""
        if request.model != NAMES[self.arm]:
            raise HTTPException(404, f"the model `{request.model}` does not exist")
        return str(request.messages[-1].content)

    def predict(self, question: str, context: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The answer word by word, with what it cost."""
        said = self.model.says(question)
        for number, word in enumerate(said):
            last = number == len(said) - 1
            cost = {"prompt_tokens": 3, "completion_tokens": len(said), "total_tokens": 3 + len(said)} if last else {}
            yield {"role": "assistant", "content": word if number == 0 else f" {word}", **cost}


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """`POST /predict {"rows": …}` answers labels and probabilities."""

    def __init__(self, arm: str) -> None:
        super().__init__()
        self.arm = arm

    def setup(self, device: str) -> None:
        """Train."""
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        pixels, digits = load_digits(return_X_y=True)
        half = len(pixels) // 2
        model = LogisticRegression(max_iter=2000) if self.arm == "live" else KNeighborsClassifier(1)
        self.model = model.fit(pixels[:half] / 16, digits[:half])

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Labels and probabilities, by row."""
        rows = request["rows"]
        return {
            "labels": self.model.predict(rows).tolist(),
            "probabilities": self.model.predict_proba(rows).tolist(),
        }


if __name__ == "__main__":
    what, arm, port = sys.argv[1:]
    api = Chat(arm) if what == "chat" else Digits(arm)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")
