"""The plots. Each is a function that tells one story through a `Teller`; importing this package registers them all.

A plot has a name, the worlds it can happen in (None: all) and who can be its hero (None: a child or an animal).
"""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Schema:
    name: str
    tell: Callable
    worlds: tuple | None
    heroes: str | None


SCHEMAS = {}


def schema(name, worlds=None, heroes=None):
    def register(tell):
        if name in SCHEMAS:
            raise ValueError(f"two plots are called {name}")
        SCHEMAS[name] = Schema(name, tell, tuple(worlds.split()) if worlds else None, heroes)
        return tell

    return register


from . import fears, friends, gifts, helping, journeys, lessons, losses, making, wonders  # noqa: E402, F401
