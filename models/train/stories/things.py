"""Things, spots and settings: what a story may be about and where it may happen.

It does not say who has a thing or where it lies; that is the world's state.
"""

from dataclasses import dataclass

from . import lexicon
from .characters import rows
from .grammar import with_article


@dataclass
class Thing:
    noun: str
    adjective: str
    tags: frozenset

    @property
    def full(self):
        return f"{self.adjective} {self.noun}".strip()

    @property
    def short(self):
        """`honey` for a pot of honey: how one goes on to speak of it."""
        return self.noun.split(" of ")[-1] if " of " in self.noun and "food" in self.tags else self.noun


@dataclass
class Spot:
    phrase: str  # "under the old oak tree"


@dataclass
class Setting:
    world: str
    place: str  # "forest"
    adjective: str
    detail: str  # "birdsong"

    @property
    def inside(self):
        """`in a quiet forest`, `on a small farm`."""
        preposition = {
            "farm": "on", "beach": "by", "harbour": "by", "island": "on", "hill": "on", "mountain": "on", "river": "by", "pond": "by",
            "lake": "by", "bay": "by", "street": "in", "plain": "on", "meadow": "in", "farmyard": "in",
        }.get(self.place, "in")  # fmt: skip
        return f"{preposition} {with_article(self.adjective + ' ' + self.place)}"


def _things():
    for noun, (tags, adjectives) in rows(lexicon.THINGS):
        pool = [word for word in adjectives.split() if word != "C"]
        if "C" in adjectives.split():
            pool += lexicon.COLOURS
        yield noun, frozenset(tags.split()), pool


THINGS = {noun: (tags, adjectives) for noun, tags, adjectives in _things()}

# world -> (spots where somebody can sit, spots where only a thing can lie)
SPOTS = {}
for _world, _row in lexicon.WORLDS.items():
    _spots = [" ".join(spot.split()) for spot in _row["spots"].split(";")]
    SPOTS[_world] = ([spot for spot in _spots if spot[0] != "!"], [spot[2:] for spot in _spots if spot[0] == "!"])


def draw_thing(rng, tags, without=()):
    """A thing with at least one of the tags and none of those written `-tag`, with an adjective that suits it."""
    wanted = {tag for tag in tags if not tag.startswith("-")}
    unwanted = {tag[1:] for tag in tags if tag.startswith("-")}
    nouns = [noun for noun, (own, _) in THINGS.items() if own & wanted and not own & unwanted and noun not in without]
    noun = rng.choice(nouns)
    own, adjectives = THINGS[noun]
    return Thing(noun, rng.choice(adjectives), own)


def draw_setting(rng, worlds=None):
    world = rng.choice(sorted(worlds or lexicon.WORLDS))
    row = lexicon.WORLDS[world]
    adjectives, place = rng.choice(row["settings"].split(";")).split("|")
    return Setting(world, place.strip(), rng.choice(adjectives.split()), rng.choice(row["detail"].split(";")).strip())
