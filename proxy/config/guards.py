"""The limits of a rollout as a section of the tree, a key for each guard there is (`evidence.rules.registry`)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from proxy.config.types import Reads, Section
from proxy.evidence.families.guard import GuardType
from proxy.evidence.families.unit import Unit, Value
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard


class Limits:
    """What the guards of a section say together."""

    if not TYPE_CHECKING:  # what pydantic reads: names of the owner's own may stand beside the keys
        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, AspectGuards]

    @property
    def by_aspect(self) -> dict[str, AspectGuards]:
        """The limits of each of several predictions, by its name."""
        return getattr(self, "model_extra", None) or {}

    @property
    def listed(self) -> tuple[Guard, ...]:
        """As the core knows them: those of each prediction, as the file has them, then the others, each in the order of
        the registry."""
        named = (guard for name, limits in self.by_aspect.items() for guard in _listed(limits, name))
        return (*named, *_listed(self))

    @property
    def in_force(self) -> tuple[Guard, ...]:
        """Those listed, and `IMPLIED` where none of them compares answers and the owner says nothing of it."""
        listed = self.listed
        compared = any(GUARDS[guard.name].compares for guard in listed)
        implied = () if compared else tuple(one for one in IMPLIED if getattr(self, one.name) is None)
        return (*listed, *implied)


def _listed(limits: Any, aspect: str = "") -> tuple[Guard, ...]:
    section: type[BaseModel] = type(limits)
    found = [_guard(kind, getattr(limits, name)) for name, kind in _kinds(section)]
    return tuple([replace(guard, aspect=aspect) if aspect else guard for guard in found if guard is not None])


@cache
def _kinds(section: type[BaseModel]) -> tuple[tuple[str, GuardType], ...]:
    """The guards that a section has keys for; asked several times of each of hundreds of rollouts."""
    return tuple((name, kind) for name, kind in GUARDS.items() if name in section.model_fields)


def _guard(kind: GuardType, value: Any) -> Guard | None:
    if value is None:
        return None
    return kind.unit.guard(kind.name, vars(value) if kind.unit.fields else value)


def _reads(value: Value) -> Any:
    return Annotated[Any, Reads(value.read, dict(value.schema), value.write)]


def _field(value: Value) -> Any:
    return Field(description=value.about, default=value.default)


def _section(kind: GuardType) -> type[Section]:
    """The section of a limit that is a mapping: `max_big_change` is a `BigChange`."""
    name = "".join(word.capitalize() for word in kind.name.split("_")[1:])
    fields: Any = {
        key: (_reads(value) if value.default is not None else _reads(value) | None, _field(value))
        for key, value in kind.unit.fields.items()
    }
    made: type[Section] = create_model(name, __base__=Section, __doc__=kind.unit.about, __module__=__name__, **fields)
    return made


def _type(kind: GuardType) -> Any:
    return (_section(kind) if kind.unit.fields else _reads(_value(kind.unit))) | None


def _value(unit: Unit) -> Value:
    if unit.value is None:
        raise TypeError("a unit is one value, or has fields")
    return unit.value


if TYPE_CHECKING:

    class AspectGuards(Section):
        """The limits of one of several predictions."""

    class Guards(Section, Limits):
        """The limits; all must pass before the next stage, and their pooled evidence rolls a candidate back."""

else:
    _FIELDS = {name: (_type(kind), Field(default=None, description=kind.about)) for name, kind in GUARDS.items()}
    AspectGuards = create_model(
        "AspectGuards",
        __base__=Section,
        __module__=__name__,
        __doc__="The limits of one of several `predictions`.",
        **{name: field for name, field in _FIELDS.items() if GUARDS[name].reads},
    )

    Guards = create_model(
        "Guards",
        __base__=(Section, Limits),
        __module__=__name__,
        __doc__="The limits; all must pass before the next stage, and their pooled evidence rolls a candidate back. "
        "With\n`predictions`, those on answers are listed under the name of the prediction that they judge.",
        **_FIELDS,
    )


def _default(kind: GuardType) -> Guard:
    found = _guard(kind, _value(kind.unit).read(kind.default))
    if found is None:
        raise TypeError(f"{kind.name} is off by default")
    return found


IMPLIED = tuple(_default(kind) for kind in GUARDS.values() if kind.implied)
"""Guards in force where none compares answers: without them, any answer below 400 would be as good as any other."""

DEFAULT_GUARDS = Guards.model_validate(
    {name: kind.default for name, kind in GUARDS.items() if kind.default and not kind.implied}
)
"""What a rollout without `guards` gets, with `IMPLIED`."""
