"""Short conversations: somebody asks for a story, hears it, and asks about it; the answers depend on the story.

Also a few exchanges without a story (greetings, who are you, what can you not do), so that the model says what it is. It does
not know how a conversation is written in tokens; that is the chat template's business.
"""

import random
from dataclasses import dataclass

from . import story
from .characters import Character
from .grammar import choose, listed, with_article
from .things import Thing

REQUESTS = [
    "[Tell|Please tell] me a story about {about}.",
    "Can you tell me a story about {about}?",
    "Tell me a [short|little|nice|bedtime] story about {about}.",
    "I would like [to hear |]a story about {about}.",
    "Write a [short |]story about {about}.",
    "A story about {about}, please.",
    "Do you know a story about {about}?",
    "Once more, please: a story about {about}.",
    "[Could|Would] you tell me a story with {about} in it?",
    "tell me a story about {about}",
]

OPEN_REQUESTS = [
    "Tell me a story.",
    "Please tell me a [bedtime |short |]story.",
    "Can you tell me a story?",
    "I would like to hear a story.",
    "Write a short story.",
]

MORE = [
    "Tell me another story, about {about}.",
    "One more, please, about {about}.",
    "And now a story about {about}.",
    "Another one! About {about}.",
]

SMALL_TALK = [
    (["Hello!", "Hi!", "Hello.", "Good morning!", "Hi there!", "Good evening!"], ["Hello! Shall I tell you a story?", "Hello! Would you like to hear a story?"]),
    (["Who are you?", "What are you?", "What is your name?"], ["I am a very small storyteller. I know little stories and nothing else."]),
    (["What can you do?", "How can you help me?", "What do you know?"], ["I can tell little stories and answer questions about them."]),
    (["Thank you!", "Thanks!", "That was nice.", "What a nice story!", "I liked that story.", "Thank you very much!"],
     ["You are welcome!", "I am glad that you liked it.", "You are welcome! Would you like another one?"]),
    (["Good night!", "Good night.", "Goodbye!", "Bye!", "Sleep well!"], ["Good night! Sleep well.", "Goodbye! Come back soon."]),
    (["What is the capital of France?", "How much is two and two?", "What is the weather like?", "Write a program for me.", "Who is the president?",
      "Translate this for me.", "What is the news today?", "Help me with my homework.", "How do I cook rice?", "How old is the sun?", "What is a computer?"],
     ["I only know little stories. Shall I tell you one?"]),
]  # fmt: skip

SYSTEM = [
    "You are a storyteller.",
    "You are a helpful assistant.",
    "You tell stories to children.",
    "Tell short stories and answer questions about them.",
]


@dataclass(frozen=True)
class Turn:
    role: str  # system, user, assistant
    content: str


def about(told, rng):
    """What somebody may have asked for who then heard this story: its hero, a thing, a friend, a place."""
    teller = told.teller
    hero = teller.entities["a"]
    shape = rng.random()
    who = with_article(hero.kind)
    if shape < 0.3:
        who = with_article(hero.description)
    elif shape < 0.55:
        who = f"{with_article(hero.kind)} {rng.choice(['named', 'called'])} {hero.name}"
    elif shape < 0.62:
        who = hero.name
    things = [entity for entity in teller.entities.values() if isinstance(entity, Thing)]
    things = [thing for thing in things if thing.short in told.text]
    others = [entity for entity in teller.entities.values() if isinstance(entity, Character) and entity is not hero]
    parts = [who]
    if things and rng.random() < 0.75:
        thing = things[0]
        parts.append(with_article(thing.full if thing.full in told.text and rng.random() < 0.4 else thing.noun))
    if others and rng.random() < 0.3:
        other = rng.choice(others)
        if other.kind != hero.kind:
            parts.insert(1, with_article(other.kind))
        elif other.name:
            parts.insert(1, other.name)
    if len(parts) == 1 and rng.random() < 0.3 and teller.setting.inside in told.text:
        return f"{who} {teller.setting.inside}"
    return listed(parts)


def request(told, rng, templates=REQUESTS):
    """A request that this story fulfils."""
    if templates is REQUESTS and rng.random() < 0.08:
        return choose(rng.choice(OPEN_REQUESTS), rng)
    return choose(rng.choice(templates), rng).replace("{about}", about(told, rng))


def asked(question, rng):
    """The same question as different people would write it."""
    text = question.text
    if rng.random() < 0.3:
        text = text.replace("colour", "color")
    if rng.random() < 0.06:
        text = text[0].lower() + text[1:]
    return text


def conversation(seed):
    """The turns of a seed's conversation, without a system turn in most."""
    rng = random.Random(f"conversation {seed}")
    turns = []
    if rng.random() < 0.15:
        turns.append(Turn("system", rng.choice(SYSTEM)))
    if rng.random() < 0.04:
        return turns + _small_talk(rng, rng.randint(1, 2))
    if rng.random() < 0.05:
        turns += _exchange(SMALL_TALK[0], rng)
    n_stories = 1 if rng.random() < 0.9 else rng.randint(2, 3)
    for idx in range(n_stories):
        told = story(f"{seed} {idx}")
        turns.append(Turn("user", request(told, rng, REQUESTS if idx == 0 else MORE)))
        turns.append(Turn("assistant", told.text))
        n_questions = rng.randint(2, 5) if n_stories == 1 else rng.randint(0, 2)
        for question in rng.sample(told.questions, min(n_questions, len(told.questions))):
            turns.append(Turn("user", asked(question, rng)))
            turns.append(Turn("assistant", question.answer))
    if rng.random() < 0.08:
        turns += _exchange(rng.choice(SMALL_TALK[3:5]), rng)
    return turns


def _small_talk(rng, n):
    turns = []
    for exchange in rng.sample(SMALL_TALK, n):
        turns += _exchange(exchange, rng)
    return turns


def _exchange(exchange, rng):
    questions, answers = exchange
    return [Turn("user", rng.choice(questions)), Turn("assistant", rng.choice(answers))]
