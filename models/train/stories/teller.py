"""The teller: turns what happens into sentences, and remembers what can be asked about them.

A schema calls `say` with a few ways to put the same thing, and one verb of the world (`finds`, `gives`, `feels`, ...) for each event
that changes its state. The teller knows no plots; those are in `schemas/`.
"""

import re
from dataclasses import dataclass

from . import lexicon, phrases
from .characters import PRONOUNS, Casting, Character
from .grammar import capitalise, choose, fill, sentences_capitalised, with_article
from .things import SPOTS, Setting, Spot, Thing, draw_setting, draw_thing
from .world import World

FAMILY = {"mother": "she", "father": "he", "grandmother": "she", "grandfather": "he", "aunt": "she", "uncle": "he"}
_PRONOUNS_IN_A_ROW = 3  # then the name comes again
_LEISURE = [0.0, 0.0, 0.1, 0.2, 0.5]  # the chance of each passage that a plot could do without


@dataclass(frozen=True)
class Question:
    text: str
    answer: str
    key: str  # the words that make an answer right
    kind: str  # who, where, why, what, ...


class Teller:
    def __init__(self, rng, worlds=None, heroes=None):
        self.rng = rng
        self.setting = draw_setting(rng, worlds)
        self.casting = Casting(rng, self.setting.world)
        self.world = World()
        self.questions = []
        self.entities = {}
        self.extras = {"day": rng.choice(phrases.ONE_DAY)}  # words that were drawn once and are repeated
        self.paragraphs = [[]]
        self._salient = {"he": None, "she": None}
        self._subject = None  # who began the last sentence
        self._pronouns_in_a_row = 0
        self._hero_only = heroes
        self._leisure = rng.choice(_LEISURE)

    # Drawing who and what takes part.

    def hero(self):
        return self._enter("a", self.casting.hero("a", self._hero_only))

    def friend(self):
        return self._enter("b", self.casting.friend(self.entities["a"]))

    def helper(self, only=None):
        return self._enter("c", self.casting.helper("c", only))

    def thing(self, key, *tags, without=()):
        taken = [entity.noun for entity in self.entities.values() if isinstance(entity, Thing)]
        return self._enter(key, draw_thing(self.rng, tags, [*taken, *without]))

    def named_thing(self, key, noun, adjective="", *tags):
        """A thing that the plot prescribes."""
        return self._enter(key, Thing(noun, adjective, frozenset(tags)))

    def spot(self, key="p", seat=False):
        """Somewhere in the setting. `seat`: there must be room for somebody to sit."""
        roomy, narrow = SPOTS[self.setting.world]
        taken = [entity.phrase for entity in self.entities.values() if isinstance(entity, Spot)]
        return self._enter(key, Spot(self.rng.choice([spot for spot in roomy + ([] if seat else narrow) if spot not in taken])))

    def word(self, key, *options):
        """Draw one of several wordings, which templates then repeat as `{key}`."""
        self.extras[key] = choose(self.rng.choice(options), self.rng)
        return self.extras[key]

    def chance(self, probability):
        return self.rng.random() < probability

    def _pick(self, variants):
        """One of the wordings; in a short story often the shorter of two."""
        first, second = self.rng.choice(variants), self.rng.choice(variants)
        return min(first, second, key=len) if self.chance(0.7 - self._leisure) else first

    def has_time(self):
        """Whether to dwell on what the plot could do without; more often in a long story than in a short one."""
        return self.chance(self._leisure)

    # Telling.

    def say(self, *variants):
        self._append(self.render(self._pick(variants)))

    def speak(self, who, *lines, how=None, reply=False):
        """One of the lines in quotation marks, with its speaker before, after or in the middle. `how`: the verb of saying."""
        line = choose(self._pick(lines), self.rng)
        parts = re.split(r"(?<=[.!?]) +", line)
        layout = self.rng.random()
        if layout < 0.2 and how is None:
            verb = self._verb(parts[-1] if len(parts) == 1 else "", reply)
            if parts[-1].endswith("?") and len(parts) == 1:
                verb = "asked"
            text = f'{{{who}}} {verb}, "{line}"'
            self._append(self.render(text))
            return
        before, after = (parts[:1], parts[1:]) if len(parts) > 1 and layout < 0.75 else (parts, [])
        verb = how or self._verb(before[-1], reply)
        head = " ".join(before)
        if head.endswith("."):
            head = head[:-1] + ","
        # The speech is rendered first: it may change who "she" is.
        head = self.render(f'"{head}"')
        character = self.entities[who]
        if self._salient[character.pronoun] is character and self.chance(0.5):
            tag = f"{{{who}.he}} {verb}"
        else:
            tag = f"{verb} {{{who}}}"
        text = head + " " + self._fill(tag) + "."
        if after:
            text += " " + self.render(f'"{" ".join(after)}"')
        self._append(text)

    def par(self):
        if self.paragraphs[-1]:
            self.paragraphs.append([])
            self._salient = {"he": None, "she": None}
            self._subject = None
            self._pronouns_in_a_row = 0

    def open(self, *details):
        """The first sentences: who, where, perhaps what is special. `details` replace the general remarks."""
        a = self.entities["a"]
        once = self.rng.choice(phrases.ONCE)
        self.say(*(once + " " + shape for shape in phrases.OPENINGS_AFTER_ONCE)) if self.chance(0.72) else self.say(
            *phrases.OPENINGS
        )
        self.ask("Who was {a}?", f"{{a}} was {with_article(a.description)}.", a.description, "who is")
        self.ask("Where did {a} live?", "{a} lived {s.in}.", self.setting.inside, "lives")
        if details:
            self.say(*details)
        elif self.chance(0.2 + self._leisure):
            self.say(*(phrases.TRAITS if self.chance(0.7) else phrases.PLACE_REMARKS))

    def close(self, *variants, probability=0.6):
        """A last sentence, from the schema's own or from those that suit any happy end."""
        if self.chance(probability * (0.65 + self._leisure)):
            pool = phrases.CLOSINGS + (phrases.CLOSINGS_FOR_TWO if "b" in self.entities else [])
            self.say(*(variants or pool))
        if self.chance(0.06):
            self.par()
            self.say("The end.")

    # Events of the world, each with the questions it answers.

    def has(self, who, x):
        self.world.gets(who, x)

    def loses(self, who, x, spot):
        self.world.loses(who, x, spot)

    def lies(self, x, spot):
        self.world.lies(x, spot)

    def finds(self, who, x, spot):
        self.world.finds(who, x, spot)
        self.ask(f"Who found the {{{x}}}?", f"{{{who}}} found the {{{x}}}.", f"{{{who}}}", "found")
        self.ask(f"Where was the {{{x}}}?", f"The {{{x}}} was {{{spot}}}.", f"{{{spot}}}", "where")

    def gives(self, giver, x, taker, asks=True):
        self.world.gives(giver, x, taker)
        if asks:
            self.ask(
                f"What did {{{giver}}} give to {{{taker}}}?",
                f"{{{giver}}} gave {{{taker}}} the {{{x}}}.",
                f"{{{x}}}",
                "gave what",
            )
            self.ask(
                f"Who gave {{{taker}}} the {{{x}}}?", f"{{{giver}}} gave {{{taker}}} the {{{x}}}.", f"{{{giver}}}", "gave who"
            )

    def uses_up(self, who, x):
        self.world.uses_up(who, x)

    def feels(self, who, feeling, reason):
        """`reason` is a clause; the schema's sentences say it in the same words or nearly so."""
        reason = choose(reason, self.rng)
        self.world.feels(who, feeling, reason)
        reason = self._as_answer(f"{{{who}}} was {feeling} because {reason}")
        self.questions.append(
            Question(
                self._as_answer(f"Why was {{{who}}} {feeling}?"), capitalise(reason) + ".", reason.split(" because ", 1)[1], "why"
            )
        )

    def knows(self, who, what):
        self.world.learns(who, what)

    def tells(self, speaker, what, listener):
        self.world.tells(speaker, what, listener)

    def ask(self, question, answer, key, kind="what"):
        question, answer, key = (self._as_answer(choose(text, self.rng)) for text in (question, answer, key))
        self.questions.append(Question(question, capitalise(answer), key, kind))

    def ask_colour(self, x):
        thing = self.entities[x]
        if thing.adjective in lexicon.COLOURS:
            self.ask(f"What colour was the {{{x}}}?", f"The {{{x}}} was {thing.adjective}.", thing.adjective, "colour")

    # The result.

    def text(self):
        return "\n\n".join(" ".join(paragraph) for paragraph in self.paragraphs if paragraph)

    # Rendering.

    def render(self, template):
        return sentences_capitalised(self._fill(choose(template, self.rng)))

    def _append(self, text):
        self.paragraphs[-1].append(text)

    def _enter(self, key, entity):
        if key in self.entities:
            raise ValueError(f"{key} is taken")
        self.entities[key] = entity
        return key

    def _fill(self, template):
        return fill(template, self._resolve)

    def _as_answer(self, template):
        """As in a question: names, and pronouns for the one just named; the story's own salience stays as it is."""
        state = self._salient, self._subject, self._pronouns_in_a_row
        self._salient, self._subject, self._pronouns_in_a_row = {"he": None, "she": None}, None, 0
        text = self._fill(template)
        self._salient, self._subject, self._pronouns_in_a_row = state
        return text

    def _verb(self, sentence, reply):
        if sentence.endswith("?"):
            return "asked"
        if sentence.endswith("!"):
            return self.rng.choice(["cried", "called", "said", "cried"])
        return self.rng.choice(["said", "said", "answered"] if reply else ["said"])

    def _resolve(self, key, form, is_start):
        if key == "s":
            return self._resolve_setting(form)
        if key in self.extras:
            text = self._fill(self.extras[key])
            return re.sub(r"^(an?|some) |^", "the ", text, count=1) if form == "the" else text
        entity = self.entities[key]
        if isinstance(entity, Character):
            return self._resolve_character(entity, form, is_start)
        if isinstance(entity, Thing):
            return self._resolve_thing(entity, form)
        return entity.phrase

    def _resolve_setting(self, form):
        setting: Setting = self.setting
        return {"in": setting.inside, "the": "the " + setting.place, "place": setting.place, "detail": setting.detail}[form]

    def _resolve_thing(self, thing, form):
        return {
            "": thing.short,
            "full": thing.full,
            "a": with_article(thing.full),
            "an": with_article(thing.noun),
            "adjective": thing.adjective,
        }[form]

    def _resolve_character(self, who, form, is_start):
        if form in ("hand", "home", "kind"):
            return getattr(who, form)
        if form in FAMILY:
            text = self._resolve_character(who, "his", is_start) + " " + form
            self._salient[FAMILY[form]] = None
            return text
        if form == "himself":
            return PRONOUNS[who.pronoun][form]
        is_clear = self._salient[who.pronoun] is who
        is_tired = self._pronouns_in_a_row >= _PRONOUNS_IN_A_ROW
        was_subject, self._subject = self._subject is who, who if is_start else self._subject
        if form == "" and is_start and was_subject and is_clear and not is_tired and self.chance(0.6):
            form = "he"  # the name would be stiff so soon again
        if form in PRONOUNS[who.pronoun]:
            if is_clear and not (is_tired and form == "he" and is_start):
                self._pronouns_in_a_row += form == "he" and is_start
                return PRONOUNS[who.pronoun][form]
            form = "s" if form == "his" else ""
        self._salient[who.pronoun] = who
        self._pronouns_in_a_row = 0
        if form == "":
            return who.subject
        if form == "s":
            return who.subject + "'s"
        if form == "intro":
            return who.introduction(self.rng)
        if form == "friend":
            return who.introduction_as_friend(self.rng, self.entities["a"])
        if form == "apposed":
            return f"{who.name}, {with_article(who.description)}"
        if form == "description":
            return who.description
        raise KeyError(f"{who.key}.{form}")
