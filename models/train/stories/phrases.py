"""Openings, remarks and closings that more than one plot may use.

They must contradict no plot; what belongs to one plot only stands in its schema.
"""

ONCE = ["once upon a time,"] * 9 + ["long ago,", "not so very long ago,", "a long time ago,", "once, long ago,"]

OPENINGS_AFTER_ONCE = [
    "there was {a.intro} who lived {s.in}.",
    "there was {a.intro}. {a.he} lived {s.in}.",
    "there lived {a.intro}. {a.his} {a.home} was {s.in}.",
    "{s.in}, there lived {a.intro}.",
    "{a.intro} lived {s.in}.",
]

OPENINGS = [
    "{s.in} lived {a.intro}.",
    "{s.in}, there lived {a.intro}.",
    "there was once {a.intro} who lived {s.in}.",
    "{a} was a {a.description}. {a.he} lived {s.in}.",
    "this is the story of {a.intro} who lived {s.in}.",
    "far away, {s.in}, there lived {a.intro}.",
    "{a.intro} lived {s.in}.",
    "far, far away, there was {a.intro} who lived {s.in}.",
]

TRAITS = [
    "{a.he} was not very big, but {a.he} was full of ideas.",
    "{a.he} [loved|liked] to sing in the morning.",
    "everyone liked {a.him}, because {a.he} always had a kind word.",
    "{a.he} asked a hundred questions every day.",
    "{a.he} got up with the sun and went to bed with the moon.",
    "{a.he} liked nothing better than a new day.",
    "{a.he} had bright eyes and quick feet.",
    "{a.he} hummed a little tune wherever {a.he} went.",
    "{a.he} knew every path and every puddle.",
    "{a.he} laughed a lot and never walked when {a.he} could run.",
    "{a.he} liked quiet days, and {a.he} liked busy days even more.",
    "{a.grandmother} said that nobody was as curious as {a}.",
    "{a.he} could not sit still for long.",
    "every evening {a.he} counted the stars until {a.he} fell asleep.",
    "{a.he} liked long walks, warm soup and good company.",
    "{a.he} was always the first one up in the morning.",
]

PLACE_REMARKS = [
    "it was a place full of {s.detail}.",
    "there were {s.detail} wherever you looked.",
    "nobody knew {s.the} better than {a}.",
    "{s.the} was full of {s.detail}, and {a} loved it.",
    "it was never dull there.",
    "people said that there was no nicer place in the world.",
]

CLOSINGS = [
    "that night, {a} fell asleep with a smile.",
    "it had been a [very |]good day.",
    "{a} went to bed tired and happy.",
    "and if you ask {a} about it today, {a.he} will laugh and tell you everything.",
    "{a} never forgot that day.",
    "and that is how the story ends.",
    "from that day on, {a} smiled whenever {a.he} thought of it.",
    "what a day it had been!",
    "when the moon came up, {a} was already asleep.",
    "{a} told the story again and again.",
    "the stars came out one by one, and all was well.",
]

CLOSINGS_FOR_TWO = [
    "and from that day on, {a} and {b} were the best of friends.",
    "{a} and {b} walked home together, singing all the way.",
    "{a} and {b} sat side by side until the stars came out.",
    "{a} and {b} laughed about it for a long time.",
    "and {a} and {b} were happy ever after.",
    "the two friends watched the sun go down.",
    "{b} gave {a} a big hug, and they went home.",
    "after that, {a} and {b} met every single day.",
    "and if you pass that way, you may hear {a} and {b} laughing still.",
    "that evening, {a} and {b} had a lot to tell.",
]

# When something happens.
ONE_DAY = [
    "one morning",
    "one day",
    "one afternoon",
    "one sunny morning",
    "one bright day",
    "early one morning",
    "one Sunday",
    "one spring morning",
    "one summer day",
    "one autumn day",
    "one fine day",
]
