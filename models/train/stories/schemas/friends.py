"""Plots about friends: quarrels, making up, new neighbours, promises."""

from . import schema


@schema("a quarrel over one thing")
def quarrel_over_one_thing(t):
    t.hero()
    t.friend()
    t.thing("x", "toy", "cloth", without=("rocking horse", "tent", "rug"))
    t.open()
    t.par()
    t.say(
        "{day}, {a} and {b.friend} found {x.a} in an old box.",
        "{day}, {a} was playing with {b.friend}. They had many toys, but only one {x.full}.",
        "{a} had {b.friend} as a guest. They both saw the {x.full} at the same time.",
    )
    t.ask_colour("x")
    t.ask("What did {a} and {b} both want?", "They both wanted the {x}.", "{x}")
    t.speak("a", "I want the {x}!", "It is my turn with the {x}!")
    t.speak("b", "No, I saw it first!", "No, it is mine!", "You always want everything!")
    t.say(
        "{a} pulled on one side, and {b} pulled on the other. Crack! The {x} broke in two."
        if "cloth" not in t.entities["x"].tags
        else "{a} pulled on one side, and {b} pulled on the other. Rip! The {x} tore in two.",
    )
    if t.has_time():
        t.say(
            "all at once it was very quiet.",
            "they both stood still and stared.",
            "nobody had won.",
        )
    t.word("broken", "torn" if "cloth" in t.entities["x"].tags else "broken")
    t.feels("a", "ashamed", "the {x} was {broken}")
    t.par()
    t.say(
        "the {x} was {broken}. {a} was ashamed, and {b} did not say a word.",
        "{a} looked at the {broken} {x} and was ashamed.",
    )
    first, second = ("a", "b") if t.chance(0.5) else ("b", "a")
    t.speak(first, "I am sorry. I pulled too hard.", "I am sorry. It was my fault.")
    t.ask("Who said sorry first?", f"{{{first}}} said sorry first.", f"{{{first}}}", "who")
    t.speak(second, "I am sorry too.", "So did I. I am sorry too." if first == "b" else "I pulled too. I am sorry.", reply=True)
    if t.extras["broken"] == "torn":
        t.word("mend", "needle and thread")
    else:
        t.word("mend", "a pot of glue", "glue and string")
    t.say(
        f"then {{{second}}} fetched {{mend}}, and they mended the {{x}} together.",
        f"{{{second}}} had an idea. With {{mend}}, they put the {{x}} back together.",
    )
    t.ask("What did they mend the {x} with?", "They mended the {x} with {mend}.", "{mend}", "how")
    if t.has_time():
        t.say(
            "you could still see the place, but they did not mind.",
            "it was not as good as new, but to them it was even better.",
        )
    t.say(
        "from then on they took turns. {a} had it in the morning, and {b} had it in the afternoon.",
        "after that they took turns, and the {x} was never {broken} again.",
        "after that they took turns, and it was twice as much fun.",
    )
    t.close(probability=0.4)


@schema("unkind words")
def unkind_words(t):
    t.hero()
    t.friend()
    t.open(
        "{a.his} best friend was {b.apposed}.",
        "every day {a.he} played with {b.friend}.",
        "{a.he} had a friend called {b}, and the two of them played together every day.",
    )
    t.par()
    skill = t.word("skill", "sing", "draw", "run", "dance", "climb", "whistle")
    t.say(
        f"{{day}}, {{b}} tried to {skill}. It did not go well at all.",
        f"{{day}}, {{b}} wanted to show {{a}} how well {{b.he}} could {skill}. But it went wrong.",
    )
    t.say(
        f'{{a}} laughed. "You cannot {skill}," {{a.he}} said. "You look silly!"',
        f'"Ha, ha!" laughed {{a}}. "Even a snail can {skill} better than you!"',
    )
    t.feels("b", "hurt", "{a} had laughed at {b.him}")
    t.say(
        "{b} was hurt because {a} had laughed at {b.him}. {b.he} went away without a word.",
        "{a} had laughed at {b.him}, and {b} was hurt. {b.he} turned round and went home.",
    )
    if t.has_time():
        t.say(
            "at first {a} did not care. But playing alone was dull.",
            "{a} played alone that afternoon. It was no fun.",
            "the afternoon was long, and there was nobody to talk to.",
        )
    t.feels("a", "lonely", "{b} was gone")
    t.say(
        "{b} was gone, and {a} was lonely. Why had {a.he} been so unkind?",
        "now that {b} was gone, {a} felt lonely. {a.he} was lonely and sorry.",
    )
    t.par()
    t.thing("x", "flower", "gift", without=("picture",))
    t.has("a", "x")
    t.say(
        "the next morning {a} took {x.a} and knocked at {b.s} door.",
        "so {a} went to see {b} and took {x.a} along.",
    )
    t.speak("a", "I am sorry, {b}. What I said was not kind.", "Please forgive me, {b}. I was not a good friend.")
    t.gives("a", "x", "b")
    t.say("{a} gave {b.him} the {x}.", "{a} held out the {x}, and {b} took it.")
    t.speak(
        "b",
        "I forgive you. Friends make mistakes.",
        "It hurt. But I am glad you came.",
        "You came! I missed you too.",
        reply=True,
    )
    if t.has_time():
        t.say(
            f"then {{a}} helped {{b}} to practise, and by the end of the week {{b.he}} could {skill} very well.",
            f"they practised together. Soon {{b}} could {skill}, and nobody laughed any more.",
        )
    t.ask("What did {a} learn?", "{a} learned that kind words cost nothing.", "kind words", "learned")
    t.say("{a} learned that kind words cost nothing.", "and {a} had learned that kind words cost nothing.")
    t.close(probability=0.3)


@schema("the new neighbour")
def the_new_neighbour(t):
    t.hero()
    t.thing("x", "food")
    t.friend()
    t.open()
    t.par()
    t.say(
        "{day}, somebody new came to live next door. It was {b.intro}.",
        "{day}, {b.intro} moved in next door.",
    )
    t.ask("Who moved in next door?", "{b} moved in next door.", "{b}", "who")
    t.feels("b", "shy", "{b.he} did not know anybody")
    t.say(
        "{b} did not know anybody, and {b.he} was very shy. {b.he} looked out of the window and did not come out.",
        "{b} was shy because {b.he} did not know anybody. {b.he} stayed inside all day.",
    )
    if t.has_time():
        t.say(
            "{a} waved, but {b} hid behind the curtain.",
            '"Hello!" called {a}. There was no answer.',
        )
    if t.has_time():
        t.say(
            "what could {a} do? {a.he} thought about it all evening.",
            "{a} remembered how it felt to be new.",
        )
    t.par()
    t.has("a", "x")
    t.say(
        "the next morning, {a} put {x.a} on {b.s} doorstep, knocked and ran away. Behind the hedge {a.he} waited.",
        "in the morning {a} took {x.a}, put it in front of the door and hid.",
    )
    t.gives("a", "x", "b")
    t.say(
        "the door opened a little. {b} saw the {x}, and {b.he} smiled.",
        "first came a nose, then two eyes. {b} picked up the {x} and laughed.",
    )
    t.speak("b", "Who has brought me this?", "For me? Who is there?")
    t.speak("a", "I have! I live next door. Shall we share it?", "It was me! Will you come out and play?", reply=True)
    t.say(
        "so they sat down on the step and shared the {x}.",
        "{b} came out, one small step at a time, and they shared the {x} in the sun.",
    )
    if t.has_time():
        t.say(
            "by the time it was gone, {b} was not shy any more.",
            "{b} told {a} about the place {b.he} had come from, and {a} told {b} about all the neighbours.",
            "after that, {a} showed {b} all the best places to play.",
        )
    t.close()


@schema("a forgotten promise")
def a_forgotten_promise(t):
    t.hero()
    t.friend()
    t.thing("x", "gift", "baked")
    t.open()
    t.par()
    plan = t.word(
        "plan", "row on the lake", "fly a kite", "pick berries", "build a tree house", "watch the sunset", "plant beans"
    )
    t.say(
        f"{{a}} had promised {{b.friend}} to {plan} together on Sunday.",
        f'"On Sunday we will {plan}," {{a}} had promised {{b.friend}}.',
    )
    t.ask("What had {a} promised to do?", f"{{a}} had promised to {plan}.", plan, "promised")
    t.say(
        "but on Sunday {a} forgot all about it. {a.he} slept late and then played by the fire.",
        "but when Sunday came, {a} was busy with a new game and forgot.",
    )
    t.feels("b", "disappointed", "{a} had not come")
    t.say(
        "{b} waited and waited. The sun went down, and {a} had not come. {b} was disappointed and went home.",
        "all day long {b} waited at the gate. In the evening {b.he} was disappointed, because {a} had not come.",
    )
    t.par()
    t.say(
        "at bedtime {a} sat up with a start.",
        "only when {a.he} lay in bed did {a} remember.",
    )
    t.speak("a", "My promise! I forgot my promise!", "Oh no! {b} was waiting for me!")
    t.has("a", "x")
    t.say(
        "early the next day {a} ran to {b.s} door with {x.a}.",
        "{a} could hardly sleep. In the morning {a.he} took {x.a} and went straight to {b}.",
    )
    t.speak(
        "a", "I broke my promise, and I am sorry. I will not do it again.", "I have no excuse. I forgot, and I am very sorry."
    )
    t.gives("a", "x", "b")
    t.say("{a} gave {b} the {x}.", "{b} took the {x} and was quiet for a moment.")
    if t.has_time():
        t.speak("b", "Do you have time today?", "Today is a good day too.", "Then let us go right now.", reply=True)
    t.say(
        f"and so they went out to {plan}. It was even better than on Sunday.",
        f"at last they could {plan}, and it was the best day of the week.",
    )
    if t.has_time():
        t.say(
            "since then, {a} has never forgotten a promise.",
            "after that, {a} always kept {a.his} word.",
        )
    t.close(probability=0.3)


@schema("the race")
def the_race(t):
    t.hero()
    t.friend()
    t.thing("x", "treasure", "gift", "baked")
    t.open("{a.he} was the fastest runner of all, and {a.he} knew it.", "{a.he} could run like the wind.")
    t.par()
    t.say(
        "{day}, there was a big race, and the prize was {x.a}. {b.friend} wanted to run too.",
        "{day}, everyone came to watch the race. The winner would get {x.a}. {a} and {b.friend} stood at the start.",
    )
    t.ask("What was the prize?", "The prize was {x.a}.", "{x}")
    if t.has_time():
        t.speak("a", "I will win, you will see.", "Nobody is faster than I am!")
        t.speak("b", "Then I will just try my best.", "We will see about that!", reply=True)
    t.say("one, two, three, go! They ran off.", "ready, steady, go! The dust flew up.", "the whistle blew, and off they went.")
    if t.has_time():
        t.say(
            "{a} was soon in front. {a.he} could already see the end.",
            "{a} was ahead, with the wind in {a.his} face.",
        )
    t.say(
        "then {a.he} heard a cry behind {a.him}. {b} had tripped over a root and hurt {b.his} foot.",
        "suddenly there was a cry. {b} had fallen and could not get up.",
    )
    t.ask("Who fell down in the race?", "{b} fell down in the race.", "{b}", "who")
    t.par()
    t.say(
        "{a} stopped. In front of {a.him} was the prize. Behind {a.him} was {a.his} friend.",
        "{a} looked at the finish. Then {a.he} looked back at {b}.",
    )
    t.say(
        "{a.he} turned round and ran back.",
        "it was not a hard choice. {a.he} ran back.",
    )
    if t.has_time():
        t.speak("b", "Run on, or you will lose!", "What are you doing? You could have won!")
        t.speak("a", "A friend is worth more than a prize.", "Winning is no fun without you.", reply=True)
    t.say(
        "{a} helped {b} up, and they walked to the end together, very slowly.",
        "leaning on each other, they came to the end, the last of all.",
    )
    t.has("a", "x")
    t.say(
        "nobody had ever clapped so loudly. And the prize? The judge gave the {x} to {a}, for the kindest heart.",
        "everyone cheered. {a} got the {x} after all, because kindness had won the race.",
    )
    t.ask("Who got the prize?", "{a} got the prize.", "{a}", "who")
    t.close(probability=0.5)


@schema("a trade")
def a_trade(t):
    t.hero()
    t.friend()
    t.thing("x", "toy", "music", "tool")
    t.thing("y", "food")
    t.open()
    t.par()
    t.has("b", "x")
    t.say(
        "next door to {a} lived {b.intro}. {b} had {x.a}, and {a} wanted it more than anything.",
        "not far away lived {b.intro}. {b} had {x.a}, and how {a} wanted it!",
    )
    t.ask("What did {a} want?", "{a} wanted the {x}.", "{x}")
    t.ask_colour("x")
    t.speak("a", "Will you give me your {x}?", "What must I do to get your {x}?")
    t.speak("b", "Bring me {y.a}, and it is yours.", "I will trade it for {y.a}.", reply=True)
    t.ask("What did {b} want for the {x}?", "{b} wanted {y.a}.", "{y}")
    t.say("but {a} had no {y}.", "where could {a} get that?")
    t.par()
    t.helper()
    t.has("c", "y")
    t.say(
        "so {a} went to {c.intro} and asked for one.",
        "so {a} went to see {c.intro}.",
    )
    work = t.word(
        "work", "sweep the yard", "carry water", "pull up the weeds", "chop some wood", "wash the windows", "pick up the leaves"
    )
    t.speak("c", f"If you {work} for me, you shall have {{y.a}}.", f"Gladly, if you {work} first.")
    t.say(
        f"it was hard work to {work}, but {{a}} did not stop until it was done.",
        f"{{a}} had to {work} until noon. {{a.he}} was hot and tired, but {{a.he}} was glad.",
    )
    t.ask("What did {a} have to do for {c}?", f"{{a}} had to {work}.", work)
    t.gives("c", "y", "a")
    t.say("then {c} gave {a.him} {y.a}.", "when it was finished, {c} gave {a} {y.a} and thanked {a.him}.")
    t.gives("a", "y", "b", asks=False)
    t.gives("b", "x", "a", asks=False)
    t.par()
    t.say(
        "{a} ran back to {b}. {b} took the {y}, and {a} took the {x}, and both of them were happy.",
        "{a} brought the {y} to {b}, and {b} handed over the {x}.",
    )
    t.ask("Who had the {x} in the end?", "{a} had the {x} in the end.", "{a}", "has")
    if t.has_time():
        t.speak("b", "You worked hard for it.", "A fair trade!", "You have earned it.")
    if t.has_time():
        t.say(
            "because {a} had worked for the {x}, {a.he} loved it all the more.",
            "and then they shared the {y}, because that is what friends do.",
        )
    t.close(probability=0.4)
