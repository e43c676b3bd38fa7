"""Schemas of what the API says of processes, replicas and the configuration."""

from __future__ import annotations

from proxy.controller.admin.schema_words import MOMENT, NUMBER, TEXT, WHOLE, list_of, nullable, object_of

WORKER = object_of({"slot": WHOLE, "pid": nullable(WHOLE), "started": NUMBER, "connected": {"type": "boolean"}})
PROCESSES = object_of(
    {
        "supervisor": WHOLE,
        "controller": nullable(WHOLE),
        "workers": list_of(WORKER),
        "restarts": {"type": "object", "additionalProperties": WHOLE},
        "leaving": list_of(WHOLE),
        "draining": {"type": "boolean"},
    }
)
CONFIG = object_of(
    {
        "hash": TEXT,
        "generation": WHOLE,
        "source": TEXT,
        "files": list_of(object_of({"name": TEXT, "owner": nullable(TEXT)})),
        "loaded": MOMENT,
        "by": {"type": "string", "description": "`start`, `SIGHUP`, `watch`, or the actor who asked the admin port."},
        "refused": nullable(object_of({"error": TEXT, "at": MOMENT, "by": TEXT})),
    },
    description="`refused`: the last attempt to load another one since, if it failed. Who may not see all routes gets "
    "no file of others, and not the text of `error`.",
)
REPLICA = object_of(
    {
        "name": TEXT,
        "address": TEXT,
        "role": {"enum": ["leader", "standby"]},
        "version": TEXT,
        "config_hash": TEXT,
        "workers": WHOLE,
        "link_lag_seconds": NUMBER,
        "clock_offset_seconds": NUMBER,
        "connected": {"type": "boolean"},
    }
)
FLEET = object_of(
    {
        "leader": nullable(object_of({"name": TEXT, "address": TEXT, "since": MOMENT})),
        "term": WHOLE,
        "replicas": list_of(REPLICA),
    }
)
