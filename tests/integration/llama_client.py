"""What the official clients are answered: `python llama_client.py URL RETRIES`, in the environment of `test-llama`.

Reads a list of cases `{"api", "question", "stream"}` on standard input; prints for each what its client made of the
answer, and the body as it came.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anthropic
import openai

SURE: dict[str, Any] = {"extra_body": {"temperature": 0, "seed": 7}}
"""The client of Anthropic knows neither."""
VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["first", "second", "tie"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["verdict", "days"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT}}


def asked(openai_client: openai.OpenAI, claude: anthropic.Anthropic, case: dict[str, Any]) -> dict[str, Any]:
    """What a client read, and the body of an answer to the same question."""
    message = {"role": "user", "content": case["question"]}
    body: dict[str, Any] = {"model": "m", "stream": case["stream"], **SURE}
    if case["api"] == "anthropic":
        api: Any = claude.messages
        body |= {"max_tokens": 12, "messages": [message]}
    elif case["api"] == "responses":
        api = openai_client.responses
        body |= {"input": case["question"], "max_output_tokens": 12}
    else:
        api = openai_client.chat.completions
        form = {"response_format": FORM, "max_tokens": 200} if case["api"] == "json" else {"max_tokens": 12}
        body |= {"messages": [message], **form}
        if case["stream"]:
            body["stream_options"] = {"include_usage": True}
    with api.with_streaming_response.create(**body) as answer:
        raw = b"".join(answer.iter_bytes())
    found = api.create(**body)
    events = [event.to_dict() for event in found] if case["stream"] else [found.to_dict()]
    return {"read": events, "raw": raw.decode()}


def main() -> None:
    """Answer every case."""
    url, retries = sys.argv[1], int(sys.argv[2])
    chat = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=retries)
    claude = anthropic.Anthropic(api_key="k", base_url=url, max_retries=retries)
    json.dump([asked(chat, claude, case) for case in json.load(sys.stdin)], sys.stdout, default=str)


if __name__ == "__main__":
    main()
