"""Plots on the road: to see something, to bring something, to come home again."""

from . import schema


@schema("to see the wide world")
def to_see_the_wide_world(t):
    t.hero()
    t.thing("x", "food")
    goal, view = t.rng.choice(
        [
            ("the sea", "it was blue and had no end"), ("the top of the highest mountain", "the whole world lay below"),
            ("the great waterfall", "the water thundered and shone"), ("the end of the rainbow", "there was a field full of flowers in seven colours"),
            ("the big city", "there were a thousand windows, and each had a light"), ("the lighthouse", "its lamp turned round and round like a slow star"),
            ("the old castle", "its towers touched the clouds"), ("the land of snow", "everything was white and still"),
            ("the place where the river begins", "clear water came out between two stones"), ("the singing caves", "every drop of water made a note"),
        ]
    )  # fmt: skip
    t.word("goal", goal)
    t.open()
    t.say(
        "{a.he} had never been far from home, and {a.he} wanted to see {goal}.",
        "all {a.his} life {a.he} had heard of {goal}. How {a.he} wanted to see it!",
    )
    t.ask("What did {a} want to see?", "{a} wanted to see {goal}.", "{goal}")
    t.par()
    t.has("a", "x")
    t.say("{day}, {a} packed {x.a}, said goodbye and set out.", "so {day}, {a} put {x.a} into a bag and went on {a.his} way.")
    t.ask("What did {a} take along?", "{a} took {x.a} along.", "{x}")
    if t.has_time():
        t.say(
            "{a.he} walked over hills and through valleys. At night {a.he} slept under the stars.",
            "the first day was easy. On the second day {a.his} feet hurt.",
            "{a} walked all day, and the road went on and on.",
        )
    t.friend()
    t.say(
        "by the side of the road sat {b.intro}, who looked tired and hungry.",
        "on the third day {a} met {b.intro}. {b.he} had not eaten since morning.",
    )
    t.ask("Who did {a} meet on the way?", "{a} met {b}.", "{b}", "who")
    t.speak("a", "Come and share my {x}.", "I do not have much, but half of it is yours.")
    t.gives("a", "x", "b", asks=False)
    t.say("they shared the {x}, and {b} felt better at once.", "{b} ate {b.his} half and smiled.")
    t.speak("b", "You want to see {goal}? I know the way!", "Thank you. Now I will show you a path that nobody else knows.")
    t.par()
    if t.has_time():
        t.say(
            "together they went on, and the way seemed only half as long.",
            "{b} led {a.him} through a dark wood and over a shaky bridge.",
        )
    t.say(
        f"and then they were there. Before them was {goal}, and {view}.",
        f"on the last evening they reached {goal}. {view[0].upper() + view[1:]}.",
    )
    if t.has_time():
        t.say("{a} stood still and could not say a word.", "for a long time neither of them spoke.")
    t.speak(
        "a",
        "It is even better than I dreamed.",
        "I will never forget this.",
        "Now I have seen it. And I am glad that I did not see it alone.",
    )
    t.say(
        "the next day they went home, and {a} told everyone about it.",
        "on the way back they sang, and the road was short.",
        "{a} came home with dusty feet and shining eyes.",
    )
    t.close(probability=0.4)


@schema("food for someone who is ill")
def food_for_someone_who_is_ill(t):
    t.hero()
    t.thing("x", "baked", "food", without=("egg", "acorn", "chestnut", "turnip", "cabbage", "pumpkin", "lemon"))
    t.spot(seat=True)
    t.friend()
    relative = t.rng.choice(["grandmother", "grandfather", "aunt", "uncle"])
    she = "she" if relative in ("grandmother", "aunt") else "he"
    t.open()
    t.par()
    t.say(
        f"{{day}}, {{a.mother}} packed a basket. In it was {{x.a}} for {{a.s}} {relative}, who was ill in bed.",
        f"{{a.s}} {relative} was ill in bed. So {{day}}, {{a.mother}} put {{x.a}} into a basket.",
    )
    t.ask("Who was ill?", f"{{a.s}} {relative} was ill.", relative, "who")
    t.ask("What was in the basket?", "In the basket was {x.a}.", "{x}")
    t.has("a", "x")
    t.say(
        '"Take this along, and do not stop on the way," said {a.mother}.',
        '"Go straight there," said {a.mother}, "and be back before dark."',
    )
    if t.has_time():
        t.say("{a} set off. The basket was heavy.", "so {a} went off, swinging the basket.")
    t.say("{p}, {a.he} met {b.intro}, who was playing.", "after a while {a} came upon {b.intro}. {b.he} was sitting {p}.")
    t.ask("Where did {a} meet {b}?", "{a} met {b} {p}.", "{p}", "where")
    t.speak(
        "b",
        "Come and play with me! Why are you in such a hurry?",
        "What have you got in there? It smells wonderful. Let us eat it!",
    )
    if t.has_time():
        t.say(
            "{a} would have liked that very much. But {a.he} thought of the one who was waiting.",
            "{a} put the basket down, and then {a.he} picked it up again.",
        )
    t.speak(
        "a",
        "I cannot stop. Somebody is waiting for me.",
        "This is not for me. But you can come along and help me carry it.",
        reply=True,
    )
    t.say(
        "so {b} took one side of the basket, and they walked on together.",
        "{b} thought about it, and then {b.he} took hold of the basket too.",
    )
    t.ask("Who helped {a} carry the basket?", "{b} helped {a} carry the basket.", "{b}", "who")
    t.par()
    t.say(
        f"{{a.s}} {relative} was lying in bed and looked pale.",
        f"{{a.s}} {relative} was waiting for them.",
    )
    t.uses_up("a", "x")
    t.say(
        f"but when {she} had eaten the {{x}}, {she} sat up and smiled.",
        f"{she} ate the {{x}} to the last crumb and had red cheeks again.",
    )
    t.say(
        f'"Two visitors and such good food," {she} said. "That is the best medicine."',
        f'"I feel much better already," {she} said. "Thank you, my dears."',
    )
    t.say(
        "then they all played cards until it was time to go.",
        "they stayed for a story, and they were home before dark.",
        f"and {{b}} told such funny jokes that {{a.s}} {relative} forgot to be ill.",
    )
    t.close(probability=0.4)


@schema("lost in the fog", worlds="forest sea hills river meadow snow")
def lost_in_the_fog(t):
    t.hero()
    t.friend()
    t.thing("x", "lamp", "music", without=("violin", "harp", "guitar", "candle", "music box"))
    t.open()
    t.par()
    jobs = {"sea": ["driftwood", "shells", "seaweed"], "snow": ["firewood", "dry twigs"]}
    t.word("job", *jobs.get(t.setting.world, ["berries", "mushrooms", "firewood", "herbs", "nuts"]))
    t.say(
        "{day}, {a} went out to gather {job}. {a.he} went further than ever before.",
        "{a} had gone out to look for {job}, and {a.he} had walked a long way.",
    )
    t.ask(
        "What did {a} go out to gather?" if t.chance(0.5) else "What was {a} looking for?", "{a} was looking for {job}.", "{job}"
    )
    t.say(
        "then the fog came. It was so thick that {a} could not see {a.his} own feet.", "all at once everything turned white. Fog!"
    )
    if t.has_time():
        t.say(
            "{a.he} went to the left, and {a.he} went to the right. Everything looked the same.",
            "{a.he} walked and walked, and came back to the same stone three times.",
        )
    t.feels("a", "frightened", "{a.he} could not find the way home")
    t.say(
        "{a} could not find the way home, and {a.he} was frightened.",
        "{a} was frightened because {a.he} could not find the way home.",
    )
    if t.has_time():
        t.speak("a", "Hello! Is anybody there?", "Can anybody hear me?")
    t.par()
    t.has("b", "x")
    if "lamp" in t.entities["x"].tags:
        t.say(
            "at home, {b.friend} was worried. {b.he} climbed onto the roof with {x.a} and swung it to and fro.",
            "{b.friend} had seen the fog come. {b.he} took {x.a}, lit it and went to the top of the slope.",
        )
        t.say(
            "far away {a} saw a small light. It went to and fro, to and fro.",
            "out in the fog, {a} saw something shine, very small and yellow.",
        )
    else:
        t.say(
            "at home, {b.friend} was worried. {b.he} took {x.a}, went outside and played it as loudly as {b.he} could.",
            "{b.friend} had seen the fog come. {b.he} stood at the gate with {x.a} and made all the noise {b.he} could.",
        )
        t.say("far away {a} pricked up {a.his} ears. That was the {x}!", "out in the fog, {a} heard the {x}.")
    t.ask("How did {b} show {a} the way?", "{b} showed {a} the way with {x.a}.", "{x}", "how")
    if t.has_time():
        t.say("{a.he} walked towards it, step by step.", "slowly, slowly, {a.he} went that way.")
    t.say("then the gate stood before {a.him}, and {b} was there.", "a shape came out of the white. It was {b}!")
    if t.has_time():
        t.speak("b", "There you are! I was so worried.", "I would have stood here all night.", "Next time, take me along.")
    t.ask("Who showed {a} the way home?", "{b} showed {a} the way home.", "{b}", "who")
    t.say("inside there was hot soup, and {a} ate three bowls.", "{a} held on to {b} and did not let go until they were inside.")
    t.close(probability=0.6)


@schema("the little one who was lost")
def the_little_one_who_was_lost(t):
    t.hero()
    t.spot()
    baby, parent = t.rng.choice(
        [
            ("duckling", "duck"),
            ("lamb", "sheep"),
            ("baby owl", "owl"),
            ("kitten", "cat"),
            ("piglet", "pig"),
            ("chick", "hen"),
            ("baby mouse", "mouse"),
            ("cub", "bear"),
            ("baby squirrel", "squirrel"),
        ]
    )
    if t.entities["a"].kind in (baby, parent, "baby " + t.entities["a"].kind, baby.removeprefix("baby ")):
        baby, parent = "gosling", "goose"
    if t.entities["a"].kind == "gosling":
        baby, parent = "calf", "cow"
    t.word("baby", baby)
    t.word("parent", parent)
    t.open()
    t.par()
    t.say(
        "{day}, {a} heard somebody crying. {p} sat a tiny {baby}.",
        "{day}, {a} found a small {baby} {p}. It was crying, and big tears ran down its face.",
    )
    t.ask("What did {a} find?", "{a} found a {baby}.", "{baby}")
    t.ask("Where was the {baby}?", "The {baby} was {p}.", "{p}", "where")
    t.speak("a", "What is the matter, little one?", "Why are you crying?")
    t.say(
        '"I chased a butterfly," sobbed the {baby}. "Now I cannot find my mother!"',
        '"I cannot find my mother," said the {baby}. "I only wanted to see what was behind the hedge."',
    )
    t.ask("Why was the {baby} crying?", "The {baby} was crying because it could not find its mother.", "mother", "why")
    t.speak(
        "a",
        "Do not worry. We will find her. What did you see on the way?",
        "Take my {a.hand}. Do you remember the way?"
        if t.entities["a"].hand in ("hand", "paw")
        else "Come with me. Do you remember the way?",
    )
    first = t.word(
        "first", "a crooked tree", "a red gate", "a round stone", "a little bridge", "a broken fence", "a scarecrow with a hat"
    )
    second = t.word(
        "second", "a blue house", "a windmill", "a field of poppies", "an old well", "a tall chimney", "a pond with lilies"
    )
    t.say("the {baby} thought hard. " + f'"There was {first}," it said, "and then {second}."')
    t.ask("What did the {baby} remember?", f"It remembered {first} and {second}.", first)
    t.par()
    t.say(
        "they walked until they saw {first.the}. A little later they came to {second.the}.",
        "so they looked for {first.the}, and there it was. Then they went on to {second.the}.",
    )
    t.say(
        "on the other side somebody was calling and calling. It was a big {parent}.",
        "and behind it stood a {parent}, who looked everywhere at once."
        if parent[0] not in "aeiou"
        else "and behind it stood an owl, who looked everywhere at once.",
    )
    if t.has_time():
        t.say(
            '"Mother!" cried the {baby}, and it ran as fast as its legs could carry it.',
            "the {baby} gave a shout and ran straight to its mother.",
        )
    t.say(
        '"You brought my child back," said the {parent}. "How can I thank you?"',
        '"My dear, dear child!" said the {parent}. Then she turned to {a}. "Thank you with all my heart."',
    )
    if t.has_time():
        t.speak(
            "a",
            "I know what it is like to be lost.",
            "I am just glad that you are together again.",
            "We had a nice walk.",
            reply=True,
        )
    t.feels("a", "happy", "the {baby} was home again")
    t.say("{a} was happy that the {baby} was home again.", "the {baby} was home again, and {a} was happy.")
    t.close(
        "all the way home {a} whistled a tune.",
        "that evening {a} gave {a.his} own mother an extra kiss.",
        "and every spring they came to visit {a}.",
        "that night, {a} fell asleep with a smile.",
        probability=0.8,
    )


@schema("the treasure map")
def the_treasure_map(t):
    t.hero()
    t.friend()
    t.thing(
        "x",
        "treasure",
        "music",
        "gift",
        without=(
            "map",
            "chest",
            "picture",
            "four-leaf clover",
            "honey cake",
            "plum cake",
            "jar of jam",
            "pot of honey",
            "bunch of flowers",
            "rose",
            "tulip",
            "daffodil",
            "mug",
        ),
    )
    t.spot("p")
    t.spot("q", seat=True)
    t.open()
    t.par()
    t.say(
        "{day}, {a} found an old map {p}. On it was a red cross.",
        "{p}, {a} found a bottle, and in the bottle was a map with a red cross on it.",
    )
    t.ask("What did {a} find {p}?", "{a} found a map.", "map")
    if t.has_time():
        t.speak("a", "A treasure map! I must show it to my friend.", "That cross must be a treasure!")
    t.say("{a} ran to {b.friend}. They bent over the map together.", "{b.friend} came along, with a spade over {b.his} shoulder.")
    steps = t.word("steps", "ten", "twenty", "thirty", "forty", "fifty")
    t.speak("b", f"It says {steps} steps from the big stone.", f"From the big stone, {steps} steps towards the sun.")
    t.ask("How many steps was it from the big stone?", f"It was {steps} steps.", steps, "how many")
    if t.has_time():
        t.say(
            f"they counted {steps} steps, and then {steps} again, because {{a}} had lost count.",
            "they counted their steps out loud.",
        )
    t.par()
    t.lies("x", "q")
    t.say(
        "{q}, they began to dig. They dug and dug, until {b.s} spade hit something hard.",
        "the cross was {q}. They dug until it was almost dark. Clonk!",
    )
    t.ask("Where did they dig?", "They dug {q}.", "{q}", "where")
    t.say(
        "it was a rusty box. In it lay {x.a} and a letter.", "they lifted out a wooden box. Inside was {x.a}, and with it a note."
    )
    t.world.finds("a", "x", "q")
    t.ask("What was in the box?", "In the box was {x.a}.", "{x}")
    t.say(
        '"Whoever finds this must share it with a friend," it said.',
        '"The treasure is yours," it said, "but the real treasure is the one who helped you dig."',
    )
    if t.has_time():
        t.say("{a} and {b} looked at each other and laughed.", "{a} read it twice and smiled at {b}.")
    t.speak(
        "a", "You keep it on weekdays, and I keep it on Sundays.", "Then it belongs to both of us.", "We will keep it together."
    )
    t.word("biscuits", "a few biscuits", "a feather", "two shiny buttons", "a drawing")
    t.say(
        "they put a new note into the box, with {biscuits}, and buried it again for somebody else.",
        "on the way home they took turns carrying it.",
        "and the map? They put it back where {a} had found it.",
    )
    t.close(probability=0.4)


@schema("a letter to a friend far away")
def a_letter_to_a_friend_far_away(t):
    t.hero()
    t.friend()
    t.helper()
    t.thing(
        "x",
        "small",
        "nature",
        without=("stick", "egg", "apple", "pear", "plum", "peach", "bun", "lemon", "muffin", "strawberry", "biscuit", "tool"),
    )
    t.open()
    t.par()
    t.feels("a", "sad", "{b} had moved away")
    t.say(
        "{a.his} best friend was {b.apposed}. But {b} had moved away, over the mountains, and {a} was sad.",
        "{a} used to play with {b.apposed}. Then {b} moved away, and since that day {a} was sad.",
    )
    t.say("{a.he} wrote a letter. It was not long, because {a} could not spell very well.", "so {a} sat down and wrote a letter.")
    news = t.rng.choice(
        [
            "The apples are ripe",
            "The first snow has come",
            "I can whistle now",
            "I have lost a tooth",
            "The swallows are back",
            "Our tree house has a new roof",
            "I have learned to swim",
            "The pond is frozen",
        ]
    )
    t.say(f'"Dear {{b}}," it said. "{news}. I miss you."')
    t.ask("What news did {a} write?", f'{{a}} wrote: "{news}."', news)
    t.ask("Who did {a} write to?", "{a} wrote to {b}.", "{b}", "who")
    t.par()
    t.say("{c.intro} promised to take the letter along.", "{a} gave the letter to {c.intro}, who was going that way.")
    t.ask("Who took the letter along?", "{c} took the letter along.", "{c}", "who")
    t.say("then {a} waited. One week went by, and then another.", "every day {a} ran to the gate. Every day there was nothing.")
    if t.has_time():
        t.speak("a", "Perhaps {b} has forgotten me.", "Perhaps the letter got lost.")
    t.par()
    if t.entities["c"].hand == "hand":
        t.say(
            "but one morning {c} was back, with a parcel under one arm.",
            "on the first day of spring, {c} stood at the door again and held out a little parcel.",
        )
    else:
        t.say(
            "but one morning {c} was back, with a little parcel.",
            "on the first day of spring, {c} came again and dropped a little parcel at the door.",
        )
    t.say("in it lay {x.a} and a letter from {b}.", "{a} tore it open. There was {x.a}, and there was a letter.")
    t.ask("What did {b} send to {a}?", "{b} sent {a} {x.a}.", "{x}", "gave what")
    t.say(
        '"Dear {a}," it said. "I keep your letter under my pillow. In the summer I will come and see you."',
        '"Dear {a}," wrote {b}. "I read your letter every night. Will you visit me soon?"',
    )
    t.say(
        "{a} read it ten times and danced all over the {a.home}."
        if t.entities["a"].home in ("house", "barn", "stable", "den", "cave")
        else "{a} read it ten times and danced for joy.",
        "{a} laughed and cried at the same time.",
    )
    t.close(
        "far away is not so far when you have a friend there.",
        "then {a} took a new sheet of paper and began to write.",
        "{a} put the {x} by {a.his} bed, where {a.he} could see it every night.",
        probability=0.9,
    )
