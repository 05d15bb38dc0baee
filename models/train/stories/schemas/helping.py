"""Plots in which somebody is in trouble and somebody else helps."""

from . import schema


@schema("stuck fast")
def stuck_fast(t):
    t.hero()
    t.friend()
    t.helper()
    t.open()
    t.par()
    trap, escape = t.rng.choice(
        [
            ("in a deep hole", "a long rope"), ("in the mud", "a wide board"), ("in a thorn bush", "a pair of scissors"),
            ("under a fallen branch", "a strong pole"), ("in an old fishing net", "a sharp knife"), ("high up in a tree", "a ladder"),
            ("in a dry well", "a bucket on a rope"), ("behind a heavy door", "a rusty key"), ("between two rocks", "a pot of butter"),
        ]
    )  # fmt: skip
    t.word("trap", trap)
    t.word("escape", escape)
    t.say(
        "{day}, {a} heard a cry for help. {b.friend} was stuck {trap}!",
        "{day}, {a} was looking for {b.friend}. {a.he} found {b.him} {trap}. {b} was stuck!",
    )
    t.ask("Where was {b} stuck?", "{b} was stuck {trap}.", "{trap}", "where")
    t.speak("b", "I cannot move! Please help me!", "I have been here since this morning.", "Do not leave me alone!")
    if t.has_time():
        t.speak("a", "I am here. I will get you out.", "Hold on! I will not go away.", reply=True)
    if t.has_time():
        t.say(
            "{a} pulled with all {a.his} might. It did not help.", "{a} tried to reach {b.him}, but {a.he} was not strong enough."
        )
    t.feels("b", "scared", "it was getting dark")
    t.say("it was getting dark, and {b} was scared.", "{b} was scared because it was getting dark.")
    t.par()
    t.say("{a} ran to {c.intro} and told {c.him} everything.", "{a} ran as fast as {a.he} could until {a.he} came to {c.intro}.")
    t.ask("Who did {a} run to?", "{a} ran to {c}.", "{c}", "who")
    t.speak("c", "What you need is {escape}.", "Wait. I have {escape} somewhere.")
    t.say(
        "with {escape.the} they hurried back. {c} helped as well as {c.he} could.",
        "they took {escape.the} and hurried back through the dusk.",
    )
    t.ask("What did they use to free {b}?", "They used {escape} to free {b}.", "{escape}", "how")
    t.say("one, two, three! {b} was free.", "it took some time. But then there was a bump, and {b} was free.")
    if t.has_time():
        t.speak("b", "I thought nobody would come!", "How can I ever thank you?", "You came back for me!")
        t.speak(
            "a", "Friends always come back.", "You would do the same for me.", "Next time, look where you are going!", reply=True
        )
    t.feels("a", "glad", "{b} was safe")
    t.say("{b} was safe, and {a} was so glad that {a.he} could not stop talking.", "{a} was glad that {b} was safe.")
    t.close(probability=0.6)


@schema("the heavy cart")
def the_heavy_cart(t):
    t.hero()
    t.helper()
    t.open(
        "{a.he} was small, but {a.he} never stood by when somebody needed help.",
        "wherever there was work to do, {a.he} came to help.",
    )
    t.par()
    load = t.word("load", "potatoes", "apples", "stones", "firewood", "pumpkins", "hay", "books", "flour")
    t.say(
        "{day}, {c.intro} was pulling a cart full of {load} up the hill.",
        "{day}, a cart full of {load} stood at the bottom of the hill. It belonged to {c.intro}.",
    )
    t.ask("What was in the cart?", f"The cart was full of {load}.", load)
    t.ask("Whose cart was it?", "It was {c.s} cart.", "{c}")
    t.say("halfway up, the cart stopped. It did not move at all.", "{c} pulled and pulled. The wheels did not turn.")
    if t.has_time():
        t.speak("c", "I will never get to the top!", "If only somebody would help me!")
    t.say("{a} ran up and pushed from behind. The cart did not move.", "{a} pushed as hard as {a.he} could. It was no use.")
    t.friend()
    t.say(
        "then {b.friend} came and pushed too. The cart moved a little, and stopped again.",
        "{b.friend} saw them and lent a hand. The cart rocked, but it did not roll."
        if t.entities["b"].is_child
        else "{b.friend} saw them and came to push. The cart rocked, but it did not roll.",
    )
    t.ask("Who came to help {a} push?", "{b} came to help {a} push.", "{b}", "who")
    last = t.word("last", "a tiny mouse", "a small beetle", "a little bird", "a snail", "an ant", "a bumblebee", "a ladybird")
    t.say(f"just then {last} came along.", f"{last} had been watching them.")
    t.say('"Can I help?" it asked. "I am not very strong."', '"Let me push too," it said in its small voice.')
    if t.has_time():
        t.speak("a", "Every bit helps!", "Come on, there is room for you.", reply=True)
    t.say(
        "so they all pushed together, and the little one pushed too. One, two, three, heave! The cart began to roll.",
        "they counted to three and pushed. And what do you think? The cart rolled!",
    )
    t.ask("Who pushed last of all?", "Last of all, {last.the} pushed.", "{last.the}", "who")
    t.par()
    t.say("it rolled right up to the top.", "up and up it went, all the way to the top.")
    if t.has_time():
        t.speak("c", "Who was it that made the difference?", "Thank you! Which of you was the strongest?")
        t.say('"I was!" squeaked the little one, and they all laughed.', '"We all were," said {a}.')
    if t.has_time():
        t.say(
            "{c} gave each of them something from the cart."
            if load not in ("stones", "hay", "firewood", "flour")
            else "{c} took them all for a ride down the other side.",
            "then they rode down the other side in the empty cart, and their ears flew in the wind."
            if not t.entities["a"].is_child
            else "then they all sat in the cart and rolled down the other side.",
        )
    t.ask("What did {a} learn?", "{a} learned that nobody is too small to help.", "too small to help", "learned")
    t.say("{a} learned that nobody is too small to help.", "and {a} learned that nobody is too small to help.")
    t.close(probability=0.3)


@schema("a friend in bed")
def a_friend_in_bed(t):
    t.hero()
    t.friend()
    t.thing("x", "flower", "food", "gift", without=("egg", "turnip", "cabbage", "picture"))
    t.open()
    t.par()
    illness = t.word("illness", "a bad cold", "a sore throat", "a hurt leg", "a high fever", "a cough", "a toothache")
    t.say(
        "{day}, {a} waited for {b.friend}, but {b} did not come. {b.he} had {illness} and had to stay in bed.",
        "{b.friend} could not come out to play. {b.he} was in bed with {illness}.",
    )
    t.ask("Why did {b} stay in bed?", "{b} stayed in bed because {b.he} had {illness}.", illness, "why")
    t.feels("b", "bored", "{b.he} had to stay in bed")
    t.say(
        "{b} was bored because {b.he} had to stay in bed. {b.he} counted the cracks in the ceiling.",
        "how long a day can be! {b} had to stay in bed, and {b.he} was bored.",
    )
    t.par()
    t.has("a", "x")
    t.say("in the afternoon {a} came to visit and brought {x.a}.", "then the door opened, and in came {a} with {x.a}.")
    t.gives("a", "x", "b")
    if t.has_time():
        t.speak("a", "This is for you. How do you feel?", "I brought you something. Does it hurt very much?")
    t.say("{a} gave {b} the {x} and sat down on the edge of the bed.", "{b} took the {x} and even smiled a little.")
    if t.has_time():
        t.speak("b", "The worst thing is that nothing happens here.", "I am so tired of lying here.", reply=True)
    play = t.word(
        "play",
        "a puppet show with two socks",
        "a play with a spoon and a fork",
        "a story about a pirate",
        "a song with forty verses",
        "a story about a flying teapot",
        "a circus with three buttons",
    )
    t.say("{a} thought for a moment. Then {a.he} made up {play}.", "so {a} made up {play}, just for {b}.")
    t.ask("What did {a} make up for {b}?", "{a} made up {play}.", "{play}")
    t.say("{b} laughed so much that {b.he} forgot that {b.he} was ill.", "{b} laughed until the bed shook.")
    if t.has_time():
        t.say("{a} came back the next day, and the day after that.", "every afternoon {a} came again.")
    t.par()
    t.say(
        "at the end of the week {b} jumped out of bed. {b.he} was well again!",
        "one morning somebody knocked at {a.s} door. It was {b}, and {b.he} was well again.",
    )
    if "story" in play:
        t.speak("b", "Now tell me how the story ends!", "You and your story were my best medicine.")
    else:
        t.speak("b", "You were my best medicine.", "Without you it would have taken twice as long.")
    t.close(probability=0.7)


@schema("the broken bridge", worlds="forest river hills jungle meadow")
def the_broken_bridge(t):
    t.hero()
    t.friend()
    t.open(
        "{a.he} lived on one side of the brook, and {a.his} friend lived on the other.",
        "every day {a.he} crossed the little bridge to visit a friend.",
    )
    t.say("the friend was {b.apposed}.", "this friend was {b.apposed}.")
    t.par()
    cause = t.word("cause", "a flood", "a storm", "a falling tree", "the spring rain")
    t.say(f"but one night {cause} broke the bridge.", f"then came {cause}, and in the morning the bridge was broken.")
    t.ask("What broke the bridge?", f"{cause[0].upper() + cause[1:]} broke the bridge.", cause.split(" ", 1)[1])
    t.feels("a", "sad", "{a.he} could not visit {b}")
    t.say(
        "{a} stood on one side, and {b} stood on the other. {a} was sad because {a.he} could not visit {b}.",
        "now {a} could not visit {b}, and that made {a.him} sad.",
    )
    if t.has_time():
        t.speak("a", "I cannot come over!", "What shall we do now?")
        t.speak("b", "Then we must build a new one!", "We will build it again, you on your side and I on mine.", reply=True)
    stuff = t.word("stuff", "logs", "flat stones", "planks", "bamboo poles", "thick branches")
    t.say(
        f"so {{a}} gathered {stuff} on one side, and {{b}} gathered {stuff} on the other.",
        f"they found {stuff}, and each of them began to build.",
    )
    t.ask("What did they build the bridge with?", f"They built the bridge with {stuff}.", stuff)
    days = t.word("days", "three", "four", "five", "six", "seven")
    t.say(
        f"it took {days} days. Sometimes they sang across the water, and sometimes they only waved.",
        f"for {days} days they worked from morning to night.",
    )
    t.ask("How many days did it take?", f"It took {days} days.", days, "how many")
    t.par()
    if t.has_time():
        t.say("on the last day only one gap was left, right in the middle.", "at last there was just one piece missing.")
    t.say(
        "they put in the last piece together, and then they stood nose to nose.",
        "{a} reached out from one side, and {b} from the other. It fitted!",
    )
    if t.has_time():
        t.speak("b", "Welcome to my side!", "This bridge will hold for a hundred years.", "Now it is our bridge.")
    t.feels("a", "happy", "they had built the bridge together")
    t.say("{a} was happy, because they had built the bridge together.", "they had built the bridge together, and {a} was happy.")
    t.close(
        "nobody can say where one side ends and the other begins.",
        "and on warm evenings they sat in the middle and let their feet hang down.",
        "the bridge is still there today.",
        "that evening they danced on it to see if it would hold.",
        probability=0.9,
    )


@schema("the hungry guest in the garden", worlds="farm village garden meadow")
def the_hungry_guest(t):
    t.hero()
    t.friend()
    t.open()
    t.par()
    crop = t.word("crop", "carrots", "peas", "strawberries", "cabbages", "radishes", "beans", "raspberries", "tomatoes")
    t.say(
        "{a} had a little garden with {crop}. {a.he} looked after it every day.",
        "{a} was growing {crop} behind the {a.home}, and {a.he} was very proud of them.",
    )
    t.ask("What did {a} grow?", f"{{a}} grew {crop}.", crop)
    t.feels("a", "angry", f"somebody had eaten {{a.his}} {crop}")
    t.say(
        "{day}, half of them were gone. Somebody had eaten {a.his} {crop}! {a} was angry.",
        "{day}, {a} was angry. Somebody had eaten {a.his} {crop}!",
    )
    t.say(
        "that night {a.he} hid and waited. At midnight there was a rustle.",
        "so {a.he} kept watch. When the moon was high, somebody came.",
    )
    t.say(
        "it was {b.intro}, who was as thin as a stick.", "{a} jumped out and lifted {a.his} lamp. Before {a.him} stood {b.intro}."
    )
    t.ask(f"Who had eaten the {crop}?", f"{{b}} had eaten the {crop}.", "{b}", "who")
    t.speak("a", "So it was you!", "Why do you steal from my garden?")
    t.speak("b", "Please do not be angry. I have no garden of my own.", "I was so hungry, and they looked so good.", reply=True)
    t.par()
    if t.has_time():
        t.say(
            "{a} thought about it. Then {a.he} had an idea.", "{a} scratched {a.his} head. It was no use to be angry all night."
        )
    work = t.word("work", "water the plants", "pull up the weeds", "dig the beds", "keep the snails away", "mend the fence")
    t.speak("a", f"If you {work}, half of the garden is yours.", f"You can help me. If you {work}, we will share.")
    t.ask("What was {b} to do in the garden?", f"{{b}} was to {work}.", work)
    if t.has_time():
        t.say("{b} could hardly believe it. {b.he} nodded and nodded.", "{b} agreed, and they shook on it.")
    t.say(
        f"all summer they worked side by side. In the autumn there were more {crop} than ever before.",
        f"with two to do the work, there were soon twice as many {crop}.",
    )
    if t.has_time():
        t.say(
            "there was enough for both of them, and some to give away.",
            "they ate until they could eat no more, and the rest they gave to the neighbours.",
        )
    t.close(probability=0.5)


@schema("the bird that could not fly")
def the_bird_that_could_not_fly(t):
    t.hero()
    t.spot()
    bird = t.word("bird", "sparrow", "robin", "wren", "swallow", "blackbird", "finch", "lark")
    t.open()
    t.par()
    t.say(
        "{day}, {a} found a {bird} {p}. One of its wings was hurt, and it could not fly.",
        "{p} sat a {bird}. {a} saw at once that its wing was broken.",
    )
    t.ask("What did {a} find?", "{a} found a {bird}.", bird)
    t.ask("Where was the {bird}?", "The {bird} was {p}.", "{p}", "where")
    if t.has_time():
        t.say("the {bird} trembled.", "it looked up at {a.him} with small black eyes.")
    t.speak("a", "I will not hurt you.", "Do not be afraid. I will look after you.")
    bed = t.word("bed", "an old hat", "a shoe box", "a warm sock", "a little basket", "a woollen mitten", "a straw hat")
    t.say(f"{{a}} took it home and made a bed for it in {bed}.", f"gently {{a}} carried it home. {bed} became its bed.")
    t.ask("Where did the {bird} sleep?", f"The {{bird}} slept in {bed}.", bed, "where")
    t.say(
        "{a} bound up its wing and fed it with seeds, and every night {a.he} told it a story.",
        "every day {a.he} brought it water and crumbs. Little by little it grew stronger.",
    )
    t.par()
    t.say("after a month the {bird} flew once round the room.", "one morning it spread its wings and flew up to the window.")
    t.feels("a", "sad", "the {bird} wanted to go")
    t.say(
        "the {bird} wanted to go, and {a} was sad. But {a.he} opened the window wide.",
        "{a} was sad because the {bird} wanted to go. All the same {a.he} opened the window.",
    )
    if t.has_time():
        t.speak("a", "Fly, little friend!", "Go on! The sky is waiting for you.")
    t.say("up it went, over the roofs and into the blue.", "it flew three times around {a.his} head, and then it was gone.")
    t.par()
    t.say("winter came, and {a} often looked up at the empty sky.", "the leaves fell, and the snow came, and then it was spring.")
    t.say(
        "on the first warm day there was a tap at the window.",
        "then, one bright morning, somebody sang in front of {a.s} window.",
    )
    t.feels("a", "happy", "the {bird} had come back")
    t.say(
        "the {bird} had come back, with its whole family, and {a} was happy.",
        "the {bird} had come back, and how happy {a} was!",
        "{a} was happy, because the {bird} had come back. And from then on it came back every spring.",
    )
    t.close(probability=0.4)
