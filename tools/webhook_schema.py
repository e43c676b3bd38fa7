"""Write `docs/webhook.schema.json`, the JSON Schema of webhook bodies: `python tools/webhook_schema.py`."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.controller.admin.event_view import webhook_schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "webhook.schema.json"


def text() -> str:
    """The schema as it is written."""
    return json.dumps(webhook_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
    print(f"Wrote {PAGE}")
