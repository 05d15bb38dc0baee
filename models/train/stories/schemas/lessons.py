"""Plots in which somebody learns something: honesty, patience, listening, trying again."""

from . import schema


@schema("the broken thing")
def the_broken_thing(t):
    t.hero()
    t.thing("x", "breaks", without=("egg",))
    owner = t.rng.choice(["mother", "grandmother", "father", "aunt", "grandfather"])
    t.open()
    t.par()
    t.say(
        f"on the shelf stood {{x.a}}. It belonged to {{a.{owner}}}, and nobody was allowed to touch it.",
        f"{{a.{owner}}} had {{x.a}} and was very fond of it.",
    )
    t.ask("Whose {x} was it?", f"It belonged to {{a.s}} {owner}.", owner)
    t.ask_colour("x")
    t.say(
        "{day}, {a} was jumping about in the room. Bump! Crash! The {x} fell and broke.",
        "{day}, {a} wanted to look at it, only for a moment. It slipped, and it broke.",
    )
    t.word(
        "hiding",
        "under the bed",
        "behind the curtain",
        "in a drawer",
        "under the rug",
        "behind the stove",
        "in an old boot",
        "under a cushion",
    )
    t.say(
        "quickly {a} picked up the pieces and hid them {hiding}.",
        "{a.his} heart stood still. Then {a.he} hid the pieces {hiding}.",
    )
    t.ask("Where did {a} hide the pieces?", "{a} hid the pieces {hiding}.", "{hiding}", "where")
    t.par()
    asker = "she" if owner in ("mother", "grandmother", "aunt") else "he"
    t.say(f'in the evening {{a.{owner}}} came home. "Where is my {{x}}?" {asker} asked.')
    t.say('{A} looked at the floor. "I do not know," said {a}.', '"Perhaps the cat has broken it," said {a}.')
    t.feels("a", "unhappy", "{a.he} had not told the truth")
    t.say(
        "but {a} was unhappy. {a.he} had not told the truth, and {a.he} could not sleep.",
        "{a} was unhappy all evening, because {a.he} had not told the truth.",
    )
    t.say(
        f"at last {{a.he}} got up and went to {{a.{owner}}}.",
        f"at last {{a.he}} ran to {{a.{owner}}} and began to cry.",
    )
    t.speak("a", "It was me. I broke the {x}, and I told a lie. I am so sorry.", "I broke it, and then I was afraid to say so.")
    t.say(
        f'"I am sad about the {{x}}," said {{a.{owner}}}. "But I am glad that you told me."',
        f'"A {{x}} can be mended," said {{a.{owner}}}. "It is the truth that matters."'
        if not t.entities["x"].noun[0] in "aeiou"
        else f'"It can be mended," said {{a.{owner}}}. "It is the truth that matters."',
    )
    if t.has_time():
        t.say("the next day they glued the pieces together, one by one.", "they fetched the pieces and mended the {x} together.")
    t.ask("What did {a} learn?", "{a} learned that it is best to tell the truth.", "tell the truth", "learned")
    t.say(
        "{a} learned that it is best to tell the truth, even when it is hard.",
        "and {a} learned that it is best to tell the truth.",
    )
    t.close(
        "{a} slept very well that night.",
        "it had a few cracks now, but {a} liked it even better.",
        "{a} felt as light as a feather.",
        probability=0.7,
    )


@schema("the slow seed")
def the_slow_seed(t):
    t.hero()
    t.helper()
    plant, look = t.rng.choice(
        [
            ("sunflower", "as tall as a house"), ("pumpkin", "as round as the moon"), ("bean", "right up to the roof"), ("rose", "red and sweet"),
            ("apple tree", "with leaves as green as grass"), ("tulip", "as yellow as the sun"), ("tomato", "as red as fire"), ("pea", "full of fat pods"),
            ("cherry tree", "white with blossom"), ("melon", "green and heavy"), ("daisy", "white with a golden heart"), ("poppy", "as bright as a flag"),
        ]
    )  # fmt: skip
    t.named_thing("x", plant)
    t.open()
    t.par()
    t.say("{day}, {c.intro} gave {a.him} a small brown seed.", "{day}, {a} met {c.intro}, who gave {a.him} a seed.")
    t.ask("Who gave {a} the seed?", "{c} gave {a} the seed.", "{c}", "gave who")
    t.speak(
        "c",
        f"Put it in the earth and wait. It will be a {plant}."
        if plant != "apple tree"
        else "Put it in the earth and wait. It will be an apple tree.",
        "Plant it, water it, and be patient.",
    )
    t.say(
        "{a} dug a hole, put in the seed and watered it. Then {a.he} sat down to watch.",
        "at once {a} planted it and gave it some water.",
    )
    t.feels("a", "impatient", "nothing happened")
    t.say(
        "one hour went by, then two. Nothing happened. {a} was impatient.",
        "the next morning {a} ran out to look. Nothing happened that day, or the day after, and {a} was impatient.",
    )
    if t.has_time():
        t.speak("a", "It is a bad seed. It does not want to grow.", "Why does it take so long?", "Hurry up, seed!")
    if t.has_time():
        t.say("{a.he} wanted to dig it up again.", "{a} already had the spade in {a.his} {a.hand}.")
        t.speak(
            "c",
            "Wait! It is busy, deep down where you cannot see it.",
            "Good things take time. Sing to it and go to sleep.",
            "Leave it in peace. It is still dreaming.",
        )
    t.par()
    t.say(
        "so {a} waited. It rained, and the sun shone, and it rained again.",
        "{a} waited one week, two weeks, three weeks. Every morning {a.he} brought water.",
    )
    t.say("and one day there was a tiny green tip!", "then, early one morning, something green looked out of the earth.")
    t.say(
        f"it grew and grew. By the end of the summer {{a}} had {{x.a}}, {look}."
        if plant not in ("pea", "bean")
        else f"it grew and grew. By the end of the summer {{a}} had a {plant} plant, {look}."
    )
    t.has("a", "x")
    t.ask(
        "What grew from the seed?",
        f"A {plant} grew from the seed." if plant != "apple tree" else "An apple tree grew from the seed.",
        plant,
    )
    t.feels("a", "glad", "{a.he} had waited")
    t.say("{a} was glad that {a.he} had waited.", "how glad {a} was now that {a.he} had waited!")
    t.ask("What did {a} learn?", "{a} learned that good things take time.", "take time", "learned")
    t.say("{a} learned that good things take time.", "and so {a} learned that good things take time.")
    t.close(probability=0.4)


@schema("the thin ice", worlds="river farm village snow")
def the_thin_ice(t):
    t.hero()
    t.friend()
    t.open(
        "{a.he} never listened when somebody told {a.him} to be careful.",
        "whenever somebody warned {a.him}, {a.he} only laughed.",
    )
    t.par()
    t.say(
        "winter came, and the water froze. {a} wanted to slide on it.",
        "one winter morning there was ice on the lake. {a} ran down at once.",
    )
    t.say("{b.friend} held {a.him} back.", "{b.friend} was standing on the bank.")
    t.speak("b", "Wait! The ice is too thin.", "Do not go yet. It was warm yesterday, and the ice is thin.")
    if t.has_time():
        t.speak("a", "You are only afraid!", "Nonsense! It will hold me.", reply=True)
    t.ask("Who warned {a}?", "{b} warned {a}.", "{b}", "who")
    t.ask("What was wrong with the ice?", "The ice was too thin.", "thin")
    t.say(
        "{a} slid once, and it was fun. {a.he} slid again. Then there was a crack.",
        "{a.he} took one step, two steps, three steps. Crack!",
    )
    t.say("the ice broke, and {a} fell into the cold water.", "the ice gave way under {a.his} feet, and in {a.he} went.")
    if t.has_time():
        t.speak("a", "Help! Help me!", "Help! I cannot get out!")
    t.word("tool", "a long ladder", "a strong rope", "a long branch", "the end of {b.his} scarf", "an old broom")
    if "scarf" not in t.extras["tool"]:
        t.say(
            "{b} did not waste any time. {b.he} lay down flat and held out {tool}.",
            "{b} ran and fetched {tool}. {b.he} crawled close and held it out.",
        )
    else:
        t.say("{b} did not waste any time. {b.he} lay down flat and threw {tool} to {a}.")
    if "scarf" not in t.extras["tool"]:
        t.ask("How did {b} save {a}?", "{b} held out {tool}.", "{tool}".replace("{b.his} ", ""), "how")
    else:
        t.ask("How did {b} save {a}?", "{b} threw the end of {b.his} scarf to {a}.", "scarf", "how")
    t.say("{a} held on with all {a.his} might, and {b} pulled {a.him} out.", "{b} pulled and pulled, and at last {a} was out.")
    t.par()
    t.say(
        "soon {a} was sitting by the fire with three blankets and a red nose.",
        "at home {a} shivered for an hour and sneezed for a week.",
    )
    t.speak("a", "You were right, and I did not listen.", "Thank you. Next time I will listen to you.")
    if t.has_time():
        t.speak("b", "I am just glad that you are safe.", "Then drink your tea before it gets cold.", reply=True)
    t.ask("What did {a} learn?", "{a} learned to listen to a warning.", "listen", "learned")
    t.say("that winter {a} learned to listen to a warning.", "{a} learned to listen to a warning.")
    if t.has_time():
        t.say(
            "when the ice was thick enough, they went sliding together.",
            "a month later the ice was thick and strong, and the two of them slid all day.",
        )
    t.close(probability=0.4)


@schema("trying again")
def trying_again(t):
    t.hero()
    t.friend()
    t.open()
    skill, fail, win = t.rng.choice(
        [
            ("ride a bicycle", "fell into a bush", "rode all the way to the gate"),
            ("whistle", "made nothing but wind", "whistled a whole song"),
            ("stand on one leg", "fell on {a.his} nose", "stood like a stork"),
            ("bake bread", "burned it black", "made a loaf with a golden crust"),
            ("tie a bow", "made a big knot", "tied the finest bow of all"),
            ("skip with a rope", "got tangled up", "skipped a hundred times"),
            ("juggle three apples", "dropped them all", "kept all three in the air"),
            ("play the flute", "made it squeak like a mouse", "played a sweet little tune"),
            ("catch a ball", "let it fall every time", "caught it ten times in a row"),
            ("walk on stilts", "fell over like a tree", "walked right round the pond"),
            ("jump over the ditch", "landed in the mud", "flew over it like a bird"),
            ("turn a somersault", "rolled off to the side", "turned three in a row"),
            ("paint a horse", "painted something like a table", "painted a horse that seemed to run"),
        ]
    )  # fmt: skip
    t.par()
    t.say(f"{{a}} wanted to learn how to {skill}.", f"all {{a.his}} friends could {skill}. Only {{a}} could not.")
    t.ask("What did {a} want to learn?", f"{{a}} wanted to learn how to {skill}.", skill)
    t.say(f"the first time {{a.he}} tried, {{a.he}} {fail}.", f"{{a.he}} tried it and {fail}.")
    if t.has_time():
        t.say("the second time was no better, and the third time was worse.", "{a.he} tried again, and it went wrong again.")
    t.feels("a", "angry", f"{{a.he}} could not {skill}")
    t.say(f"{{a}} was angry because {{a.he}} could not {skill}.", f"{{a.he}} still could not {skill}, and {{a.he}} was angry.")
    if t.has_time():
        t.speak("a", "I give up!", "I will never learn it!", "It is too hard for me!")
    t.par()
    t.say("{b.friend} had been watching.", "{b.friend} came and sat down next to {a.him}.")
    number = t.word("number", "twenty", "thirty", "fifty", "a hundred")
    t.speak(
        "b",
        "You cannot do it yet. Yet is a small word, but it matters.",
        f"I had to try {number} times before I could do it.",
        "Everyone falls before they fly.",
    )
    t.say("{b} showed {a.him} how to do it slowly.", "then {b} showed {a.him} a little trick.")
    t.ask("Who helped {a}?", "{b} helped {a}.", "{b}", "who")
    if t.has_time():
        t.say(
            "{a} practised in the morning, and {a.he} practised at night.",
            "day after day {a} practised a little.",
            "{a.he} tried again, and again, and once more.",
        )
    t.say(f"and one day, all at once, {{a.he}} {win}!", f"then, on a windy Tuesday, {{a.he}} {win}.")
    t.feels("a", "proud", "{a.he} had not given up")
    t.say("{a.he} had not given up, and {a.he} was proud.", "{a} was proud that {a.he} had not given up.")
    if t.has_time():
        t.speak("b", "I knew that you could do it!", "You see? Now you can teach me something.")
    t.close(probability=0.6)


@schema("the boaster")
def the_boaster(t):
    t.hero()
    t.helper()
    deed = t.word(
        "deed",
        "jump over the river",
        "carry ten stones at once",
        "climb the highest tree",
        "eat twenty pancakes",
        "swim across the lake",
        "lift the heavy cart",
    )
    t.open(
        "{a.he} had one fault: {a.he} liked to boast.",
        "there was only one trouble with {a.him}. {a.he} boasted from morning to night.",
    )
    t.par()
    t.speak("a", f"I can {deed}! Nobody else can do that.", f"I am the best! I can {deed}.")
    t.ask("What did {a} boast about?", f"{{a}} said that {{a.he}} could {deed}.", deed)
    if t.has_time():
        t.say("everyone had heard it before.", "the others looked at each other and said nothing.")
    t.say("but {c.intro} was there that day.", "this time, {c.intro} was listening.")
    t.speak("c", "Then show us.", "We would love to see that.", "Good! Show us now.")
    if t.has_time():
        t.say("{a} swallowed hard. {a.he} had never tried it.", "now {a} had to do it, and {a.his} knees began to shake.")
    t.say(
        f"{{a.he}} took a deep breath and tried to {deed}. It was no use at all.",
        f"{{a.he}} tried to {deed}. It ended with a bump and a very red face.",
    )
    t.feels("a", "ashamed", "{a.he} had boasted")
    t.say("everyone saw it. {a} was ashamed because {a.he} had boasted.", "{a.he} had boasted, and now {a.he} was ashamed.")
    if t.has_time():
        t.say("{a} ran off and hid.", "{a} wanted to sink into the ground.")
    t.par()
    t.say("{c} came and sat down beside {a.him}.", "after a while {c} found {a.him}.")
    t.speak("a", "Now nobody will like me any more.", "They all think I am a fool.")
    t.speak(
        "c",
        "We never liked you for being the best. We like you because you make us laugh.",
        "You do not have to be the best. You only have to be {a}.",
        "We like you as you are, big words or not.",
        reply=True,
    )
    t.ask("Who came to sit with {a}?", "{c} came to sit with {a}.", "{c}", "who")
    if t.has_time():
        t.say("{a} thought about that for a long time.", "{a} wiped {a.his} nose and felt a little better.")
    t.say(
        "the next day {a.he} did not boast. {a.he} asked the others what they could do, and {a.he} listened.",
        "the next morning {a} said good day to everyone, and not one word about {a.himself}.",
    )
    t.ask("What did {a} learn?", "{a} learned that friends do not need big words.", "big words", "learned")
    t.say("{a} learned that friends do not need big words.", "{a.he} learned that friends do not need big words.")
    t.close(probability=0.4)


@schema("who is too small")
def who_is_too_small(t):
    t.hero()
    t.helper()
    t.open("{a.he} was the smallest of all, and everyone told {a.him} so.", "{a.he} was smaller than anyone else.")
    t.par()
    t.feels("a", "sad", "everyone said that {a.he} was too small")
    t.say(
        "when there was wood to carry, everyone said that {a} was too small. When there were apples to pick, they said it again. {a} was sad.",
        "could {a} help to build? No, everyone said, too small! Could {a} help to carry? No, too small! It made {a.him} sad.",
    )
    if t.has_time():
        t.speak("a", "Will I ever be of any use?", "I wish I were big and strong.")
    key_place = t.word(
        "p", "a crack in the floor", "a narrow pipe", "a hole in the wall", "the hollow of a tree", "a gap between two rocks"
    )
    item = t.rng.choice(
        [
            ("key", "golden"),
            ("ring", "silver"),
            ("whistle", "tin"),
            ("coin", "silver"),
            ("button", "red"),
            ("needle", "thin"),
            ("pearl", "white"),
            ("watch", "golden"),
        ]
    )
    t.named_thing("x", *item)
    t.par()
    t.say(
        f"{{day}}, {{c.intro}} dropped {{x.a}}, and it rolled into {key_place}.",
        f"then, {{day}}, {{c.intro}} lost {{x.a}}. It had fallen into {key_place}.",
    )
    t.has("c", "x")
    t.loses("c", "x", "p")
    t.ask("What did {c} lose?", "{c} lost {x.a}.", "{x}")
    t.ask("Where had the {x} fallen?", f"The {{x}} had fallen into {key_place}.", key_place, "where")
    t.say(
        "the strongest tried to reach it, but they were too big. The tallest tried, and got stuck.",
        "one after another tried, but nobody fitted in.",
    )
    t.speak("a", "Let me try. I am small enough.", "May I try?")
    if t.has_time():
        t.say("nobody said that {a} was too small now.", "they all stepped aside.")
    t.say(
        "{a} slipped in, wriggled to the left, wriggled to the right, and came out with the {x}.",
        "{a} took a deep breath and crawled in. A moment later {a.he} was back, dusty from top to toe, with the {x}.",
    )
    t.world.finds("a", "x", "p")
    t.ask("Who got the {x} back?", "{a} got the {x} back.", "{a}", "who")
    t.gives("a", "x", "c", asks=False)
    t.speak("c", "What would we do without you?", "You have saved my {x}! Thank you.", "It is good to have someone small.")
    t.feels("a", "happy", "{a.he} was just the right size")
    t.say(
        "{a} was happy. {a.he} was not too small. {a.he} was just the right size.",
        "{a} was just the right size, and that made {a.him} happy.",
    )
    t.close(probability=0.5)
