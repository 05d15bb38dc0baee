"""The state of a story's world: who has what, where things are, who knows what, who feels what and why.

It refuses what cannot be: giving what one does not have, finding a thing where it is not, a feeling without a reason. It tells
nothing and knows no words; the teller puts the events into sentences.
"""


class Contradiction(Exception):
    """A schema tried to tell what the state of its world does not allow."""


class World:
    def __init__(self):
        self.holder = {}  # thing -> character who has it
        self.place = {}  # thing -> spot where it lies
        self.feeling = {}  # character -> (feeling, reason)
        self.knowledge = set()  # (character, what)

    def gets(self, who, thing):
        """A thing comes from outside of the story: bought, made, always had."""
        self._refuse(thing in self.holder or thing in self.place, f"{thing} is in the story already")
        self.holder[thing] = who

    def loses(self, who, thing, spot):
        self._refuse(self.holder.get(thing) != who, f"{who} loses {thing} without having it")
        del self.holder[thing]
        self.place[thing] = spot

    def lies(self, thing, spot):
        """A thing that nobody has lies somewhere from the start."""
        self._refuse(thing in self.holder or thing in self.place, f"{thing} is in the story already")
        self.place[thing] = spot

    def finds(self, who, thing, spot):
        self._refuse(self.place.get(thing) != spot, f"{who} finds {thing} at {spot}, where it is not")
        del self.place[thing]
        self.holder[thing] = who

    def gives(self, giver, thing, taker):
        self._refuse(self.holder.get(thing) != giver, f"{giver} gives {thing} without having it")
        self._refuse(giver == taker, f"{giver} gives {thing} to the same")
        self.holder[thing] = taker

    def uses_up(self, who, thing):
        """Eaten, melted, broken for good."""
        self._refuse(self.holder.get(thing) != who, f"{who} uses up {thing} without having it")
        del self.holder[thing]

    def feels(self, who, feeling, reason):
        self._refuse(not reason, f"{who} is {feeling} for no reason")
        self._refuse(self.feeling.get(who, ("",))[0] == feeling, f"{who} is {feeling} already")
        self.feeling[who] = (feeling, reason)

    def learns(self, who, what):
        self.knowledge.add((who, what))

    def tells(self, speaker, what, listener):
        self._refuse((speaker, what) not in self.knowledge, f"{speaker} tells {what!r} without knowing it")
        self.knowledge.add((listener, what))

    def _refuse(self, is_wrong, why):
        if is_wrong:
            raise Contradiction(why)
