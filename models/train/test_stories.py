"""Checks of the stories themselves: python test_stories.py

What an editor would mark and a machine can see: articles, pronouns, names before their introduction, spaces, answers that the story
does not give; and the counts that the model card quotes. It does not judge whether a story is any good; for that, read some.
"""

import re
import unittest
from collections import Counter

from stories import SCHEMAS, conversation, lexicon, story
from stories.characters import ALL_NAMES, HELPERS, HEROES, is_introduced
from stories.grammar import with_article
from stories.things import SPOTS, THINGS
from stories.world import Contradiction, World

NAME = re.compile(r"\b(?:" + "|".join(ALL_NAMES) + r")\b")
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


def sample(n_each=30):
    """Some stories of every plot."""
    return [story(seed, name) for name in sorted(SCHEMAS) for seed in range(n_each)]


class Counts(unittest.TestCase):
    def test_plots(self):
        self.assertGreaterEqual(len(SCHEMAS), 40)

    def test_names_and_animals(self):
        self.assertGreaterEqual(len(ALL_NAMES) + len(HEROES) + len(HELPERS), 150)
        self.assertFalse(set(lexicon.GIRLS) & set(lexicon.BOYS))
        self.assertFalse(set(lexicon.ANIMAL_NAMES_SHE + lexicon.GIRLS) & set(lexicon.ANIMAL_NAMES_HE + lexicon.BOYS))

    def test_things_and_places(self):
        settings = {s.split("|")[1].strip() for row in lexicon.WORLDS.values() for s in row["settings"].split(";")}
        spots = {spot for both in SPOTS.values() for some in both for spot in some}
        self.assertGreaterEqual(len(THINGS) + len(settings) + len(spots), 300)

    def test_words_used(self):
        words = Counter(word.lower() for told in sample(40) for word in WORD.findall(told.text))
        self.assertGreaterEqual(len(words), 1500)

    def test_hardly_two_stories_alike(self):
        texts = [story(seed).text for seed in range(5000)]
        self.assertGreaterEqual(len(set(texts)), 4999)


class Text(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stories = sample()

    def assert_none(self, pattern, flags=0):
        for told in self.stories:
            match = re.search(pattern, told.text, flags)
            if match:
                self.fail(f"{told.schema}: ...{told.text[max(0, match.start() - 40) : match.end() + 40]!r}...")

    def test_no_slot_left_open(self):
        self.assert_none(r"[{}\[\]|]")

    def test_spaces_and_punctuation(self):
        self.assert_none(r"  |\n\n\n| [.,!?]|[.,!?;]{2}|,\"[ ]*$|\. [a-z]|\n |^ | $")

    def test_every_sentence_ends(self):
        self.assert_none(r"[^.!?\"]\n\n|[^.!?\"]$|[^.!?]\"(\n|$)")

    def test_quotation_marks_come_in_pairs(self):
        for told in self.stories:
            for paragraph in told.text.split("\n\n"):
                self.assertEqual(paragraph.count('"') % 2, 0, f"{told.schema}: {paragraph}")

    def test_articles(self):
        for told in self.stories:
            for article, word in re.findall(r"\b(an?) ([a-z-]+)", told.text):
                self.assertEqual(f"{article} {word}", with_article(word), told.schema)

    def test_no_word_twice(self):
        self.assert_none(r"\b(?!very\b|had\b|that\b)([a-z]+) \1\b")

    def test_no_sentence_twice(self):
        for told in self.stories:
            sentences = [s for s in re.split(r"(?<=[.!?]) +|\n+", told.text) if len(s.split()) > 4]
            self.assertEqual(len(sentences), len(set(sentences)), f"{told.schema}: {told.text}")

    def test_capitals(self):
        self.assert_none(r"(^|\n\n|[.] )\"?[a-z]")
        self.assert_none(r"\b(the|a|an|and|to|with) (The|A|An|He|She|His|Her)\b")

    def test_length(self):
        lengths = sorted(len(told.text.split()) for told in self.stories)
        self.assertGreaterEqual(lengths[len(lengths) // 20], 80)
        self.assertLessEqual(lengths[-1], 235)

    def test_names_are_introduced_before_they_are_used(self):
        for told in self.stories:
            for name in set(NAME.findall(told.text)):
                self.assertTrue(is_introduced(told.text, name), f"{told.schema}: {name} in {told.text!r}")

    def test_nobody_comes_in_who_was_not_cast(self):
        for told in self.stories:
            cast = {character.name for character in told.teller.casting.taken}
            self.assertLessEqual(set(NAME.findall(told.text)), cast, told.schema)

    def test_every_named_character_takes_part(self):
        for told in self.stories:
            for character in told.teller.casting.taken:
                self.assertIn(character.name or character.kind, told.text, told.schema)

    def test_pronouns_have_somebody_to_stand_for(self):
        """No `she` in a story without a she, and in the narration none before the first one is named."""
        for told in self.stories:
            cast = {character.pronoun for character in told.teller.casting.taken}
            narration = re.sub(r'"[^"]*"', "", told.text)
            for pronoun, words in {"he": r"\b[Hh](e|im|is)\b", "she": r"\b([Ss]he|[Hh]er)\b"}.items():
                if pronoun not in cast:
                    family = r"mother|father|grandmother|grandfather|aunt|uncle|snowman|Then she turned"
                    if re.search(words, narration):
                        self.assertRegex(narration, family, f"{told.schema}: {pronoun}: {told.text}")


class Questions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stories = sample()

    def test_enough_of_them(self):
        for told in self.stories:
            self.assertGreaterEqual(len(told.questions), 5, told.schema)
            self.assertEqual(
                len({question.text for question in told.questions}), len(told.questions), f"{told.schema}: {told.questions}"
            )

    def test_the_key_is_in_the_answer_and_in_the_story(self):
        for told in self.stories:
            for question in told.questions:
                self.assertIn(question.key.lower(), question.answer.lower(), told.schema)
                if question.kind != "why" and question.kind != "learned":
                    self.assertIn(question.key.lower().removeprefix("the "), told.text.lower(), f"{told.schema}: {question}")

    def test_the_story_gives_the_reasons(self):
        allowed = set("was were because that had been took taken could not to of the a an in on with".split())
        for told in self.stories:
            words = {word.lower() for word in WORD.findall(told.text)} | allowed
            pronouns = {"he", "she", "his", "her", "him"}
            for question in (q for q in told.questions if q.kind in ("why", "learned")):
                asked = {word.lower() for word in WORD.findall(question.text)}
                known = words | asked | pronouns
                missing = [
                    w
                    for w in WORD.findall(question.key)
                    if w.lower() not in known and not any(k[:4] == w.lower()[:4] for k in known)
                ]
                self.assertEqual(missing, [], f"{told.schema}: {question} in {told.text}")

    def test_a_feeling_that_is_asked_for_is_told(self):
        for told in self.stories:
            for question in told.questions:
                if question.kind == "why" and question.text.startswith("Why was"):
                    feeling = question.text.rstrip("?").split()[-1]
                    self.assertIn(feeling, told.text, f"{told.schema}: {question.text} {told.text}")


class TheWorld(unittest.TestCase):
    def test_refuses_what_cannot_be(self):
        world = World()
        world.gets("a", "x")
        for wrong in (
            lambda: world.gives("b", "x", "a"),
            lambda: world.gives("a", "x", "a"),
            lambda: world.loses("b", "x", "p"),
            lambda: world.finds("a", "x", "p"),
            lambda: world.gets("b", "x"),
            lambda: world.feels("a", "sad", ""),
            lambda: world.tells("a", "secret", "b"),
        ):
            self.assertRaises(Contradiction, wrong)

    def test_lets_a_thing_go_round(self):
        world = World()
        world.gets("a", "x")
        world.loses("a", "x", "p")
        world.finds("b", "x", "p")
        world.gives("b", "x", "a")
        self.assertEqual(world.holder, {"x": "a"})


class Determinism(unittest.TestCase):
    def test_the_same_seed_gives_the_same_text(self):
        for seed in range(50):
            self.assertEqual(story(seed).text, story(seed).text)
            self.assertEqual(conversation(seed), conversation(seed))

    def test_conversations_take_turns(self):
        for seed in range(300):
            roles = [turn.role for turn in conversation(seed) if turn.role != "system"]
            self.assertEqual(roles, ["user", "assistant"] * (len(roles) // 2))
            self.assertTrue(roles)


if __name__ == "__main__":
    unittest.main()
