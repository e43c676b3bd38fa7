"""What the official clients make of streams: run in the servers' environment, where it reads cases and prints answers.

`python language_client.py URL`: JSON on standard input, a list of `{"api", "pieces"}` (bodies of streams, cut) for the
clients' own accumulation without a network, or `{"api", "question", "stream"}` to be asked of URL.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


def without_network(http: Any, pieces: list[str]) -> Any:
    """A client of `http` (httpx, or the httpx2 of `anthropic`) that answers everything with these pieces."""

    class Cut(http.SyncByteStream):  # type: ignore[misc] # a module that is an argument
        """A body in pieces."""

        def __iter__(self) -> Iterator[bytes]:
            for piece in pieces:
                yield piece.encode("latin-1")

    head = {"content-type": "text/event-stream"}
    return http.Client(transport=http.MockTransport(lambda _: http.Response(200, headers=head, stream=Cut())))


def accumulated(case: dict[str, Any]) -> Any:
    """The one answer that a client makes of a stream."""
    if case["api"] == "anthropic":
        claude = anthropic.Anthropic(api_key="k", http_client=without_network(httpx2, case["pieces"]), max_retries=0)
        with claude.messages.stream(max_tokens=9, **ASKED) as message:
            return message.get_final_message().to_dict()
    client = openai.OpenAI(api_key="k", http_client=without_network(httpx, case["pieces"]), max_retries=0)
    if case["api"] == "chat":
        with client.chat.completions.stream(**ASKED) as chat:
            for _ in chat:
                pass
            return chat.current_completion_snapshot.to_dict()  # `get_final_completion` raises where it was cut short
    with client.responses.stream(model="m", input="?") as response:
        return response.get_final_response().to_dict()


def asked(url: str, case: dict[str, Any]) -> Any:
    """What a client is answered: an answer, or the events of a stream."""
    question, stream = {"content": case["question"], "role": "user"}, case["stream"]
    if case["api"] == "anthropic":
        claude = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
        found: Any = claude.messages.create(model="m", max_tokens=9, messages=[question], stream=stream)
    else:
        client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
        if case["api"] == "chat":
            found = client.chat.completions.create(model="m", messages=[question], stream=stream)
        elif case["api"] == "embeddings":
            found = client.embeddings.create(model="m", input=case["question"])
        else:
            found = client.responses.create(model="m", input=case["question"], stream=stream)
    return [event.to_dict() for event in found] if stream else found.to_dict()


def main() -> None:
    """Answer every case."""
    cases = json.load(sys.stdin)
    answers = [accumulated(case) if "pieces" in case else asked(sys.argv[1], case) for case in cases]
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
