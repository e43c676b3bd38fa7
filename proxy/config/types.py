"""Types of the configuration tree: each is a reader of `units` or `names` with the JSON Schema of what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from proxy import units
from proxy.config import names
from proxy.config.postgres_url import StoreUrl, read_store_url
from proxy.fields.hash_key import HashKey
from proxy.http.placement import PathRule
from proxy.money import BUDGET_TEXT, MoneyBudget, amount, money_budget


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity, as metadata of a type must be
class Reads:
    """What pydantic is told of a type: how its text is read, the JSON Schema of that text, how it is written again."""

    read: Callable[[Any], Any]
    schema: dict[str, Any]
    write: Callable[[Any], str] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        back = self.write and core_schema.plain_serializer_function_ser_schema(self.write, when_used="json")
        return core_schema.no_info_plain_validator_function(self.read, serialization=back)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


def _text(pattern: str, *examples: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "examples": list(examples)}


def _after(value: float | str) -> str:
    return value if isinstance(value, str) else units.duration(value)


DURATION = r"^[0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)$"
SIZE = r"^[0-9]+(\.[0-9]+)?\s*(B|KB|MB|GB|KiB|MiB|GiB)$"
RATE = SIZE.replace(")$", ")/s$")
PERCENT = units.PERCENT_TEXT
LATENCY = units.LATENCY_TEXT

Duration = Annotated[float, Reads(units.seconds, _text(DURATION, "250ms", "10m"), units.duration)]
Size = Annotated[int, Reads(units.size, _text(SIZE, "1MiB"), units.bytes_text)]
ByteRate = Annotated[int, Reads(units.rate, _text(RATE, "1KiB/s"), units.rate_text)]
Percent = Annotated[float, Reads(units.percent, _text(PERCENT, "5%"), units.percent_text)]
Proportion = Annotated[float, Reads(units.ratio, _text(PERCENT, "1%"), units.ratio_text)]
Money = Annotated[float, Reads(amount, {"type": "number", "minimum": 0, "maximum": 1e9, "examples": [0.15]})]
Budget = Annotated[MoneyBudget, Reads(money_budget, _text(BUDGET_TEXT, "20/day"), str)]
Moment = Annotated[float, Reads(units.moment, {"type": "string", "format": "date-time"})]
Name = Annotated[str, Reads(names.name, _text(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "credit-v2"))]
Version = Annotated[str, Reads(names.version, {"type": ["string", "integer"], "examples": ["2026-11-20"]})]
_HEADER = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
Header = Annotated[str, Reads(names.header, _text(_HEADER, "x-user-id"))]
HeaderValue = Annotated[str, Reads(names.header_value, {"type": "string"})]
Method = Annotated[str, Reads(names.method, _text("^[A-Za-z-]+$", "POST"))]
RequestPath = Annotated[str, Reads(names.request_path, _text("^/[!-~]*$", "/v2/health/ready"))]
PointerText = Annotated[str, Reads(names.pointer, _text(r"^(/.*)?$", "/score"))]
Redacted = Annotated[str, Reads(names.redacted, _text(r"^(/.*|\?[^=&;#\s]+)?$", "/score", "?api_key"))]
Url = Annotated[str, Reads(names.url, _text("^https?://", "https://deploy.example/hooks"))]
Proxy = Annotated[
    str,
    Reads(names.proxy, {"anyOf": [{"enum": ["environment", "off"]}, _text("^https?://", "http://proxy.example:3128")]}),
]
ServerUrl = Annotated[
    str,
    Reads(
        names.server_url,
        _text("^(https?|grpcs?)://[^/?#]+(/[^?#]*)?$", "http://127.0.0.1:9001", "https://models.example/tenant-b"),
    ),
]
PathChange = Annotated[
    PathRule,
    Reads(
        names.path_change,
        {
            "type": "object",
            "properties": {"from": _text("^/[!-~]*$", "/v1/*"), "to": _text("^/[!-~]*$", "/openai/*")},
            "required": ["from", "to"],
            "additionalProperties": False,
        },
        names.path_change_text,
    ),
]
Balance = Annotated[
    HashKey | Literal["least_loaded"],
    Reads(
        names.balance,
        {
            "anyOf": [
                {"const": "least_loaded"},
                {
                    "type": "object",
                    "properties": {
                        "hash": {
                            "anyOf": [
                                {"const": "prefix"},
                                *(
                                    {
                                        "type": "object",
                                        "properties": {kind: _text(pattern, example)},
                                        "required": [kind],
                                        "additionalProperties": False,
                                    }
                                    for kind, pattern, example in (
                                        ("header", _HEADER, "x-session"),
                                        ("cookie", _HEADER, "session"),
                                        ("json", "^/.*$", "/user"),
                                    )
                                ),
                            ]
                        }
                    },
                    "required": ["hash"],
                    "additionalProperties": False,
                },
            ]
        },
        names.balance_text,
    ),
]
StoreAddress = Annotated[
    StoreUrl,
    Reads(
        read_store_url,
        _text(r"^(postgres(ql)?://|\$\{)", "postgresql://understudy:${file:/run/secrets/pg}@db/understudy"),
        lambda url: url.shown,
    ),
]
UpstreamHost = Annotated[
    str, Reads(names.upstream_host, {"type": "string", "examples": ["client", "url", "fraud-v2.models.example"]})
]
Listen = Annotated[str, Reads(names.listen, _text(":[0-9]{1,5}$", "0.0.0.0:8080"))]
_PATTERN = _text("^.+$", "teams/*.yaml")
FilePatterns = Annotated[
    tuple[str, ...],
    Reads(names.file_patterns, {"anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1}]}),
]
Network = Annotated[str, Reads(names.network, {"type": "string", "examples": ["10.0.0.7", "10.0.0.0/8", "::1"]})]
Workers = Annotated[
    int | Literal["auto"],
    Reads(units.workers, {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]}),
]
PairRate = Annotated[
    int | Literal["auto"],
    Reads(units.pair_rate, {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 10**12}]}),
]
After = Annotated[
    float | Literal["auto", "off"],
    Reads(units.after, {"anyOf": [{"enum": ["auto", "off"]}, _text(DURATION, "250ms")]}, _after),
]


def idle_rate(value: Any) -> int | Literal["all"]:
    """A number of pairs a second, or `all`; raises `Unfit`.

    >>> idle_rate("all"), idle_rate(5)
    ('all', 5)
    """
    if value == "all":
        return "all"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**12:
        raise units.Unfit("`all` or a whole number of pairs a second, at least 1")
    return value


IdleRate = Annotated[
    int | Literal["all"],
    Reads(idle_rate, {"anyOf": [{"const": "all"}, {"type": "integer", "minimum": 1, "maximum": 10**12}]}),
]
MOST = 10**12
"""More of anything is a slip, and beyond 64 bits it could be neither sent to a worker nor saved."""
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
CountFromZero = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Flag = Annotated[bool, Field(strict=True)]


def _beside(path: str, info: ValidationInfo) -> str:
    return str(Path((info.context or {}).get("directory", ".")) / path)


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_beside)]
"""A path; a relative one is taken from the folder of the configuration file."""


class Section(BaseModel):
    """What every part of the tree shares: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def one_of(*keys: str) -> Callable[[dict[str, Any]], None]:
    """For the JSON Schema: exactly one of the keys; a plural one brings its short form for a single entry along."""

    def extend(schema: dict[str, Any]) -> None:
        short, plural = keys[:2]
        if plural == f"{short}s":
            schema["properties"][short] = {
                **schema["properties"][plural]["items"],
                "description": f"One of `{plural}`.",
            }
            schema["required"] = [key for key in schema["required"] if key != plural]
        schema["oneOf"] = [{"required": [key]} for key in keys]

    return extend


def short_form(plural: str) -> Callable[[dict[str, Any]], None]:
    """For the JSON Schema: a list that may be absent has a short form for a single entry, its name without the s."""

    def extend(schema: dict[str, Any]) -> None:
        short, entry = plural[:-1], schema["properties"][plural]["items"]
        schema["properties"][short] = {**entry, "description": f"One of `{plural}`."}
        schema["not"] = {"required": [short, plural]}

    return extend


def or_text(schema: dict[str, Any]) -> None:
    """For the JSON Schema: a mapping, or text alone."""
    mapping = dict(schema)
    schema.clear()
    schema["anyOf"] = [mapping, {"type": "string"}]
