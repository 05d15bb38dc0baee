"""Characters: who they are, how they are introduced, which pronouns they take.

It does not decide when a pronoun is clear enough to stand for a name; the teller does.
"""

import functools
import re
from dataclasses import dataclass

from . import lexicon
from .grammar import with_article

PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}

# The first mention of a name follows one of these patterns; `evaluate.py` holds the model to the same rule.
INTRODUCTIONS = [
    r"\b(?:named|called|friend|brother|sister|cousin|neighbour) {name}\b",
    r"\b{name} was (?:a|an|the) ",
    r"\b{name} the (?:[a-z]+ )?[a-z]+\b",
    r"\b{name}, an? ",
]


@functools.cache
def _introductions(name):
    return [re.compile(pattern.format(name=name)) for pattern in INTRODUCTIONS]


def is_introduced(text, name):
    """Whether the first mention of a name in the text introduces its bearer."""
    first = re.search(rf"\b{name}\b", text).start()
    found = (pattern.search(text) for pattern in _introductions(name))
    return any(match and match.start() <= first < match.end() for match in found)


@dataclass
class Character:
    key: str  # what templates call it: a, b, c
    name: str  # empty for those whom the story knows only as "the owl"
    kind: str  # girl, boy, fox, baker, ...
    adjective: str
    colour: str
    pronoun: str  # "he" or "she": the key into PRONOUNS
    hand: str
    home: str

    @property
    def is_child(self):
        return self.kind in ("girl", "boy")

    @property
    def subject(self):
        return self.name or "the " + self.kind

    @property
    def description(self):
        """`little brown fox`, without an article."""
        return " ".join(word for word in (self.adjective, self.colour, self.kind) if word)

    def introduction(self, rng):
        """`a little fox named Pip`; `an old owl` for one without a name."""
        if not self.name:
            return with_article(self.description)
        return f"{with_article(self.description)} {rng.choice(['named', 'named', 'called'])} {self.name}"

    def introduction_as_friend(self, rng, other):
        """`her friend Pip`, `his sister Anna`, `a rabbit called Hazel`, seen from `other`."""
        whose = PRONOUNS[other.pronoun]["his"]
        if self.is_child and other.is_child:
            sibling = "brother" if self.pronoun == "he" else "sister"
            relation = rng.choice(["friend", "friend", "friend", sibling, "cousin", "neighbour"])
            return f"{whose} {relation} {self.name}"
        return f"{whose} friend {self.name} the {self.kind}"


def rows(table):
    """The lines of a table of the lexicon, as word and list of its columns."""
    for line in table.strip().splitlines():
        word, columns = line.split(":", 1)
        yield word.strip(), [column.strip() for column in columns.split(";")]


HEROES = {
    kind: {"worlds": worlds.split(), "colours": colours.split(), "hand": hand, "home": home}
    for kind, (worlds, colours, hand, home) in rows(lexicon.HERO_KINDS)
}
HELPERS = {kind: {"worlds": worlds.split(), "colours": colours.split()} for kind, (worlds, colours) in rows(lexicon.HELPER_KINDS)}
PEOPLE = {
    kind: {"worlds": worlds.split(), "pronouns": pronouns.split()} for kind, (worlds, pronouns) in rows(lexicon.HELPER_PEOPLE)
}
ALL_NAMES = sorted({*lexicon.GIRLS, *lexicon.BOYS, *lexicon.ANIMAL_NAMES_SHE, *lexicon.ANIMAL_NAMES_HE})


class Casting:
    """Draws characters that belong to a world and differ from each other in name, kind and, for the two named ones,
    in pronoun, so that `he` and `she` are never in doubt between them."""

    def __init__(self, rng, world):
        self.rng = rng
        self.world = world
        self.taken = []

    def hero(self, key="a", only=None):
        """`only`: "child", "animal" or None for either."""
        may_be_child = self.world in lexicon.CHILD_WORLDS and only != "animal"
        animals = [kind for kind, row in HEROES.items() if self.world in row["worlds"]]
        if only == "child" or (may_be_child and (not animals or self.rng.random() < 0.6)):
            return self._child(key, self.rng.choice(["he", "she"]))
        return self._animal(key, self.rng.choice(animals), self.rng.choice(["he", "she"]))

    def friend(self, hero, key="b"):
        pronoun = "she" if hero.pronoun == "he" else "he"
        animals = [kind for kind, row in HEROES.items() if self.world in row["worlds"] and kind != hero.kind]
        if hero.is_child and (not animals or self.rng.random() < 0.8):
            return self._child(key, pronoun)
        return self._animal(key, self.rng.choice(animals), pronoun)

    def helper(self, key="c", only=None):
        """Someone without a name. `only`: "person", "animal" or None; a world without people sends an animal."""
        taken = {character.kind for character in self.taken}
        people = [kind for kind, row in PEOPLE.items() if self.world in row["worlds"] and kind not in taken]
        animals = [kind for kind, row in HELPERS.items() if self.world in row["worlds"] and kind not in taken]
        is_animal_story = any(not character.is_child for character in self.taken)
        preferred = "he" if self.taken and self.taken[0].pronoun == "she" else "she"  # so that the hero stays clear
        wants_person = only == "person" or (only is None and not is_animal_story)
        adjective = self.rng.choice(lexicon.HELPER_ADJECTIVES)
        if people and (wants_person or not animals):
            kind = self.rng.choice(people)
            pronouns = PEOPLE[kind]["pronouns"]
            pronoun = preferred if preferred in pronouns else pronouns[0]
            return self._add(Character(key, "", kind, adjective, "", pronoun, "hand", "house"))
        kind = self.rng.choice(animals or ["owl", "robin", "crow", "magpie"])
        colour = self.rng.choice(HELPERS[kind]["colours"]) if self.rng.random() < 0.3 else ""
        pronoun = {"hen": "she", "rooster": "he"}.get(kind, preferred)
        return self._add(Character(key, "", kind, adjective, colour, pronoun, "wing", "nest"))

    def _child(self, key, pronoun):
        name = self._fresh(lexicon.BOYS if pronoun == "he" else lexicon.GIRLS)
        adjective = self.rng.choice(lexicon.ADJECTIVES)
        return self._add(Character(key, name, "boy" if pronoun == "he" else "girl", adjective, "", pronoun, "hand", "house"))

    def _animal(self, key, kind, pronoun):
        own, lent = {
            "he": (lexicon.ANIMAL_NAMES_HE, lexicon.BOYS),
            "she": (lexicon.ANIMAL_NAMES_SHE, lexicon.GIRLS),
        }[pronoun]
        name = self._fresh(own if self.rng.random() < 0.7 else lent)
        colour = self.rng.choice(HEROES[kind]["colours"]) if self.rng.random() < 0.35 else ""
        adjective = self.rng.choice(lexicon.ADJECTIVES)
        return self._add(Character(key, name, kind, adjective, colour, pronoun, HEROES[kind]["hand"], HEROES[kind]["home"]))

    def _fresh(self, names):
        taken = {character.name for character in self.taken}
        return self.rng.choice([name for name in names if name not in taken])

    def _add(self, character):
        self.taken.append(character)
        return character
