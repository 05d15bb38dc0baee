"""Little stories from a grammar of their own, and conversations about them; the same seed gives the same text.

    from stories import story, conversation
    print(story(7).text)

It needs nothing but Python's standard library, and none of its sentences is taken from elsewhere.
"""

import random
from dataclasses import dataclass, field

from .schemas import SCHEMAS
from .teller import Teller

HELD_OUT = 1 << 40  # seeds from here on are never trained on


@dataclass
class Story:
    text: str
    schema: str
    questions: list
    teller: Teller = field(repr=False)


def story(seed, schema=None):
    """The story of a seed; `schema` names a plot, else the seed draws one."""
    rng = random.Random(f"story {seed}")
    plot = SCHEMAS[schema or rng.choice(sorted(SCHEMAS))]
    teller = Teller(rng, plot.worlds, plot.heroes)
    plot.tell(teller)
    return Story(teller.text(), plot.name, teller.questions, teller)


from .conversation import Turn, asked, conversation, request  # noqa: E402, F401
