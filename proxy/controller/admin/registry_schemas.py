"""Schemas of what the API says of a model registry."""

from __future__ import annotations

from proxy.controller.admin.schema_words import MOMENT, TEXT, Schema, list_of, nullable, object_of

LINEAGE: Schema = nullable(
    object_of({"registry": TEXT, "model": TEXT, "version": TEXT, "run": TEXT, "data": TEXT, "url": TEXT})
) | {"description": "Where the version comes from, as a model registry says it; null where the file named it."}
HOOK_RESULT = object_of(
    {
        "result": {
            "enum": ["begun", "unchanged", "older", "noted", "ignored", "repeated"],
            "description": "What came of it; `why` says more.",
        },
        "why": nullable(TEXT),
        "model": TEXT,
        "version": TEXT,
        "upstream": TEXT,
    },
    required=("result", "why"),
)
REGISTRY = object_of(
    {
        "registry": {"enum": ["mlflow", "http"]},
        "asked_at": nullable(MOMENT) | {"description": "When it last answered."},
        "trouble": nullable(TEXT) | {"description": "Why it did not when it was last asked."},
        "models": list_of(
            object_of(
                {
                    "model": TEXT,
                    "upstream": TEXT,
                    "when": TEXT | {"description": "What makes a version be tried."},
                    "alias": nullable(TEXT) | {"description": "The alias that moves on promotion."},
                    "version": nullable(TEXT) | {"description": "The one that holds; null before the first."},
                    "named_by": nullable({"enum": ["file", "mlflow", "http"]}),
                    "seen": nullable(TEXT) | {"description": "The last version that the registry named."},
                }
            )
        ),
    }
)
