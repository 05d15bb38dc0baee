"""Plots with a little magic: dragons, clouds, secret doors, things that can do more than things can."""

from . import schema


@schema("the small dragon", worlds="hills village forest meadow farm")
def the_small_dragon(t):
    t.hero()
    t.thing("x", "food", "music", "lamp", without=("candle", "egg"))
    t.open()
    t.par()
    t.say(
        "everyone was afraid of the cave behind the hill. At night something roared in it.",
        "in the hills there was a dark cave. Nobody dared to go near it.",
    )
    t.has("a", "x")
    t.say(
        "but {a} wanted to know. {day}, {a.he} took {x.a} and went up to the cave.",
        "{day}, {a} was too curious to wait any longer. {a.he} put {x.a} into a bag and climbed up.",
    )
    t.ask("What did {a} take to the cave?", "{a} took {x.a} to the cave.", "{x}")
    if t.has_time():
        t.speak("a", "Hello? Is there anybody in there?", "Good morning! May I come in?")
    if t.has_time():
        t.say("something roared. {a.s} legs shook, but {a.he} stayed.", "first there was a roar, and then there was a sob.")
    t.word("size", "cat", "goose", "goat", "pumpkin", "teapot", "sheep", "hen", "pillow")
    t.say(
        "out of the dark came a dragon. It was no bigger than a {size}!",
        "and what came out? A dragon, but it was no bigger than a {size}!",
    )
    t.ask("How big was the dragon?", "The dragon was no bigger than a {size}.", "{size}", "how")
    t.say('"Are you not afraid of me?" asked the dragon.', '"You did not run away," said the dragon in surprise.')
    t.speak("a", "A little. Why do you roar every night?", "No. But why do you make so much noise?", reply=True)
    t.word(
        "state",
        "crying for my mother",
        "calling for a friend",
        "singing to the moon",
        "talking in my sleep",
        "practising my songs",
    )
    t.say('"That is not roaring," said the dragon. "I am {state}."')
    t.ask("What did the dragon say about the noise?", 'The dragon said: "I am {state}."', "{state}")
    t.par()
    t.world.gives("a", "x", "dragon")
    t.say(
        "{a} gave it the {x}, and its tail began to wag.",
        "so {a} gave the dragon the {x}, and it smiled with all its teeth.",
    )
    t.ask("What did {a} give to the dragon?", "{a} gave the dragon the {x}.", "{x}", "gave what")
    t.say(
        "after that {a} came every day, and soon {a.he} brought the others along.",
        "then {a} took the dragon home to meet the others.",
    )
    useful = t.word(
        "useful",
        "lit all the lamps",
        "warmed the bath water",
        "toasted the bread",
        "melted the snow on the path",
        "dried the washing",
        "lit the winter fires",
    )
    t.say(
        f"the dragon {useful}, and it was the politest dragon in the world.",
        f"and because the dragon {useful} for everyone, nobody was afraid of it any more.",
    )
    t.ask("What did the dragon do for everyone?", f"The dragon {useful}.", useful)
    t.close(
        "at night it is quiet in the hills now.",
        "nobody heard the roar again, only laughter.",
        "and when it was cold, {a} slept next to {a.his} warm friend.",
        probability=0.8,
    )


@schema("the lonely cloud")
def the_lonely_cloud(t):
    t.hero()
    t.open()
    t.par()
    dry = t.word("dry", "a dry summer", "a hot summer", "a summer without rain", "a long hot spell")
    t.say(
        f"it was {dry}. The flowers hung their heads, and the brook was empty.",
        f"one year there was {dry}. Day after day the sun burned, and the plants turned brown.",
    )
    t.feels("a", "worried", "there was no rain")
    t.say("{a} was worried, because there was no rain.", "there was no rain, and {a} was worried about {a.his} garden.")
    t.say(
        "one evening {a.he} saw a small white cloud. It was all alone in the wide sky.",
        "then {a} saw a tiny cloud over the hill. All day it stood in the same place.",
    )
    t.speak("a", "Hello, cloud! Why do you not rain?", "Good day, cloud! Can you help us?")
    t.say(
        '"I am too small," sighed the cloud. "And I am so alone that I have forgotten how."',
        '"I cannot," said the cloud. "I am too small, and I am always alone."',
    )
    t.ask("Why could the cloud not rain?", "The cloud could not rain because it was too small and alone.", "small", "why")
    if t.has_time():
        t.say("nobody could reach it up there. But {a} had an idea.", "{a} felt sorry for it and thought hard.")
    gift = t.word(
        "gift",
        "sang it a song",
        "told it jokes",
        "flew a kite for it",
        "blew soap bubbles up to it",
        "told it a story",
        "played the flute for it",
        "waved a red scarf at it",
    )
    t.par()
    t.say(f"every evening {{a.he}} climbed the hill and {gift}.", f"{{a}} went up the hill, sat down and {gift}.")
    t.ask("What did {a} do for the cloud?", f"{{a}} {gift}.", gift)
    t.say("the cloud listened. It grew a little rounder every day.", "the cloud laughed, and with each laugh it grew.")
    if t.has_time():
        t.say(
            "other clouds heard it and came to see. There were two, then five, then the whole sky was full of them.",
            "soon it had company. Fat grey clouds came from far away to listen too.",
        )
    t.say("and one night, plip, plop, it began to rain.", "then the first drop fell on {a.s} nose.")
    if t.has_time():
        t.say(
            "it rained all night, and the brook sang again.",
            "the earth drank, the frogs sang, and {a} danced in the puddles.",
        )
    t.feels("a", "happy", "the rain had come")
    t.say("the rain had come, and {a} was happy.", "{a} was wet to the skin, and happy that the rain had come.")
    if t.has_time():
        t.say(
            '"Thank you," {a} called up. "Thank you," called the cloud.',
            '"I have not forgotten how after all!" laughed the cloud.',
        )
    t.close(
        "to this day, when a small cloud stops above the hill, {a} waves.",
        "and if you see a small white cloud, say hello. It may be lonely.",
        probability=0.7,
    )


@schema("the door in the wall", worlds="village garden farm hills meadow")
def the_door_in_the_wall(t):
    t.hero()
    t.friend()
    t.spot()
    t.named_thing("x", "key", t.rng.choice(["rusty", "golden", "silver", "tiny"]))
    t.open()
    t.par()
    t.word("colour", "green", "blue", "small round", "red", "crooked")
    t.say(
        "near {a.s} {a.home} there was a high wall with a little door in it. It was always locked.",
        "at the end of the path stood an old wall. In the wall was a {colour} door, and nobody knew what was behind it.",
    )
    t.lies("x", "p")
    t.finds("a", "x", "p")
    t.say("{day}, {a} found {x.a} {p}.", "{day}, something shone {p}. It was {x.a}, and {a} picked it up.")
    if t.has_time():
        t.speak("a", "Could it be the key to the little door?", "I wonder what it opens.")
    t.say(
        "{a} fetched {b.friend}, because secrets are better with two.", "{a} showed it to {b.friend}, and they ran to the wall."
    )
    t.say("the key turned with a creak. Slowly the door opened.", "it fitted! Creak, went the door.")
    t.par()
    t.word(
        "inside",
        "a garden full of roses",
        "a pond with golden fish",
        "a tree with silver leaves",
        "a swing between two cherry trees",
        "a field of strawberries",
        "an old merry-go-round",
        "a maze of green hedges",
    )
    t.say("behind it was {inside}.", "and what did they see? There was {inside}!")
    t.ask("What was behind the door?", "Behind the door was {inside}.", "{inside}")
    t.helper()
    t.say("on a bench sat {c.intro}.", "in the middle stood {c.intro} and looked at them.")
    t.ask("Who was behind the door?", "{c} was there.", "{c}", "who")
    t.speak(
        "c",
        "At last! I lost my key long ago, and since then nobody has come.",
        "Visitors! I have waited a hundred Sundays for that.",
    )
    t.feels("c", "glad", "somebody had come at last")
    t.say("somebody had come at last, and {c} was glad.", "{c} was glad that somebody had come at last.")
    if t.has_time():
        t.speak("b", "May we stay and look?", "Is all this yours?")
        t.speak("c", "It is yours too, if you like.", "Stay as long as you please. It is too beautiful for one.", reply=True)
    t.gives("a", "x", "c")
    t.say(
        "{a} gave {c} the key. But {c.he} left the door open for ever.",
        "{a} gave {c.him} the key, and {c} never locked the door again.",
    )
    t.close(
        "now there is laughter behind the wall every day.",
        "since then the three of them have met there every Sunday.",
        "and the wall did not look so high any more.",
        probability=0.8,
    )


@schema("the magic thing")
def the_magic_thing(t):
    t.hero()
    t.helper()
    item, power, selfish, kind_use = t.rng.choice(
        [
            ("paintbrush", "whatever it painted became real", "painted a heap of gold", "painted bread for the hungry"),
            ("pot", "it filled itself with soup", "wanted to eat all the soup alone", "cooked soup for the whole street"),
            ("bell", "everyone who heard it began to dance", "rang it just to tease the others", "rang it for those who were sad"),
            ("lantern", "its light showed what was lost", "looked for lost gold to keep", "found what others had lost"),
            ("flute", "it could call the rain", "made it rain on the others", "called rain for the dry fields"),
            ("needle", "it could mend anything in one night", "made fine clothes for nobody but {a.himself}", "mended the coats of the poor"),
            ("seed bag", "everything from it grew in an hour", "grew a hedge to keep everyone out", "grew apples for all the children"),
            ("blanket", "whoever lay under it was never cold", "kept it all alone", "wrapped up everyone who was cold"),
            ("spoon", "everything it stirred turned sweet", "stirred only {a.his} own cup", "stirred the bitter medicine of the sick"),
        ]
    )  # fmt: skip
    t.named_thing("x", item, t.rng.choice(["old", "little", "strange", "plain"]))
    t.open()
    t.par()
    t.has("c", "x")
    t.say(
        "{day}, {a} helped {c.intro} to cross the road. As thanks, {c} gave {a.him} {x.a}.",
        "{day}, {a} shared {a.his} lunch with {c.intro}. In return, {c} gave {a.him} {x.a}.",
    )
    t.gives("c", "x", "a")
    t.speak(
        "c", "It is magic, but it only works for others, never for yourself.", "Use it well. It does not like selfish wishes."
    )
    t.say(f"people said that {power}.", f"it was said that {power}.")
    t.ask("What was special about the {x}?", f"It was said that {power}.", power)
    if "kept it" not in selfish and "wanted" not in selfish:
        t.say(f"{{a}} ran home and {selfish}. Nothing happened.", f"at first {{a}} {selfish}. It was no use.")
    else:
        t.say(f"at first {{a}} {selfish}. It was no use.")
    t.feels("a", "cross", "the magic did not work")
    if t.chance(0.5):
        t.say("{a} was cross. The magic did not work!", "the magic did not work, and {a} was cross.")
    else:
        t.say("the magic did not work. {a} was cross and threw the {x} into a corner.")
    t.par()
    t.say("then {a} remembered what {c} had said.", "in the night {a} thought of {c.s} words.")
    t.say(
        f"the next day {{a.he}} {kind_use}. And this time the magic worked!",
        f"so {{a.he}} tried something else and {kind_use}. All at once the {{x}} began to glow.",
    )
    t.ask("How did {a} use the {x} in the end?", f"{{a}} {kind_use}.", kind_use, "how")
    if t.has_time():
        t.say("people came from near and far, and {a} helped them all.", "nobody was sent away, and everyone said thank you.")
    t.feels("a", "happy", "{a.he} could help others")
    t.say("{a} was happy, because {a.he} could help others.", "{a.he} could help others, and that made {a} happy.")
    if t.has_time():
        t.say(
            "the strangest thing was this: the more {a.he} gave away, the more {a.he} had.",
            "one day {c} came by, looked at the {x} and smiled.",
            "what {a.he} had wanted for {a.himself}, {a.he} had soon forgotten.",
        )
    t.close(probability=0.5)


@schema("the egg")
def the_egg(t):
    t.hero()
    t.spot()
    t.friend()
    t.open()
    t.par()
    look = t.word("look", "blue", "green", "speckled", "golden", "striped", "white", "pink")
    t.word("an_egg", f"a {look} egg")
    t.say("{day}, {a} found {an_egg} {p}. It was still warm.", "{p} lay {an_egg}. {a} looked around, but there was no nest.")
    t.ask("What did {a} find?", "{a} found {an_egg}.", "egg")
    t.ask("Where was the egg?", "The egg was {p}.", "{p}", "where")
    t.ask("What did the egg look like?", f"The egg was {look}.", look, "colour")
    if t.has_time():
        t.speak("a", "Somebody must keep you warm.", "You cannot stay here all alone.")
    t.say(
        "{a} wrapped it in {a.his} scarf and carried it home as carefully as {a.he} could.",
        "{a.he} took it home and put it by the stove, on a soft cushion.",
    )
    t.say("{b.friend} came to see it.", "{b.friend} looked at it from all sides.")
    guess = t.word("guess", "a crocodile", "a snake", "an ostrich", "a dinosaur", "a giant bird", "nothing but breakfast")
    t.speak("b", f"Perhaps it is {guess}!", f"What if there is {guess} in it?")
    t.ask("What did {b} think was in the egg?", f"{{b}} thought that it was {guess}.", guess)
    if t.has_time():
        t.say("night after night they took turns to keep it warm.", "{a} sat beside it by day, and {b} sat beside it by night.")
    t.par()
    t.say(
        "then, one morning, there was a tap. Tap, tap, crack! The egg opened.",
        "on the tenth day the egg began to wobble. Crack! A piece fell off.",
    )
    chick = t.word("chick", "swan", "goose", "peacock", "duck", "parrot", "turtle", "tiny dragon")
    t.say(
        "out came a baby {chick}. It looked at {a} and opened its mouth wide."
        if "dragon" not in chick
        else "out came a {chick}. It looked at {a} and sneezed a little flame.",
        "a small head looked out. It was a baby {chick}!"
        if "dragon" not in chick
        else "a small head looked out. It was a {chick}!",
    )
    t.ask(
        "What came out of the egg?",
        "A baby {chick} came out of the egg." if "dragon" not in chick else "A {chick} came out of the egg.",
        chick,
    )
    if t.entities["a"].pronoun == "she":
        t.speak(
            "b",
            "It thinks that you are its mother!",
            "It is not what I thought at all!",
            "Hello, little one! Welcome to the world.",
        )
    else:
        t.speak(
            "b",
            "It thinks that you are its father!",
            "It is not what I thought at all!",
            "Hello, little one! Welcome to the world.",
        )
    t.feels("a", "proud", "{a.he} had kept the egg warm")
    t.say("{a} was proud, because {a.he} had kept the egg warm.", "{a.he} had kept the egg warm, and now {a.he} was proud.")
    if t.has_time():
        t.say(
            "it followed {a.him} wherever {a.he} went, to the left and to the right and up the stairs."
            if t.entities["a"].is_child
            else "it followed {a.him} wherever {a.he} went, in the sun and in the rain.",
            "it ate and slept and grew, and it never left {a.his} side.",
        )
    t.close("and when it was big, it still came when {a} called.", "{a} and {b} had a new friend.", probability=0.8)


@schema("the moon in the water", worlds="forest river meadow farm garden village")
def the_moon_in_the_water(t):
    t.hero()
    t.friend()
    t.open()
    t.par()
    water = t.word("water", "pond", "well", "lake", "pool", "brook")
    t.say(
        "one night {a} looked into the {water} and got a fright. The moon was lying in it!",
        "one clear night {a} came past the {water}. Down there, in the black water, was the moon.",
    )
    t.ask("Where did {a} see the moon?", "{a} saw the moon in the {water}.", water, "where")
    if t.has_time():
        t.speak("a", "The moon has fallen into the water!", "Poor moon! It will drown!")
    t.feels("a", "worried", "{a.he} thought that the moon had fallen into the water")
    t.say(
        "{a} thought that the moon had fallen into the water, and {a.he} was worried.",
        "{a.he} was worried. {a.he} really thought that the moon had fallen into the water.",
    )
    t.say("{a} ran to wake {b.friend}.", "{a} called {b.friend}.")
    tool = t.word("tool", "a fishing net", "a bucket", "a big sieve", "a soup ladle", "a long rake", "a butterfly net")
    t.say(
        f"{{b}} came with {tool}, and they tried to fish the moon out.",
        f"{{b.he}} brought {tool}. Splash, splash! They fished and fished.",
    )
    t.ask("What did {b} bring?", f"{{b}} brought {tool}.", tool)
    t.say(
        "each time they touched the moon, it broke into a hundred pieces. Then the pieces came together again.",
        "as soon as they had caught it, it was gone, and a moment later it was back.",
    )
    t.par()
    t.say(
        "at last {a} slipped and fell on {a.his} back in the grass. And what did {a.he} see? There was the moon, high up in the sky!",
        "{b} got tired and lay down in the grass. Suddenly {b.he} began to laugh and pointed up. The moon was in the sky!",
    )
    t.speak("b", "It was only the moon's face in the water.", "The water is a mirror!", "The moon was never in the water at all!")
    if t.has_time():
        t.say("they laughed until the frogs joined in.", "wet to the ears, they lay there and laughed.")
    if t.has_time():
        t.speak(
            "a", "Then we have saved it after all.", "I am glad that nobody saw us.", "It looks as if the moon is laughing too."
        )
    t.say("and the moon shone on both of them, from above and from below.", "they stayed until the moon went behind the hill.")
    t.close(probability=0.5)


@schema("a story for bedtime")
def a_story_for_bedtime(t):
    t.hero()
    t.thing(
        "x",
        "toy",
        "cloth",
        without=(
            "rocking horse",
            "wagon",
            "kite",
            "tent",
            "rug",
            "scooter",
            "sledge",
            "balloon",
            "hoop",
            "paper boat",
            "puzzle",
            "boot",
            "tea towel",
            "flag",
            "sack",
            "apron",
            "coat",
            "bag",
        ),
    )
    t.open()
    t.par()
    t.feels("a", "restless", "{a.he} was not tired at all")
    t.say(
        "it was late, but {a} was restless. {a.he} was not tired at all.",
        "one night {a} was not tired at all. {a.he} was so restless that {a.he} could not lie still.",
    )
    t.has("a", "x")
    t.word(
        "first",
        "counted sheep",
        "sang a song",
        "did a handstand",
        "drank a glass of water",
        "counted backwards",
        "looked under the bed",
    )
    t.say("{a.he} {first}, but that did not help.", "first {a.he} {first}. It did not help.")
    t.ask("What did {a} try first?", "First {a} {first}.", "{first}")
    t.say("{a.his} {x.full} had fallen down, and {a} picked it up.", "{a.he} hugged {a.his} {x.full} and sighed.")
    family = t.rng.choice(["father", "grandfather", "mother", "grandmother"])
    t.say(f"then {{a.{family}}} came in and sat on the bed.", f"the door opened, and {{a.{family}}} looked in.")
    t.speak("a", "I cannot sleep. Please tell me a story.", "My eyes do not want to close.")
    hero = t.word(
        "hero",
        "a sleepy bear",
        "a sheep that flew to the moon",
        "a boat made of clouds",
        "a very slow snail",
        "a king who yawned",
        "a train to the land of dreams",
        "a whale that hummed",
    )
    t.par()
    t.say(f"so {{a}} heard a story about {hero}.", f"and then came a story about {hero}. It was told very softly.")
    t.ask("What was the story about?", f"It was about {hero}.", hero)
    if t.has_time():
        t.say("at first {a} asked a question after every sentence.", "{a} wanted to know everything about it.")
    t.say(
        "then {a.he} asked only now and then. Then {a.he} asked no more.",
        "slowly {a.his} eyes grew heavy, and {a.his} questions grew short.",
    )
    if t.has_time():
        t.say(
            "outside the wind went to sleep, and the trees stood still.",
            "the moon looked in at the window and tiptoed on.",
            "somewhere an owl called, and then it was quiet.",
        )
    t.say(
        "when the story was over, {a} was fast asleep, with the {x} in {a.his} arms."
        if t.entities["a"].is_child
        else "when the story was over, {a} was fast asleep, with the {x} at {a.his} side."
    )
    t.ask("What did {a} have in bed?", "{a} had the {x} in bed.", "{x}")
    t.close("good night, {a}!", "and now it is your turn to sleep.", "sleep well, little {a}.", probability=0.8)
