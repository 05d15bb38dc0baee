"""Plots in which something is lost, found or taken."""

from . import schema


@schema("lost and found")
def lost_and_found(t):
    t.hero()
    t.friend()
    t.thing("x", "small", "-food")
    t.spot()
    t.open()
    t.say(
        "of all the things {a.he} had, {a.he} loved {a.his} {x.full} best.",
        "{a.he} had {x.a}, and {a.he} took it everywhere.",
        "{a.grandmother} had given {a.him} {x.a}, and {a} kept it safe.",
        "{a} had {x.a}. {a.he} even slept with it under {a.his} pillow.",
    )
    t.has("a", "x")
    t.ask_colour("x")
    t.par()
    t.loses("a", "x", "p")
    t.feels("a", "sad", "{a.he} had lost {a.his} {x}")
    t.say(
        "but {day} {a} lost the {x}. {a.he} looked [under the bed and behind the door|high and low|in every corner], but {a.he} could not find it. {a.he} was very sad.",
        "{day}, {a} reached for the {x}, and it was not there. {a.he} had lost it! {a.he} was so sad that {a.he} [could not eat|began to cry].",
        "{day}, {a} came home and saw that {a.he} had lost the {x}. {a.he} sat down and was sad.",
    )
    t.say(
        "just then {b.friend} came by.",
        "{b.friend} saw {a.him} and stopped.",
        "{b.friend} heard {a.him} and came running.",
    )
    if t.has_time():
        t.speak("b", "What is the matter?", "Why are you so sad?", "Oh dear! What has happened?")
        t.speak("a", "I have lost my {x}.", "My {x} is gone. I cannot find it anywhere.", reply=True)
    t.speak(
        "b",
        "Do not cry. I will help you [look|search].",
        "Let us look together. Four eyes see more than two.",
        "Where did you play yesterday? Let us go there.",
    )
    t.par()
    if t.has_time():
        t.say(
            "they went back the way {a} had come, step by step.",
            "together they looked here and they looked there.",
            "they searched all morning, and {b} looked even in the smallest places.",
            "{a} looked on the left, and {b} looked on the right.",
        )
    t.finds("b", "x", "p")
    t.say(
        "at last {b} looked {p}, and there was the {x}!",
        "then {b} saw something {p}. It was the {x}!",
        "{p}, {b} found the {x} at last.",
    )
    t.gives("b", "x", "a", asks=False)
    if t.has_time():
        t.speak("b", "Here it is!", "Look what I have found!", "Is this what you are looking for?")
    t.feels("a", "happy", "{b} had found the {x}")
    t.say(
        "{b} had found the {x}, and {a} was so happy that {a.he} danced around {b.him}.",
        "{b} had found it! {a} was happy again, and {a.he} hugged {b.him}.",
        "{b} had found it! How happy {a} was! {a.he} held the {x} tight.",
    )
    if t.has_time():
        t.speak("a", "Thank you! I will take better care of it now.", "Thank you, {b}! You are a true friend.")
    t.close()


@schema("something strange on the ground")
def whose_is_it(t):
    t.hero()
    t.friend()
    t.thing("x", "small", "treasure", "wear", "-food")
    t.spot()
    t.open()
    t.par()
    t.lies("x", "p")
    t.finds("a", "x", "p")
    t.say(
        "{day}, {a} was out for a walk when {a.he} saw something {p}. It was {x.a}.",
        "{day}, {a} found {x.a} {p}.",
        "{p}, {a} found {x.a}. Nobody else was there.",
    )
    t.ask_colour("x")
    t.speak("a", "Whose {x} can this be?", "Somebody must have lost this {x}.", "What a nice {x}! Who has lost it?")
    t.say(
        "{a.he} would have liked to keep it. But somebody was surely looking for it.",
        "it was so pretty that {a} wanted to keep it. Then {a.he} thought of the one who had lost it.",
        "{a} turned it over and over. There was no name on it.",
    )
    if t.has_time():
        t.helper()
        t.say(
            "so {a.he} went from door to door. At the first door was {c.intro}.",
            "so {a.he} set out to ask the neighbours. First {a.he} met {c.intro}.",
        )
        t.speak("a", "Is this your {x}?", "Is this {x} yours?")
        t.speak(
            "c",
            "No, it is not mine.",
            "No, but I heard somebody crying down the road.",
            "Not mine. Try the next house.",
            reply=True,
        )
    t.par()
    t.say(
        "at the end of the path {a} met {b.intro}, who was looking [sad|at the ground].",
        "then {a} came to {b.intro}. {b.he} was looking for something in the grass.",
    )
    t.feels("b", "worried", "{b.he} had lost {b.his} {x}")
    t.say("{b} was worried because {b.he} had lost {b.his} {x}.")
    if t.has_time():
        t.speak("a", "Look! Is it this one?", "Is this the {x} you lost?")
    t.gives("a", "x", "b")
    t.say(
        "{b.his} eyes grew wide. {a} gave {b.him} the {x}, and {b} jumped for joy.",
        "{a} gave {b.him} the {x}, and {b.his} face lit up.",
    )
    t.speak("b", "You could have kept it, but you brought it back. Thank you!", "Thank you! You are very honest.")
    if t.has_time():
        t.say(
            "{b} asked {a} to stay for [tea|supper|a slice of cake], and {a} stayed until dark.",
            "they spent the rest of the day together.",
            "{a} went home with nothing but a warm heart.",
        )
    t.close()


@schema("carried off by the wind", worlds="meadow farm village sea hills garden")
def carried_off_by_the_wind(t):
    t.hero()
    t.friend()
    t.thing("x", "light")
    t.spot()
    t.open()
    t.has("a", "x")
    t.ask_colour("x")
    t.say(
        "one windy day, {a} went out with {a.his} {x.full}.",
        "one windy morning, {a} was walking along with {a.his} new {x.full}.",
        "one day, {a} took {a.his} {x.full} out for a walk. The wind was strong.",
    )
    t.par()
    t.loses("a", "x", "p")
    t.say(
        "whoosh! A gust of wind took the {x} and carried it away.",
        "suddenly the wind blew hard. It pulled the {x} away and carried it up into the air.",
        "the wind puffed and blew, and up went the {x}, higher and higher.",
    )
    t.ask("What carried the {x} away?", "The wind carried the {x} away.", "wind", "what")
    t.speak("a", "Stop! Come back!", "Oh no! My {x}!")
    t.feels("a", "upset", "the wind had taken {a.his} {x}")
    t.say(
        "{a} was upset. {a.he} ran after it as fast as {a.he} could.",
        "{a} ran and ran, but the wind was faster. {a.he} was very upset.",
    )
    if t.has_time():
        t.say(
            "the {x} flew over a wall, over a roof and out of sight.",
            "it danced over the bushes and was gone.",
            "it went left, it went right, and then it went down.",
        )
    t.par()
    t.finds("b", "x", "p")
    t.say(
        "on the other side, {b.intro} was sitting in the sun. Plop! The {x} came down {p}. {b} picked it up.",
        "not far away, {b.intro} was having a rest. The {x} landed {p}, and {b} picked it up.",
    )
    if t.has_time():
        t.speak(
            "b", "Well, well! It is raining {x}s today.", "Where did you come from, little {x}?", "Somebody will come for this."
        )
    t.say(
        "a moment later {a} came running, quite out of breath.",
        "soon {a} came round the corner.",
    )
    if t.has_time():
        t.speak("a", "Have you seen my {x}?", "Please, did the {x} come this way?")
    t.gives("b", "x", "a")
    t.say(
        "{b} laughed and gave {a.him} the {x}.",
        "with a smile, {b} gave the {x} back to {a.him}.",
    )
    if t.has_time():
        t.speak("b", "The wind brought it to me.", "The wind only wanted to play.", reply=True)
    t.say(
        "{a} laughed too. If the wind had not been so rude, they would never have met.",
        "then they sat down and talked until the wind grew tired.",
        "after that, whenever the wind blew, {a} thought of {b.him} and smiled.",
    )
    t.close()


@schema("the missing food")
def the_missing_food(t):
    t.hero()
    t.friend()
    t.thing("x", "baked")
    t.spot(seat=True)
    t.open()
    t.par()
    t.has("a", "x")
    t.say(
        "{day}, {a} made {x.a} and put it [by the window|on a stone] to cool.",
        "{day}, {a} made {x.a}. {a.he} left it outside to cool.",
    )
    t.ask("What did {a} make?", "{a} made {x.a}.", "{x}")
    t.loses("a", "x", "p")
    t.say(
        "but when {a.he} came back, the {x} was gone.",
        "a little later it had disappeared. Only a few crumbs were left.",
    )
    if t.has_time():
        t.speak("a", "Who has taken my {x}?", "Somebody has stolen my {x}!")
    t.feels("a", "angry", "somebody had taken {a.his} {x}")
    t.say(
        "somebody had taken it! {a} was angry. Then {a.he} saw crumbs on the ground.",
        "{a} was angry that somebody had taken it. But then {a.he} saw a line of crumbs.",
    )
    t.say(
        "{a.he} followed the crumbs, one by one, round the corner and along the path.",
        "one crumb, two crumbs, three crumbs. {a.he} followed them all the way.",
    )
    t.par()
    t.say(
        "the crumbs ended {p}. There sat {b.intro} with the {x}.",
        "{p} sat {b.intro}, and in front of {b.him} was the {x}.",
    )
    t.ask("Who took the {x}?", "{b} took the {x}.", "{b}", "who took")
    t.ask("Where did {a} find {b}?", "{a} found {b} {p}.", "{p}", "where")
    if t.has_time():
        t.speak("a", "That is mine!", "Why did you take it?")
    t.feels("b", "sorry", "{b.he} had taken the {x}")
    t.say(
        "{b} was sorry that {b.he} had taken the {x}. A tear ran down {b.his} nose.",
        "{b} looked down at the ground. {b.he} was sorry.",
    )
    t.speak(
        "b",
        "I have not eaten for two days, and I was so hungry.",
        "It smelled so good, and I was so hungry.",
        "I was hungry, and I had nothing to eat.",
        reply=True,
    )
    t.ask("Why did {b} take the {x}?", "{b} took the {x} because {b.he} was hungry.", "hungry", "why")
    t.finds("b", "x", "p")
    t.say(
        "when {a} heard that, {a.he} was not angry any more.",
        "{a} looked at {b.him}. {b.he} was very thin. All at once {a.his} anger was gone.",
    )
    t.speak(
        "a", "Then let us eat it together. But next time, just ask.", "You should have asked me. Come, there is enough for two."
    )
    t.say(
        "so they shared the {x}, down to the last crumb.",
        "they cut the {x} into two halves, and it tasted twice as good.",
    )
    if t.has_time():
        t.say(
            "the next day {b} came back to help {a} bake another one.",
            "after that, {a} always baked for two.",
        )
    t.close(probability=0.4)


@schema("the untidy room")
def the_untidy_room(t):
    t.hero()
    t.thing("x", "toy", "wear", "music", without=("rocking horse",))
    t.helper()
    t.open(
        "{a} never put anything away. {a.his} {a.home} was so untidy that you could not see the floor.",
        "{a.his} {a.home} was full of things. There were things on the bed and things under the bed.",
    )
    t.has("a", "x")
    t.loses("a", "x", "under a big pile")
    t.par()
    t.word(
        "place",
        "[right at the bottom of|under] the biggest pile",
        "[under|behind] the bed",
        "at the very back of the cupboard",
        "inside an old boot",
        "under a heap of socks",
    )
    t.say(
        "one day {a} wanted to play with {a.his} {x.full}, but {a.he} could not find it."
        if t.entities["x"].tags & {"toy", "music"}
        else "one day {a} wanted to put on {a.his} {x.full}, but {a.he} could not find it.",
        "one day {a} needed {a.his} {x.full}. But where was it?",
    )
    t.ask_colour("x")
    if t.has_time():
        t.say(
            "{a.he} pulled things out and threw them about, and it only got worse.",
            "{a.he} looked and looked. The more {a.he} looked, the bigger the muddle grew.",
        )
    if t.has_time():
        t.speak("a", "I will never find it!", "It has run away!", "Somebody has taken it!")
    t.feels("a", "cross", "{a.he} could not find {a.his} {x}")
    t.say("{a} was cross, and {a.he} stamped {a.his} foot.", "{a.he} was very cross.")
    t.par()
    t.say("{c.intro} looked in at the door.", "{c.intro} was passing by and heard {a.him}.")
    t.speak(
        "c",
        "Put away one thing at a time, and you will find it.",
        "A tidy place hides nothing. Put one thing after the other where it belongs.",
    )
    t.knows("c", "tidying finds things")
    t.tells("c", "tidying finds things", "a")
    t.say(
        "{a} sighed. {a.he} put one sock in the drawer. Then {a.he} put away a book, and then another.",
        "so {a} began. First {a.he} folded the clothes, then {a.he} picked up the toys.",
    )
    t.say(
        "bit by bit, the floor came back. And {place} lay the {x}!",
        "it took all afternoon. At the end, {place}, there was the {x}!",
    )
    t.ask("Where was the {x}?", "The {x} was {place}.", "{place}", "where")
    t.feels("a", "proud", "everything was tidy")
    t.say(
        "now everything was tidy, and {a} was proud. {a.he} put the {x} on a shelf of its own.",
        "everything was tidy now. {a} was proud, and {a.he} knew where the {x} belonged.",
    )
    t.ask("What did {a} learn?", "{a} learned that tidy things are easy to find.", "easy to find", "learned")
    t.say("{a} learned that tidy things are easy to find.", "that day {a} learned that tidy things are easy to find.")
    t.close(probability=0.35)


@schema("the floating thing", worlds="river sea farm village")
def the_floating_thing(t):
    t.hero()
    t.friend()
    t.thing("x", "floats")
    t.open()
    if t.setting.world == "sea":
        t.word("water", "sea")
    else:
        t.word("water", "stream", "pond", "brook")
    t.has("a", "x")
    t.ask_colour("x")
    t.say(
        "one morning {a} was playing at the edge of the {water} with {a.his} {x.full}.",
        "one warm day {a} took {a.his} {x.full} down to the {water}.",
    )
    t.word("p", "on the {water}")
    t.loses("a", "x", "p")
    t.par()
    t.say(
        "splash! It slipped out of {a.his} {a.hand} and floated away.",
        "{a.he} let go for just one moment, and the {water} carried the {x} away.",
    )
    if t.has_time():
        t.speak("a", "My {x}! It is floating away!", "Come back, {x}!")
    t.feels("a", "afraid", "{a.he} could not swim")
    t.say(
        "{a} could not swim, so {a.he} was afraid to go in.",
        "the {water} was deep. {a} was afraid to jump in, because {a.he} could not swim.",
    )
    t.say(
        "{b.friend} heard {a.him} and came at once.",
        "luckily {b.friend} was near.",
    )
    t.word("tool", "a long stick", "a long branch", "a fishing net", "an old rake")
    if t.has_time():
        t.speak(
            "b",
            "Do not go in! I have an idea.",
            "Stay where you are. We can do it without getting wet.",
            "Wait! The water is too deep.",
        )
    t.say(
        "{b} found {tool}, lay down on the bank and stretched as far as {b.he} could.",
        "{b.he} ran to get {tool}. Then {b.he} leaned over the edge, and {a} held {b.him} tight.",
    )
    t.say(
        "the first time, {b} missed. The second time, {b} caught the {x} and pulled it in.",
        "nearly, nearly! With one last stretch, {b} reached the {x} and pulled it back.",
    )
    t.world.finds("b", "x", "p")
    t.ask("How did {b} reach the {x}?", "{b} reached the {x} with {tool}.", "{tool}", "how")
    t.ask("Who pulled the {x} out of the water?", "{b} pulled the {x} out of the water.", "{b}", "who")
    t.gives("b", "x", "a", asks=False)
    t.par()
    if t.has_time():
        t.say("it was wet, but it was safe.", "it dripped a little, but nothing was broken.")
    t.speak("a", "You are the cleverest friend I have!", "Thank you, {b}! You saved it.", "Thank you! Will you teach me to swim?")
    if t.has_time():
        t.say(
            "after that they tied a string to the {x}, so that it could never float away again.",
            "that summer {b} taught {a.him} to swim, and {a} was never afraid of the {water} again.",
            "they played together all day, a little further away from the edge.",
        )
    t.close(probability=0.5)
