"""Settings by definition, with a default: what apply and tracing have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from treadle.errors import InvalidRequest

C = TypeVar("C")


@dataclass
class Registry(Generic[C]):
    """`default` is for definitions that are not in `per_definition`; None leaves them alone."""

    default: C | None = None
    per_definition: dict[str, C] = field(default_factory=dict[str, C])

    def get(self, def_name: str) -> C | None:
        """The setting of a definition."""
        return self.per_definition.get(def_name, self.default)

    def register(self, def_name: str, config: C, *, override: bool = False) -> Registry[C]:
        """Sets one. Raises InvalidRequest if there is one, unless `override`."""
        return self.register_many({def_name: config}, override=override)

    def register_many(self, configs: dict[str, C], *, override: bool = False) -> Registry[C]:
        """Sets several, or none if one of them is there."""
        there = sorted(set(configs) & set(self.per_definition))
        if there and not override:
            raise InvalidRequest(f"{there[0]!r} is registered", hint="pass override=True")
        self.per_definition.update(configs)
        return self
