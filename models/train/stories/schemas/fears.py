"""Plots about being afraid and becoming braver."""

from . import schema


@schema("afraid of the dark")
def afraid_of_the_dark(t):
    t.hero()
    t.friend()
    t.thing("x", "lamp")
    t.open()
    t.feels("a", "afraid", "{a.he} did not like the dark")
    t.say(
        "all day long {a} was brave. But at night {a.he} was afraid, because {a.he} did not like the dark.",
        "{a} did not like the dark. As soon as the sun went down, {a.he} was afraid.",
    )
    t.par()
    t.word("noise", "tap, tap, tap", "scratch, scratch", "rustle, rustle", "creak, creak", "tick, tick, tick")
    t.say(
        "one night {a.he} lay awake and heard a noise. {noise}! It came from outside.",
        "one dark night {a} heard something. {noise}! {a.he} pulled the blanket over {a.his} head.",
    )
    if t.has_time():
        t.speak("a", "Who is there?", "There is a monster outside!", "Help! Something is coming!")
    t.say("{a} jumped up and ran next door to {b.friend}.", "{a} slipped out and woke {b.friend}.")
    t.has("b", "x")
    t.gives("b", "x", "a")
    t.say(
        "{b} did not laugh. {b.he} lit {x.a} and gave it to {a.him}.",
        "{b} listened and nodded. Then {b.he} gave {a} {x.a}.",
    )
    t.speak(
        "b",
        "Let us go and look. Things are smaller when you see them.",
        "Take this light. We will go together.",
        "I was afraid of the dark once. Come, I will show you something.",
    )
    t.par()
    cause = t.word(
        "cause",
        "a branch in the wind", "a hungry hedgehog", "a moth at the window", "an old garden gate", "a small grey mouse",
        "a loose shutter", "a leaf on the step", "a sleepy beetle",
    )  # fmt: skip
    t.say(
        f"they followed the noise, step by step. And what was it? It was only {cause}!",
        f"{{a}} held up the {{x}}. The noise came from {cause}. That was all!",
    )
    t.ask("What made the noise?", f"It was {cause}.", cause)
    if t.has_time():
        t.say("{a} had to laugh.", "{a} let out a deep breath.", "the two of them laughed so loudly that an owl flew up.")
    t.say(
        "then {b} put out the light for a moment. Above them were more stars than {a} had ever seen.",
        "{b} pointed up. The sky was full of stars.",
    )
    if t.has_time():
        t.speak(
            "b",
            "You see? Without the dark there are no stars.",
            "The dark is only a big blanket.",
            "All this is here because it is dark.",
        )
    t.say(
        "{a} kept the {x} by {a.his} bed. But {a.he} did not need it very often.",
        "from that night on, {a} was not afraid any more.",
    )
    t.close(probability=0.4)


@schema("learning to swim", worlds="river sea")
def learning_to_swim(t):
    t.hero()
    t.friend()
    t.feels("a", "afraid", "{a.he} had once fallen into deep water")
    t.open(
        "everyone could swim, only {a} could not. {a.he} had once fallen into deep water, and since then {a.he} was afraid of it.",
        "{a} never went into the water. {a.he} was afraid, because {a.he} had once fallen into deep water.",
    )
    t.par()
    if t.has_time():
        t.say(
            "when the others splashed about, {a} sat on the bank and watched.",
            "the others dived and laughed, and {a} stayed behind.",
        )
    t.say("{b.friend} sat down beside {a.him}.", "one day {b.friend} came to sit with {a.him}.")
    t.speak(
        "b", "Would you like to learn? I will stay with you.", "We can begin with one toe.", "I could teach you, if you like."
    )
    t.ask("Who taught {a} to swim?", "{b} taught {a} to swim.", "{b}", "who")
    t.speak("a", "What if I sink?", "But the water is so deep!", "I am too scared.", reply=True)
    if t.has_time():
        t.speak("b", "I will hold you until you tell me to let go.", "We will stay where you can stand.", reply=True)
    t.par()
    t.say(
        "on the first day {a} put in one foot. On the second day {a.he} went in up to {a.his} knees.",
        "first they only stood in the water. Then they blew bubbles.",
    )
    t.say("on the third day {a.he} lay on the water, and {b} held {a.him}.", "then {b} held {a.him} while {a.he} kicked.")
    if t.has_time():
        t.speak("b", "Kick! Breathe! Kick! Breathe!", "That is good! Again!")
    t.say(
        "{a} kicked and kicked. Then {a.he} looked round. {b} had let go! {a.he} was swimming all alone.",
        "suddenly {a} noticed that {b} was standing far away. {a.he} was swimming by {a.himself}!",
    )
    if t.has_time():
        t.speak("a", "Look at me! I can swim!", "I am swimming!")
    t.feels("a", "proud", "{a.he} could swim")
    t.say("{a} was proud that {a.he} could swim at last.", "{a.he} could swim, and {a.he} was very proud.")
    t.word(
        "reward", "a smooth white stone", "a crown of reeds", "a shell necklace", "a big round of applause", "a slice of melon"
    )
    t.say("and {b} gave {a.him} {reward}.", "to celebrate, {b} gave {a.him} {reward}.")
    t.ask("What did {b} give to {a}?", "{b} gave {a} {reward}.", "{reward}", "gave what")
    t.close(probability=0.5)


@schema("the thunderstorm")
def the_thunderstorm(t):
    t.hero()
    t.friend()
    t.open()
    t.par()
    t.say(
        "one evening black clouds came over {s.the}. It grew dark, and the wind began to howl.",
        "one night there was a great storm. Lightning lit up the sky, and the thunder rolled.",
    )
    if t.has_time():
        t.say("boom! {a} crept under the blanket.", "crash! {a} jumped and hid in the corner.")
    t.feels("a", "afraid", "the thunder was so loud")
    t.say("the thunder was so loud that {a} was afraid.", "{a} was afraid because the thunder was so loud.")
    t.par()
    t.say(
        "then there was a knock at the door. Outside stood {b.intro}, wet to the skin.",
        "suddenly somebody knocked. It was {b.intro}, dripping with rain.",
    )
    t.feels("b", "cold", "{b.he} had been out in the rain")
    t.ask("Who knocked at the door?", "{b} knocked at the door.", "{b}", "who")
    plea, offer = t.rng.choice(
        [
            ("Please let me in. My house has lost its roof.", "Stay with me until your house is mended."),
            ("May I come in? The wind has blown my house away.", "Stay with me, and we will build a new house together."),
            ("I have lost my way. May I stay here?", "Now I will show you the way home."),
            ("Let me in, please! I am so wet.", "You can come here whenever it rains."),
            ("Please open the door! I am so afraid of the lightning.", "I was afraid too, until you came."),
        ]
    )  # fmt: skip
    t.speak("b", plea)
    t.say(
        "{b} was cold because {b.he} had been out in the rain. {a} forgot {a.his} own fear.",
        "{a} saw how cold {b} was. {b.he} had been out in the rain for hours.",
    )
    t.word(
        "warm",
        "a dry blanket and hot milk",
        "a bowl of soup",
        "a warm coat and some bread",
        "a cup of hot tea",
        "a place by the fire",
    )
    t.say("{a.he} gave {b.him} {warm}.", "quickly {a} gave {b} {warm}.")
    t.ask("What did {a} give to {b}?", "{a} gave {b} {warm}.", "{warm}", "gave what")
    game = t.word(
        "game",
        "counted the seconds after each flash",
        "sang louder than the thunder",
        "gave every thunder a funny name",
        "told each other stories",
        "built a tent out of blankets",
        "played cards",
    )
    if t.has_time():
        t.speak(
            "b",
            "Are you afraid too? I know what we can do.",
            "Do you know what I do when it thunders?",
            "Two are braver than one.",
        )
    t.say(f"so they sat close together and {game}.", f"then the two of them {game}.")
    t.ask("What did they do during the storm?", f"They {game}.", game)
    t.par()
    if t.has_time():
        t.say("they did not even notice when the storm was over.", "little by little the thunder went away.")
    t.say("in the morning the sun was shining, and everything smelled fresh.", "when they woke up, a rainbow stood over {s.the}.")
    t.speak("a", offer, offer, "I am glad that you knocked.")
    t.close(probability=0.6)


@schema("the frightening shadow")
def the_frightening_shadow(t):
    t.hero()
    t.friend()
    t.spot(seat=True)
    t.open()
    t.par()
    t.say(
        "one evening {a} was on {a.his} way home. Suddenly {a.he} saw something big and black {p}.",
        "the sun was low when {a} came home. There, {p}, stood something huge and dark.",
    )
    t.ask("Where did {a} see the shadow?", "{a} saw the shadow {p}.", "{p}", "where")
    t.say(
        "it had long ears and long legs. When {a} moved, it moved too.",
        "it had a giant head. When {a} lifted {a.his} {a.hand}, it lifted one too.",
    )
    if t.has_time():
        t.speak("a", "A giant! A giant is after me!", "Go away, monster!", "Help! It is following me!")
    if t.has_time():
        t.say("{a} ran, and the thing ran after {a.him}.", "{a} turned and ran as fast as {a.he} could. The thing came along.")
    t.feels("a", "scared", "{a.he} thought that a monster was behind {a.him}")
    t.say(
        "{a} was scared. {a.he} thought that a monster was behind {a.him}.",
        "{a.he} thought that a monster was behind {a.him}, and {a.he} was too scared to look.",
    )
    t.par()
    t.say("then {a.he} ran right into {b.friend}.", "at the corner stood {b.friend}. {a} nearly knocked {b.him} over.")
    t.speak("b", "Why are you running like that?", "What is wrong? You are shaking!")
    t.speak("a", "There is a monster behind me!", "Do you not see it? There, on the ground!", reply=True)
    if t.has_time():
        t.say("{b} looked, and {b.he} began to laugh.", "{b} looked along the path and smiled.")
    t.speak(
        "b",
        "That is your own shadow! Look, I have one too.",
        "It is only your shadow. The evening sun makes it long.",
        reply=True,
    )
    t.ask("What was the monster really?", "It was {a.s} own shadow.", "shadow")
    t.ask("Who told {a} that it was only a shadow?", "{b} told {a}.", "{b}", "who")
    t.say(
        "{b} waved, and {b.his} shadow waved back.", "{b} made a bird with {b.his} {b.hand}, and its shadow flew over the wall."
    )
    if t.has_time():
        t.say("{a} tried it. The monster waved back!", "carefully {a} lifted one foot. The shadow did the same.")
    t.say(
        "until the sun was gone, they made rabbits and birds and dragons on the wall.",
        "they played with their shadows until the sun went down.",
    )
    if t.has_time():
        t.say(
            "when it was dark, the shadow was gone, and {a} almost missed it.",
            "{a} waved good night to {a.his} new friend, the shadow.",
        )
    t.close(probability=0.3)


@schema("too shy to sing")
def too_shy_to_sing(t):
    t.hero()
    t.friend()
    t.thing("x", "music")
    t.open(
        "{a.he} had the sweetest voice you ever heard, but {a.he} only sang when {a.he} was alone.",
        "{a.he} loved to sing, but only when nobody could hear {a.him}.",
    )
    t.par()
    t.say("{day}, {b.friend} came by and heard {a.him}.", "{b.friend} often listened behind the hedge.")
    t.speak("b", "How well you sing! Will you sing at the summer feast?", "You must sing for everyone on Saturday!")
    t.feels("a", "shy", "{a.he} thought that everyone would laugh")
    t.say(
        "{a} turned red. {a.he} was shy and thought that everyone would laugh.",
        "{a} shook {a.his} head. {a.he} thought that everyone would laugh, and {a.he} was too shy.",
    )
    t.speak("a", "Oh no, I could never do that.", "My knees would shake.", reply=True)
    t.has("b", "x")
    if t.has_time():
        t.speak("b", "I will stand beside you and play.", "Then look only at me, and forget the others.", reply=True)
    t.par()
    t.say(
        "on the evening of the feast everyone was there. {a.s} heart was beating fast.",
        "the feast began, and the lamps were lit. {a} stood there and could not make a sound.",
    )
    t.say("then {b} began to play {b.his} {x.full}, very softly.", "{b} lifted {b.his} {x.full} and played the first notes.")
    t.ask("What did {b} play?", "{b} played the {x}.", "{x}")
    t.say("{a} looked at {b}, closed {a.his} eyes and sang.", "{a} took a deep breath. And then {a.he} sang.")
    song = t.word(
        "song",
        "the moon",
        "the sea",
        "a summer night",
        "the first snow",
        "a long road",
        "a little star",
        "the spring",
        "two old friends",
    )
    t.say(
        f"{{a.he}} sang about {song}, and it was so quiet that you could hear the leaves.",
        f"it was a song about {song}. Nobody laughed. Nobody even moved.",
    )
    t.ask("What did {a} sing about?", f"{{a}} sang about {song}.", song)
    if t.has_time():
        t.say("when it was over, they clapped and clapped.", "at the end everyone jumped up and cheered.")
    t.feels("a", "happy", "everyone had liked {a.his} song")
    t.say("everyone had liked {a.his} song, and {a} was happy.", "{a} was happy that everyone had liked {a.his} song.")
    if t.has_time():
        t.speak("b", "I told you so!", "Shall we do it again tomorrow?", "Now you are not shy any more.")
    t.close(probability=0.5)


@schema("a strange noise at night")
def a_strange_noise_at_night(t):
    t.hero()
    t.spot(seat=True)
    t.named_thing(
        "x",
        *t.rng.choice(
            [
                ("basket", "old"),
                ("box", "wooden"),
                ("hat", "straw"),
                ("bucket", "tin"),
                ("sack", "brown"),
                ("boot", "old"),
                ("bag", "leather"),
                ("flowerpot", "broken"),
                ("wheelbarrow", "old"),
                ("crate", "wooden"),
            ]
        ),
    )
    t.open()
    t.par()
    sound = t.word("sound", "mew, mew", "peep, peep", "squeak, squeak", "whimper, whimper")
    baby = {"mew, mew": "kitten", "peep, peep": "baby bird", "squeak, squeak": "baby mouse", "whimper, whimper": "puppy"}[sound]
    if t.entities["a"].kind == baby:
        sound, baby = t.word("sound", "peep, peep"), "baby bird"
    t.word("baby", baby)
    t.say(
        "one cold night {a} heard a sound. {sound}! {a.he} sat up and listened.",
        "in the middle of the night {a} woke up. {sound}! What could that be?",
    )
    t.say(
        "{a.he} wanted to stay in bed. But the sound came again, and it sounded so sad.",
        "at first {a} hid under the blanket. But somebody out there was crying.",
    )
    if t.has_time():
        t.speak("a", "Somebody needs help.", "I must go and see.", "I am afraid, but I will go.", how="whispered")
    t.say("{a.he} opened the door and went out into the dark.", "with shaking knees {a.he} went outside.")
    t.par()
    t.say(
        "the sound came from {x.an} that lay {p}. {a} looked inside. There was a tiny {baby}!",
        "{p} lay {x.an}. {a} bent down. Inside sat a tiny {baby}!",
    )
    t.ask("What did {a} find?", "{a} found a {baby}.", "{baby}")
    t.ask("Where was the {baby}?", "The {baby} was in {x.an} {p}.", "{p}", "where")
    if t.has_time():
        t.say(
            "the {baby} was cold and alone. {a} was not afraid any more.",
            "it was cold and all alone, and it shook from head to tail.",
        )
    if t.has_time():
        t.speak(
            "a", "Do not cry. I will keep you warm.", "You poor little thing! Come with me.", "Come in. There is room for two."
        )
    t.word("food", "some warm milk", "a bit of bread", "some porridge", "a little soup")
    t.say("{a} took it home and gave it {food}.", "{a.he} wrapped it up, carried it in and gave it {food}.")
    t.ask("What did {a} give to the {baby}?", "{a} gave it {food}.", "{food}", "gave what")
    t.par()
    t.say(
        "in the morning they found its mother, who had looked for it all night.",
        "when the sun came up, its mother came over the wall. She had searched everywhere.",
    )
    t.say('"Thank you for being so brave," said the mother.', '"You saved my child," said the mother. "Thank you!"')
    t.speak("a", "I was not brave. I was scared all the time.", "But I was afraid!", reply=True)
    t.say('"That is what being brave means," said the mother.', '"You were afraid, and you came all the same," said the mother.')
    t.close(probability=0.5)
