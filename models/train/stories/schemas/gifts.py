"""Plots about wishes, presents and feasts."""

from . import schema


@schema("a wish upon a star")
def a_wish_upon_a_star(t):
    t.hero()
    t.thing("x", "toy", "music", "wear", "treasure")
    t.friend()
    t.open()
    t.say(
        "there was one thing {a} wanted more than anything in the world: {x.a}.",
        "{a} had a wish. {a.he} wanted {x.a}.",
        "for a long time {a.he} had dreamed of {x.a}.",
    )
    t.ask("What did {a} want?", "{a} wanted {x.a}.", "{x}")
    t.ask_colour("x")
    t.par()
    t.say(
        "one clear night a star fell from the sky. {a} closed {a.his} eyes.",
        "one night {a} could not sleep. {a.he} looked up at the brightest star.",
    )
    t.speak("a", "Dear star, please bring me {x.a}.", "I wish for {x.a}.", how="whispered")
    t.say(
        "{a} did not know that {b.friend} was sitting in the dark and heard every word.",
        "{b.friend} was just on the way home and heard {a.him}.",
    )
    t.knows("b", "the wish")
    t.par()
    t.say(
        "the next day {b} began to work. {b.he} cut and glued and painted, and {b.he} told nobody."
        if "treasure" not in t.entities["x"].tags
        else "the next day {b} began to work. {b.he} swept floors and carried bags, and {b.he} saved every coin.",
        "{b} smiled. All week {b.he} was busy, and {b.he} would not say why.",
    )
    t.has("b", "x")
    t.say(
        "a week later, {a} found a parcel in front of {a.his} door. Inside was {x.a}!",
        "seven days later there was a knock at the door. Outside lay a parcel, and in the parcel was {x.a}.",
    )
    t.gives("b", "x", "a")
    t.feels("a", "happy", "{a.his} wish had come true")
    t.say(
        "{a} was happy. {a.his} wish had come true!",
        "{a.his} wish had come true, and {a} was so happy that {a.he} turned three somersaults.",
    )
    if t.has_time():
        t.speak("a", "The star heard me!", "Thank you, star!")
    if t.has_time():
        t.say(
            "behind the wall, {b} laughed softly.",
            "{b} only winked and said nothing.",
            "then {a} saw paint on {b.s} nose, and {a.he} understood."
            if "treasure" not in t.entities["x"].tags
            else "then {a} saw how tired {b} was, and {a.he} understood.",
        )
    t.close(
        "sometimes a friend is better than a star.",
        "some wishes are heard by stars, and some are heard by friends.",
        "{a} had a new {x}, but the best thing of all was {a.his} friend.",
        probability=0.9,
    )


@schema("the grateful fish", worlds="river sea farm village")
def the_grateful_fish(t):
    t.hero()
    t.thing("x", "treasure", "music", "gift")
    t.open("{a.he} was poor, but {a.he} had a good heart.", "{a.he} had never hurt even a fly.")
    t.par()
    fish = t.word("fish", "silver fish", "golden fish", "little blue fish", "fish with rainbow scales")
    t.word("trap", "in a net", "between two stones", "in an old bottle", "in the weeds")
    t.say(
        "{day}, {a} saw a {fish}. It was caught {trap} and could not get free.",
        "{day}, {a} heard something splash. A {fish} was stuck {trap}.",
    )
    t.ask("What did {a} find {trap}?", f"{{a}} found a {fish}.", "fish")
    if t.has_time():
        t.speak("a", "Hold still. I will help you.", "You poor thing! Wait a moment.")
    t.say(
        "with careful {a.hand}s {a.he} set it free, and the fish swam in a happy circle."
        if t.entities["a"].hand == "hand"
        else "carefully {a.he} set it free, and the fish swam in a happy circle.",
        "{a} worked until the fish was free. It jumped out of the water for joy.",
    )
    t.say(
        '"Thank you, {a}," said the fish. "You may have one wish."',
        'then the fish spoke. "You are kind," it said. "What do you wish for?"',
    )
    t.friend()
    t.say(
        "{a} thought for a long time. Then {a.he} thought of {b.friend}, who was ill in bed.",
        "there were many things that {a} wanted. But {b.friend} was ill in bed.",
    )
    t.speak("a", "Please make {b} well again.", "I wish that {b} may be well again.")
    t.ask("What did {a} wish for?", "{a} wished that {b} would be well again.", "well again", "wished")
    t.ask("Who was ill?", "{b} was ill.", "{b}", "who")
    t.par()
    t.say(
        "the fish nodded and dived. When {a} came home, {b} was standing at the door with red cheeks."
        if t.entities["b"].is_child
        else "the fish nodded and dived. When {a} came back, {b} was already jumping about.",
        "the water shone for a moment, and the fish was gone. {a} ran to {b}, and {b} was out of bed and laughing.",
    )
    t.feels("a", "glad", "{b} was well again")
    t.say("{b} was well again, and {a} was glad.", "{a} was so glad that {b} was well again.")
    t.spot("q")
    t.lies("x", "q")
    t.world.finds("a", "x", "q")
    t.say(
        "the next morning {a} found {x.a} {q}, still wet from the water. It was a present from the fish.",
        "and {q}, {a} found {x.a}. The fish had left it there for {a.him}.",
    )
    t.ask("What did {a} find in the end?", "{a} found {x.a}.", "{x}")
    t.ask("Where was the {x}?", "The {x} was {q}.", "{q}", "where")
    t.close(probability=0.5)


@schema("a surprise for a birthday")
def a_surprise_for_a_birthday(t):
    t.hero()
    t.friend()
    t.thing("x", "toy", "gift", "music", "wear")
    t.spot(seat=True)
    t.open()
    t.par()
    t.say(
        "{day}, {a} woke up early. It was {a.his} birthday!",
        "it was {a.s} birthday. {a.he} jumped out of bed before the sun was up.",
    )
    t.say(
        "{a.he} ran to {b.friend}. But {b} only said that {b.he} was busy and shut the door.",
        "{a.he} met {b.friend}. {b} said good morning, and that was all.",
    )
    if t.has_time():
        t.say(
            "nobody sang. Nobody gave {a.him} a present.",
            "nobody else said a word about it either.",
        )
    t.feels("a", "sad", "{a.he} thought that everyone had forgotten {a.his} birthday")
    t.say(
        "{a} thought that everyone had forgotten {a.his} birthday, and {a.he} was sad.",
        "{a} was sad. {a.he} thought that everyone had forgotten {a.his} birthday.",
    )
    t.say("{a.he} sat down {p} and sighed.", "{a.he} went off alone and sat {p}.")
    t.ask("Where did {a} sit?", "{a} sat {p}.", "{p}", "where")
    t.par()
    t.say("in the evening {b} came to fetch {a.him}.", "when it grew dark, {b} came running.")
    if t.has_time():
        t.speak("b", "Come quickly! I need your help.", "Come with me, and close your eyes.", "There you are! Follow me.")
    t.say(
        "they went round the corner, and suddenly there were lights everywhere.",
        "{b} led {a.him} along the path. Then {b.he} stopped.",
    )
    t.say('"Surprise!" cried all {a.s} friends.', '"Happy birthday, {a}!" they all shouted.')
    cake = t.word("cake", "cherry cake", "chocolate cake", "nut cake", "strawberry cake", "lemon cake", "cream cake")
    t.say(
        f"there was a big {cake} on the table, and paper lamps hung in the trees.",
        f"there was music, and there was a {cake} with candles on it.",
    )
    t.ask("What kind of cake was there?", f"There was a {cake}.", cake.split()[0])
    t.has("b", "x")
    t.gives("b", "x", "a")
    t.say("{b} gave {a} {x.a}.", "{b} had {x.a} for {a.him}, tied with a bow.")
    t.ask_colour("x")
    if t.has_time():
        t.speak(
            "b",
            "Did you really think we would forget you?",
            "It was so hard to keep the secret!",
            "I was busy because I was baking your cake.",
        )
    if t.has_time():
        t.say(
            "{a} laughed until {a.his} sides hurt.",
            "{a} could not stop smiling.",
            "{a} blew out the candles with one big puff.",
        )
    t.close()


@schema("a present made by hand")
def a_present_made_by_hand(t):
    t.hero()
    t.friend()
    t.open()
    item, stuff, action = t.rng.choice(
        [
            ("scarf", "red wool", "knitted"), ("basket", "willow twigs", "wove"), ("birdhouse", "old boards", "built"),
            ("necklace", "small shells", "threaded"), ("kite", "paper and string", "made"), ("doll", "straw and cloth", "made"),
            ("boat", "a piece of bark", "carved"), ("whistle", "a thin branch", "carved"), ("crown", "yellow flowers", "wove"),
            ("picture", "coloured leaves", "made"), ("drum", "an old tin", "made"), ("pillow", "soft feathers", "sewed"),
            ("candle", "beeswax", "made"), ("lantern", "coloured paper", "made"), ("bracelet", "blue beads", "threaded"),
        ]
    )  # fmt: skip
    t.named_thing("x", item)
    t.par()
    t.say(
        "soon it would be the birthday of {b.friend}. {a} looked into {a.his} purse. There was no money in it.",
        "{a} wanted to give {b.friend} something nice, but {a.he} had no money at all.",
    )
    t.ask("Why could {a} not buy a present?", "{a} could not buy a present because {a.he} had no money.", "money", "why")
    t.speak("a", "I cannot buy a present. What shall I do?", "How can I give something when I have nothing?")
    t.helper()
    t.say("{c.intro} smiled at {a.him}.", "{c.intro} heard that and came closer.")
    t.speak(
        "c",
        "The best presents are made, not bought.",
        "Then make something. You have two good hands." if t.entities["a"].hand == "hand" else "Then make something yourself.",
    )
    t.knows("c", "make it")
    t.tells("c", "make it", "a")
    if t.has_time():
        t.say(
            f"that was a good idea! {{a}} went out and gathered {stuff}."
            if stuff not in ("red wool", "soft feathers")
            else f"that was a good idea! {{a}} found {stuff} in a box.",
            f"so {{a}} looked around and found {stuff}.",
        )
    t.par()
    t.has("a", "x")
    t.say(
        f"all day {{a.he}} worked, and {{a.he}} {action} {{x.a}} out of {stuff}.",
        f"with {stuff}, {{a}} {action} {{x.a}}. It took {{a.him}} two whole days.",
        f"the first one fell apart. The second one was better. At last {{a}} had {action if action != 'wove' else 'woven'} {{x.a}} from {stuff}.",
    )
    t.ask("What did {a} make?", "{a} made {x.a}.", "{x}")
    t.ask("What was the {x} made of?", f"The {{x}} was made of {stuff}.", stuff)
    if t.has_time():
        t.say("it was a little crooked.", "it was not perfect, and {a} was not sure about it.")
    t.gives("a", "x", "b")
    t.say("on the birthday {a} gave {b} the {x}.", "with a beating heart {a} gave the {x} to {b}.")
    t.speak(
        "b",
        "You made this for me? It is the best present of all!",
        "Nobody else in the world has one like this!",
        "I will keep it for ever.",
    )
    t.feels("a", "proud", "{b} loved the {x}")
    t.say("{b} loved the {x}, and {a} was proud.", "{a} was proud because {b} loved the {x}.")
    t.close(probability=0.5)


@schema("a picnic in the rain", worlds="forest meadow farm hills garden river village")
def a_picnic_in_the_rain(t):
    t.hero()
    t.friend()
    t.thing("x", "baked")
    t.spot(seat=True)
    t.open()
    t.par()
    t.has("a", "x")
    t.word("drink", "lemonade", "apple juice", "milk", "cold tea", "berry juice")
    t.say(
        "{day}, {a} packed a basket with {x.a} and a bottle of {drink}. {a.he} wanted to have a picnic with {b.friend}.",
        "{a} and {b.friend} had planned a picnic. {a} brought {x.a}, and {b} brought a bottle of {drink}.",
    )
    t.ask("What was there to drink?", "There was {drink}.", "{drink}")
    t.ask("What was there to eat?", "There was {x.a}.", "{x}")
    t.say("they spread a blanket {p}.", "they found a nice place {p} and sat down.")
    t.ask("Where did they have the picnic?", "They had the picnic {p}.", "{p}", "where")
    t.say(
        "just then a big grey cloud came up. Drip, drop! Down came the rain.",
        "but before the first bite, it began to rain. Splish, splash!",
    )
    t.feels("b", "disappointed", "the rain had spoiled the picnic")
    t.say(
        "they grabbed everything and ran. {b} was disappointed because the rain had spoiled the picnic.",
        "the rain had spoiled the picnic, and {b} was disappointed.",
    )
    if t.has_time():
        t.speak("b", "Now it is all ruined!", "What a pity! Now we must go home.")
    t.par()
    roof = t.word("roof", "an old barn", "a small cave", "an empty hut", "a thick fir tree", "a big umbrella", "a wooden bridge")
    preposition = "under" if roof.split()[-1] in ("tree", "umbrella", "bridge") else "in"
    t.say(
        f"but {{a}} did not want to give up. {{a.he}} pulled {{b}} along, and they found shelter {preposition} {roof}.",
        f"{{a}} only laughed. A moment later they were sitting {preposition} {roof}.",
    )
    t.ask("Where did they find shelter?", f"They found shelter {preposition} {roof}.", roof, "where")
    if t.has_time():
        t.speak(
            "a", "Who says a picnic must be in the sun?", "Listen! The rain is making music for us.", "Look how cosy it is here!"
        )
    t.say(
        "they ate the {x}, drank the {drink} and told each other funny stories.",
        "the {x} was a bit wet, but it tasted wonderful.",
    )
    t.uses_up("a", "x")
    if t.has_time():
        t.say(
            "when the sun came out again, there was a rainbow over {s.the}.",
            "outside it poured, and inside they laughed.",
            "afterwards they jumped into every puddle on the way home.",
        )
    t.speak("b", "That was the best picnic ever.", "I hope it rains next time too!")
    t.close(probability=0.5)


@schema("the last piece")
def the_last_piece(t):
    t.hero()
    t.thing("x", "baked")
    t.friend()
    t.open()
    t.par()
    t.has("a", "x")
    t.say(
        "{a} had {x.a}, fresh from the oven. It smelled so good that {a.his} mouth watered.",
        "{day}, {a.mother} gave {a.him} {x.a}, and it smelled wonderful.",
    )
    t.say(
        "just as {a.he} wanted to take a bite, {b.friend} came along.",
        "before {a} could eat it, {b.friend} looked over the fence.",
    )
    t.speak("b", "That smells good! May I have a bit?", "I am so hungry. Will you give me a piece?")
    t.speak("a", "No, it is mine. I want to eat it all by myself.", "No! There is not enough for two.", reply=True)
    t.ask("What did {a} not want to share?", "{a} did not want to share the {x}.", "{x}")
    t.say("so {b} went away, and {a} ate the whole {x}.", "{b} walked off slowly. {a} ate up the {x}, every crumb.")
    t.uses_up("a", "x")
    if t.has_time():
        t.say(
            "soon {a.his} stomach hurt, and there was nobody to comfort {a.him}.",
            "it was too much. {a} got a stomach ache and lay down in the shade.",
        )
    t.par()
    t.thing("y", "food", without=("loaf of bread",))
    t.has("b", "y")
    t.say(
        "the next day {a} had nothing to eat at all. Then {b} came by with {y.a}.",
        "on the following day it was the other way round. {a} had nothing, and {b} had {y.a}.",
    )
    t.feels("a", "ashamed", "{a.he} had not shared with {b}")
    t.say(
        "{a} was ashamed because {a.he} had not shared. {a.he} did not dare to ask.",
        "{a} remembered that {a.he} had not shared with {b}, and {a.he} was ashamed.",
    )
    t.speak("b", "Come, sit down. There is enough for both of us.", "Half of it is for you.", "Are you hungry? Take some.")
    t.say("{b} shared the {y} with {a.him}.", "and {b} cut the {y} in two.")
    t.ask("What did {b} share with {a}?", "{b} shared the {y} with {a}.", "{y}")
    if t.has_time():
        t.speak("a", "You are kinder than I was. I am sorry.", "Why are you so kind to me, when I was not kind to you?")
        t.speak("b", "It tastes better when we eat together.", "One of us has to begin.", reply=True)
    t.ask("What did {a} learn?", "{a} learned that sharing makes everything taste better.", "sharing", "learned")
    t.say(
        "and {a} learned that sharing makes everything taste better.",
        "that day {a} learned that sharing makes everything taste better.",
    )
    t.close(probability=0.4)
