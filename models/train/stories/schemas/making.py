"""Plots about work, play and making things: baking, building, painting, music, snow."""

from . import schema


@schema("the spoiled picture")
def the_spoiled_picture(t):
    t.hero()
    t.friend()
    t.open()
    t.par()
    subject = t.word(
        "subject",
        "the lake",
        "a ship",
        "a castle",
        "an old tree",
        "the sunset",
        "a garden",
        "a horse",
        "the moon",
        "a hill with sheep",
    )
    t.say(
        "{a} liked to paint. {day}, {a.he} painted {subject} for a big show.",
        "there was going to be a picture show, and {a} painted {subject} for it.",
    )
    t.ask("What did {a} paint?", "{a} painted {subject}.", subject)
    paint = t.word("paint", "blue", "black", "green", "red", "yellow", "purple")
    t.say(
        f"it was nearly finished when {{b.friend}} ran in, bumped into the table and upset a pot of {paint} paint. Splash!",
        f"then {{b.friend}} came to look and knocked over a pot of {paint} paint. It ran right across the picture.",
    )
    t.ask("What colour was the spilled paint?", f"The spilled paint was {paint}.", paint, "colour")
    t.ask("Who spilled the paint?", "{b} spilled the paint.", "{b}", "who")
    t.feels("b", "sorry", "{b.he} had spoiled the picture")
    t.say("{b} had spoiled the picture, and {b.he} was terribly sorry.", "{b} was so sorry that {b.he} had spoiled the picture.")
    if t.has_time():
        t.speak("b", "I did not mean to do it!", "What have I done? I am so sorry!")
    t.say(
        "{a} looked at the big {paint} spot. {a.he} wanted to cry. Then {a.he} tilted {a.his} head.",
        "for a long time {a} said nothing. {a.he} looked at the {paint} spot from the left and from the right.",
    )
    spot = t.word(
        "spot", "a whale", "a dragon", "an elephant", "a flying cloud", "a giant bird", "a sleeping cat", "a dancing bear"
    )
    t.speak("a", f"Wait! It looks like {spot}.", f"Do you see it too? That is {spot}!")
    t.ask("What did the spot look like?", f"The spot looked like {spot}.", spot)
    t.par()
    t.say(
        "{a.he} took the brush and gave the spot two eyes. {b} added a tail.",
        "quickly {a.he} painted eyes and a smile, and {b} painted stars all around.",
    )
    t.say(
        f"at the show everyone stopped in front of it. Nobody had ever seen such a picture of {subject} with {spot}.",
        "of all the pictures in the show, this one made people laugh the most.",
    )
    if t.has_time():
        t.say("it won the first prize.", "{a} and {b} won a golden ribbon.")
    if t.has_time():
        t.speak("a", "Thank you for the spot!", "It would never have been so good without you.")
    t.close(probability=0.6)


@schema("the snowman", worlds="snow village farm hills garden")
def the_snowman(t):
    t.hero()
    t.friend()
    t.thing(
        "x",
        "wear",
        without=(
            "ring",
            "necklace",
            "bracelet",
            "crown",
            "brooch",
            "purse",
            "shoe",
            "boot",
            "sock",
            "slipper",
            "button",
            "backpack",
            "apron",
            "belt",
            "mitten",
            "glove",
            "sweater",
        ),
    )
    t.open()
    t.par()
    t.say("one morning everything was white. It had snowed all night!", "the first snow fell, thick and soft.")
    t.say(
        "{a} ran out and met {b.friend}. They rolled one big ball, one middle-sized ball and one small ball, and soon there was a snowman.",
        "together with {b.friend}, {a} built a snowman.",
    )
    nose = t.word("nose", "a carrot", "a pine cone", "a red pepper", "a short stick", "a chestnut", "a potato")
    t.say(f"they gave him two black stones for eyes and {nose} for a nose.", f"he got buttons for eyes, and his nose was {nose}.")
    t.ask("What was the snowman's nose?", f"The snowman's nose was {nose}.", nose)
    t.has("a", "x")
    t.say("{a} took off {a.his} own {x.full} and put it on him.", "last of all, {a} gave him {a.his} {x.full}.")
    t.uses_up("a", "x")
    t.ask("What did {a} give to the snowman?", "{a} gave the snowman the {x}.", "{x}", "gave what")
    t.ask_colour("x")
    if t.has_time():
        t.say("he looked so real that they said good night to him.", "it seemed to {a} that he smiled.")
    t.par()
    t.feels("a", "sad", "the snowman had melted")
    t.say(
        "but after some weeks it grew warm. One morning there was only a puddle. The snowman had melted, and {a} was sad.",
        "then the sun grew stronger, and the snowman grew smaller. In the end {a} was sad, because the snowman had melted.",
    )
    t.speak("a", "Now he is gone for ever.", "Where has he gone?")
    t.speak(
        "b",
        "He has not gone far. He is in the brook now, and in the rain, and in the flowers.",
        "He went into the earth to water the seeds.",
        "He is a cloud now. He will come back next winter.",
        reply=True,
    )
    flower = t.word("flower", "snowdrops", "crocuses", "violets", "daffodils", "primroses", "bluebells")
    t.say(f"and where the snowman had stood, there were soon {flower}.", f"a week later {{a}} found {flower} on that very spot.")
    t.ask("What grew where the snowman had stood?", f"{flower.capitalize()} grew there.", flower)
    if t.has_time():
        t.say("{a} bent down to them and whispered hello.", "{a} watered them every day and called them {a.his} snow flowers.")
    t.close("and the next winter, there he was again.", "when the next snow fell, they knew what to do.", probability=0.6)


@schema("the tree house", worlds="forest meadow farm village garden jungle hills")
def the_tree_house(t):
    t.hero()
    t.friend()
    t.thing("x", "toy", "cloth", "lamp", "tool", without=("rocking horse", "ladder", "hammer", "pillow", "kite", "fishing net"))
    t.open()
    t.par()
    tree = (
        t.word("tree", "oak tree", "beech tree", "chestnut tree", "maple tree", "lime tree")
        if t.setting.world != "jungle"
        else t.word("tree", "fig tree", "mango tree")
    )
    t.say(
        "{a} and {b.friend} began to build a house in a tall {tree}.",
        "{day}, {a} and {b.friend} decided to build a tree house in a tall {tree}.",
    )
    t.ask(
        "In what kind of tree did they build it?", "They built it in " + ("an " if tree[0] in "aeiou" else "a ") + "{tree}.", tree
    )
    t.say(
        "{a} wanted it round, and {b} wanted it square.",
        "{a} wanted to start with the roof, and {b} wanted to start with the floor.",
    )
    if t.has_time():
        t.speak("a", "We do it my way!", "You do not know anything about houses!")
        t.speak("b", "Then build it alone!", "No, we do it my way!")
    t.say(
        "so {a} built one half alone, and {b} built the other half alone.",
        "they turned their backs on each other, and each of them built half a house.",
    )
    t.say(
        "that night it rained. {a} got wet, because {a.his} half had no roof. {b} got wet too, because {b.his} half had no wall.",
        "then it rained, and both of them got wet. {a} had no roof, and {b} had no wall.",
    )
    t.ask("Why did {a} get wet?", "{a} got wet because {a.his} half had no roof.", "no roof", "why")
    t.par()
    t.say(
        "in the morning they looked at each other, dripping, and they had to laugh.",
        "at sunrise two wet heads looked out, one on the left and one on the right.",
    )
    first, second = ("a", "b") if t.chance(0.5) else ("b", "a")
    t.speak(first, "Half a house is no house at all. I am sorry.", "Let us put the two halves together.")
    t.ask("Who spoke first in the morning?", f"{{{first}}} spoke first.", f"{{{first}}}", "who")
    t.speak(second, "I am sorry too. We need both.", "That is the best idea of all.", reply=True)
    t.say(
        "now they worked together, and by evening the house was done.",
        "they took the best of both, and it became the finest tree house far and wide.",
    )
    t.has("b", "x")
    t.say("{b} brought {x.a}, so that it would feel like home.", "to finish it, {b} put {x.a} in the corner.")
    t.ask("What did {b} bring to the tree house?", "{b} brought {x.a}.", "{x}")
    t.close(
        "there they sat until late, with the leaves whispering around them.",
        "on clear nights they slept up there, close to the stars.",
        "and whoever came to visit had to know the secret word.",
        probability=0.8,
    )


@schema("the baking day")
def the_baking_day(t):
    t.hero()
    t.friend()
    t.thing("x", "baked")
    t.open()
    t.par()
    t.say("{day}, {a} wanted to bake {x.a}. {b.friend} came to help.", "{a} and {b.friend} decided to bake {x.a}.")
    t.ask("What did they bake?", "They baked {x.a}.", "{x}")
    if t.has_time():
        t.say("they put in flour and eggs and butter, and they stirred and stirred.", "{a} stirred, and {b} read out what to do.")
    wrong, right = t.rng.choice(
        [
            ("salt", "sugar"),
            ("soap", "butter"),
            ("pepper", "cinnamon"),
            ("sand", "flour"),
            ("mustard", "honey"),
            ("vinegar", "milk"),
        ]
    )
    t.word("wrong", wrong)
    t.word("right", right)
    t.say(
        "then {b} took a jar from the shelf. {b.he} thought that it was {right}, but it was {wrong}!",
        "nobody noticed that {b} put in {wrong} instead of {right}.",
    )
    t.ask("What did {b} put in instead of {right}?", "{b} put in {wrong} instead of {right}.", wrong)
    if t.has_time():
        t.say("soon it was in the oven, and it looked wonderful.", "they put it in the oven and sat down in front of it to wait.")
    t.par()
    t.say(
        "at last it was ready. {a} took the first bite. What a face {a.he} made!",
        "when it had cooled, each of them took a big bite. They stopped chewing.",
    )
    t.speak("a", "Ugh! What is in this?", "It tastes of {wrong}!", "Oh dear! Something has gone wrong.")
    t.feels("b", "embarrassed", "{b.he} had taken the wrong jar")
    t.say(
        "{b} turned red. {b.he} had taken the wrong jar, and {b.he} was embarrassed.",
        "{b} was embarrassed because {b.he} had taken the wrong jar.",
    )
    if t.has_time():
        t.speak("b", "It was my mistake. I am sorry.", "I should have tasted it first.")
    t.say(
        "{a} looked at {b}, and {b} looked at {a}. Then they both began to giggle.",
        "{a} could have been angry. But {b} looked so funny with flour on {b.his} nose that {a.he} laughed.",
    )
    t.speak("a", "Never mind. We know how to do it now.", "Then we will just bake another one!", "The next one will be better.")
    t.say(
        "the second one was sweet and soft, just as it should be.",
        "so they began again, and this time they tasted everything first.",
    )
    guest = t.word("guest", "the neighbours", "{a.grandmother}", "all their friends", "the postman", "{b.mother}")
    t.say("they ate one half, and they took the other half to {guest}.", "it was so good that they invited {guest}.")
    if "{" not in guest:
        t.ask("Who else got some of it?", f"{guest[0].upper() + guest[1:]} got some of it.", guest.removeprefix("the "), "who")
    t.close(probability=0.5)


@schema("the band")
def the_band(t):
    t.hero()
    t.thing("x", "music")
    t.friend()
    t.thing("y", "music")
    t.helper()
    t.open()
    t.par()
    t.has("a", "x")
    t.has("b", "y")
    t.say("{a} played the {x} all day long.", "{a} had {x.a} and played it from morning to night.")
    t.say("next door lived {b.intro}, who played the {y}.", "on the other side of the hedge, {b.intro} played the {y}.")
    t.ask("What did {a} play?", "{a} played the {x}.", "{x}")
    t.ask("What did {b} play?", "{b} played the {y}.", "{y}")
    t.say(
        "when {a} played, {b} played louder. When {b} played louder, {a} played louder still.",
        "they both played at the same time, and it sounded terrible.",
    )
    if t.has_time():
        t.say("the birds flew off. Even the clouds seemed to move away.", "all the neighbours held their ears.")
    t.feels("c", "tired", "{c.he} could not sleep with all the noise")
    t.say(
        "then {c.intro} came, who looked very tired. {c.he} could not sleep with all the noise.",
        "{c.intro} was tired, because {c.he} could not sleep with all the noise. {c.he} came to the hedge.",
    )
    t.speak(
        "c",
        "Must you both play at once?",
        "Please listen to each other, just once!",
        "Have you ever tried to play the same song?",
    )
    t.par()
    if t.has_time():
        t.say("they looked at each other. They had never thought of that.", "it became very quiet.")
    t.speak("a", "You begin.", "Play something, and I will follow.")
    t.say(
        "{b} played a slow tune on the {y}. After a while {a} joined in with the {x}, softly.",
        "{b} began, and {a} listened. Then {a.he} found the right notes.",
    )
    if t.has_time():
        t.say("it fitted like two halves of a nut.", "it was so lovely that even the wind stopped to listen.")
    t.say("{c} smiled, sat down and fell asleep in the grass.", "and {c}? {c.he} was asleep before the song was over.")
    t.ask("Who fell asleep?", "{c} fell asleep.", "{c}", "who")
    t.feels("a", "happy", "the song was so beautiful")
    t.say("the song was so beautiful that {a} was happy all day.", "{a} was happy because the song was so beautiful.")
    if t.has_time():
        t.say("since then they have played together every evening.", "on Saturday they gave a concert, and everyone came.")
    t.close(probability=0.5)


@schema("sailing away", worlds="sea river")
def sailing_away(t):
    t.hero()
    t.friend()
    t.thing(
        "x",
        "cloth",
        without=(
            "sock",
            "mitten",
            "glove",
            "slipper",
            "doll",
            "puppet",
            "tent",
            "kite",
            "hat",
            "cap",
            "pillow",
            "cushion",
            "ribbon",
            "handkerchief",
            "bag",
            "sack",
            "backpack",
            "scarf",
        ),
    )
    t.open()
    t.par()
    boat = t.word(
        "boat", "barrel", "wooden tub", "raft of logs", "washing tub", "wooden crate", "bath tub", "raft of reeds", "tin bath"
    )
    t.has("a", "x")
    t.say(
        "{day}, {a} and {b.friend} found an old {boat}. It was just right for a ship!"
        if "raft" not in boat
        else "{day}, {a} and {b.friend} built a {boat}. It was their first ship."
    )
    t.ask("What was their ship?", "Their ship was an old {boat}." if "raft" not in boat else "Their ship was a {boat}.", boat)
    t.say("for a sail they used {a.s} {x.full}.", "{a} tied {a.his} {x.full} to a stick, and that was the sail.")
    t.ask("What did they use as a sail?", "They used the {x} as a sail.", "{x}")
    t.ask_colour("x")
    if t.has_time():
        t.speak("a", "I am the captain!", "All aboard!", "Let us sail around the world!")
        t.speak("b", "And I am the sailor!", "Aye, aye, captain!", reply=True)
    t.say(
        "the wind blew into the sail, and off they went, past the reeds and out onto the wide water.",
        "they pushed off, and the shore grew smaller and smaller.",
    )
    t.par()
    t.say(
        "at first it was lovely. Then {b} felt something wet.",
        "all went well, until {b} looked down. There was a hole in the bottom!",
    )
    t.feels("b", "afraid", "water was coming into the boat")
    t.say("{b} was afraid, because water was coming into the boat.", "water was coming into the boat, and {b} was afraid.")
    plug = t.word("plug", "an apple", "a wad of grass", "a cork", "a rolled-up sock", "a lump of clay", "a piece of cheese")
    t.say(
        f"{{a}} looked around quickly. Then {{a.he}} took {plug} and pushed it into the hole.",
        f"but the captain kept calm. {{a}} stopped the hole with {plug}.",
    )
    t.ask("What did {a} stop the hole with?", f"{{a}} stopped the hole with {plug}.", plug, "how")
    t.say(
        "it held! They paddled back as fast as they could.",
        "they paddled and paddled, and at last they felt the ground under them.",
    )
    t.say("wet and happy, they lay down on the shore.", "they fell into the warm sand and laughed.")
    if t.has_time():
        t.speak("b", "Tomorrow we will mend the hole.", "You were a good captain.", "Next time I will be the captain!")
    t.close(probability=0.6)
