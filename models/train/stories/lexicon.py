"""Who and what may appear in a story: names, animals, things, places, each with what the stories must know of it.

Tables only. How a word is inflected or introduced is in `characters.py` and `things.py`.
"""

GIRLS = """Mia Anna Ella Nora Clara Lucy Emma Sophie Alice Ruth Ida Maya Zoe Leah Nina Tess Molly Sara Greta Elsa Julia
Amy Kate Rosa Lena Eva Grace Maria Hannah Lily Bella Ruby Flora Stella Naomi Priya Amina Yuki Ingrid Freya Lola Martha
Polly Sally Betty Edith Agnes Meera Leila Fatima Tamar Chloe Carmen Helen Irene""".split()

BOYS = """Ben Tom Max Leo Sam Finn Noah Jack Oliver Henry Theo Hugo Felix Oscar Peter Paul Daniel Adam David Luke Emil
Anton Jonas Otto Karl Erik Lars Nils Omar Ali Hassan Ravi Arjun Kenji Diego Pablo Marco Luis Milo Simon Toby Harry Fred
George Edward Albert Arthur Walter Samuel Jacob Isaac Elias Ivan Rufus Victor""".split()

ANIMAL_NAMES_SHE = """Poppy Hazel Tilly Bramble Willow Pippa Mopsy Clover Fern Dilly Hetty Nutmeg Pebbles Tansy Bluebell
Minnie Posy Biscuit Maple Cinders Dotty Flossie Ginger Juniper Kiki Lulu Mimi Nellie Olive Tippy Velvet Winnie Yara Zuzu
Bonnie""".split()

ANIMAL_NAMES_HE = """Pip Rusty Bruno Barnaby Scamper Chester Dusty Fergus Gus Hamish Jasper Monty Nibbles Patch Quill Rocco
Rollo Smudge Sorrel Tumble Tuft Waffles Whiskers Wilbur Bobbin Bertie Buster Digby Dexter Figaro Jolly Mungo Ozzie Pogo
Thistle""".split()

# kind: worlds it lives in; colours; what it holds things with; its home.
HERO_KINDS = """
fox: forest meadow; red brown; paw; den
rabbit: forest meadow garden; white grey brown; paw; burrow
mouse: forest farm meadow garden; grey brown white; paw; hole
bear: forest; brown black; paw; cave
hedgehog: forest garden meadow; brown; paw; nest
squirrel: forest garden; red grey; paw; nest
badger: forest; grey; paw; sett
mole: forest meadow garden; black; paw; tunnel
raccoon: forest; grey; paw; den
wolf: forest; grey black; paw; den
hare: meadow forest; brown grey; paw; nest
chipmunk: forest; brown; paw; hole
fawn: forest meadow; brown; hoof; thicket
otter: river; brown; paw; den
beaver: river; brown; paw; lodge
frog: river; green; hand; puddle
toad: river garden; brown; hand; hole
duckling: river farm; yellow brown; wing; nest
gosling: river farm; grey yellow; wing; nest
turtle: river; green; foot; hollow
lamb: farm meadow; white black; hoof; barn
goat: farm hills; white brown; hoof; shed
piglet: farm; pink; hoof; sty
pony: farm meadow; brown grey white; hoof; stable
donkey: farm hills; grey brown; hoof; stable
calf: farm; brown white; hoof; barn
foal: farm meadow; brown black; hoof; stable
chick: farm; yellow; wing; nest
puppy: farm village; brown black white; paw; basket
kitten: farm village; grey white black; paw; basket
cat: village farm; black grey white; paw; basket
dog: village farm; brown black; paw; kennel
hamster: village; brown white; paw; nest
monkey: jungle; brown; hand; tree
elephant: jungle; grey; foot; clearing
tiger: jungle; orange; paw; den
lion: jungle; golden; paw; den
panda: jungle; black-and-white; paw; thicket
giraffe: jungle; spotted; hoof; clearing
zebra: jungle; striped; hoof; clearing
hippo: jungle; grey; foot; pool
koala: jungle; grey; paw; tree
lizard: jungle; green; foot; hole
camel: desert; brown; hoof; tent
jackal: desert; brown grey; paw; den
tortoise: desert; brown green; foot; hollow
penguin: snow; black; wing; nest
reindeer: snow; brown; hoof; shelter
husky: snow; grey white; paw; kennel
"""

# Animals that only help or drop in: many of them fly.
HELPER_KINDS = """
owl: forest; brown grey
robin: forest garden; red
crow: meadow farm hills; black
woodpecker: forest; green
sparrow: village garden farm; brown
magpie: meadow village; black
heron: river; grey
swan: river; white
goose: farm river; white grey
hen: farm; brown white
rooster: farm; red
seagull: sea; white grey
pelican: sea; white
crab: sea; red
parrot: jungle; green blue
toucan: jungle; black
swallow: hills farm; blue
eagle: hills desert; brown
stork: river; white
raven: snow; black
"""

# People, and where one meets them.
HELPER_PEOPLE = """
baker: village; he she
gardener: garden village; he she
shepherd: hills meadow; he she
fisherman: sea; he
farmer: farm; he she
painter: village; he she
sailor: sea; he she
miller: river farm; he she
clockmaker: village; he she
postman: village; he
teacher: village; she he
woodcutter: forest; he she
tailor: village; he she
beekeeper: meadow garden; she he
potter: village hills; she he
traveller: desert hills; he she
"""

# world: settings as `adjectives | place`; what it is full of; spots where a thing may lie. Nobody can sit at one marked `!`.
WORLDS = {
    "forest": {
        "settings": "quiet deep green old | forest; sunny dark leafy | wood; misty green hidden | valley",
        "detail": "tall trees; soft moss; birdsong; ferns and mushrooms",
        "spots": """under the old oak tree; ! behind a mossy log; beside the stream; ! in a hollow tree; ! under a pile of leaves;
            near the blackberry bushes; on a flat grey rock; between two tall ferns; at the foot of a pine tree; next to a ring of
            mushrooms; in the long grass; by the waterfall; ! under a hazel bush; beside a fallen branch; ! near the beehive""",
    },
    "meadow": {
        "settings": "wide sunny flowery grassy | meadow; green sunny | field; small green | hollow",
        "detail": "daisies; bees and butterflies; tall grass; warm sunshine",
        "spots": """among the daisies; beside the stone wall; under the apple tree; ! in the tall grass; behind the haystack; near the
            wooden gate; at the edge of the pond; ! under a clump of clover; ! next to a molehill; by the scarecrow; on a tree stump;
            ! under the hedge; between the poppies""",
    },
    "river": {
        "settings": "slow wide clear winding | river; small round deep | pond; calm blue | lake",
        "detail": "reeds; water lilies; silver fish; smooth stones",
        "spots": """among the reeds; under the wooden bridge; on a smooth stone; beside the water lilies; behind the willow tree; at
            the edge of the water; ! in the muddy bank; next to the old rowing boat; under a big leaf; near the stepping stones; by
            the mill wheel; on a sandy island""",
    },
    "farm": {
        "settings": "small busy sunny big | farm; old friendly | farmyard; pretty | orchard",
        "detail": "hay and sunshine; clucking hens; apple trees; happy noises",
        "spots": """behind the barn; ! under the hay; next to the well; in the stable; beside the hen house; ! under the cart; near the
            duck pond; in the vegetable patch; ! on the fence post; ! behind the milk churn; ! by the pigsty; ! in the wheelbarrow; under
            the plum tree""",
    },
    "village": {
        "settings": "small cosy friendly pretty | village; busy little | town; narrow sunny | street",
        "detail": "crooked houses; red roofs; little shops; flower boxes",
        "spots": """under the bench; behind the bakery; next to the fountain; beside the church; in the market square; on the garden
            wall; under the bridge; near the school gate; on the doorstep; behind the post office; ! in the flower bed; ! under the
            kitchen table; by the lamp post; ! on the window sill""",
    },
    "sea": {
        "settings": "sandy windy rocky | beach; little fishing old | harbour; sunny far small | island",
        "detail": "white gulls; salty wind; little boats; shells and seaweed",
        "spots": """! in a rock pool; under the pier; beside the lighthouse; behind a sand dune; next to a fishing boat; ! under a pile of
            seaweed; on a high rock; in a small cave; near the harbour wall; ! among the fishing nets; by the boat shed; ! beneath an
            old anchor""",
    },
    "hills": {
        "settings": "high green windy | hill; steep snowy blue | mountain; narrow rocky | valley",
        "detail": "goats and sheep; fresh wind; purple heather; winding paths",
        "spots": """behind a big rock; beside the spring; ! in the heather; ! under a thorn bush; next to the shepherd's hut; at the
            bottom of a slope; near the stone bridge; ! in a narrow crack; ! on a ledge; by the signpost; under the lonely pine""",
    },
    "garden": {
        "settings": "large sunny secret wild | garden; old leafy | park; quiet | courtyard",
        "detail": "roses and bees; cabbages and beans; winding paths; bright flowers",
        "spots": """! behind the flowerpots; ! under the rose bush; beside the shed; ! in the strawberry bed; next to the sundial; ! under a
            cabbage leaf; ! near the compost heap; ! among the tulips; on the garden bench; behind the greenhouse; by the bird bath;
            under the pear tree; ! in the watering can""",
    },
    "jungle": {
        "settings": "warm green thick | jungle; hot sunny wide | grassland; steamy | rainforest",
        "detail": "huge leaves; bright birds; long vines; strange flowers",
        "spots": """under a banana leaf; beside the waterhole; behind a fig tree; ! among the vines; on a warm rock; ! next to an anthill;
            ! in the bamboo; near the rope bridge; at the foot of a palm tree; under a giant fern; by the muddy river; ! in a hollow
            trunk""",
    },
    "desert": {
        "settings": "wide golden hot | desert; dusty quiet | plain",
        "detail": "golden sand; starry nights; round cactuses; warm wind",
        "spots": """behind a sand dune; beside the well; under a palm tree; ! next to a round cactus; in the shade of a rock; near the
            striped tent; by the old wall; ! in the dry riverbed; under the date tree; ! at the end of the camel track""",
    },
    "snow": {
        "settings": "cold white quiet | land of snow; frozen snowy | bay; snowy northern | village",
        "detail": "snow and stars; sparkling ice; frosty air; tall snowdrifts",
        "spots": """behind a snowdrift; under the frozen waterfall; beside the sledge; on the ice; next to a snowman; in an ice cave;
            near the fir tree; ! under a heap of snow; by the wood pile; at the edge of the frozen lake; behind the log cabin""",
    },
}

# Where children live; everywhere else the heroes are animals.
CHILD_WORLDS = "village farm sea hills snow desert".split()

# noun: tags; adjectives (C stands for the colours, see COLOURS).
THINGS = """
ball: toy small round floats; C
kite: toy flies cloth; C
balloon: toy flies light; C
drum: toy music; C wooden
spinning top: toy small; C wooden
doll: toy small cloth; rag wooden
puppet: toy cloth; wooden funny
wagon: toy big wheels; C wooden
toy boat: toy floats small; C wooden
hoop: toy round; C wooden
yo-yo: toy small; C
toy train: toy small wheels; C wooden
rocking horse: toy big; wooden white
scooter: toy big wheels; C
sledge: toy big; C wooden
puzzle: toy; wooden
marble: toy small round; C glass
paper boat: toy floats light small; white C
toy soldier: toy small; tin wooden
skipping rope: toy; long C
whistle: music small; tin silver wooden
flute: music small; wooden silver
horn: music; brass
trumpet: music; brass shiny
violin: music; old brown
guitar: music; old brown
bell: music small; brass silver little
harp: music; golden small
tambourine: music; round C
music box: music gift; little painted
mouth organ: music small; silver
hat: wear cloth light small; C straw
scarf: wear cloth light; C striped woollen
cap: wear cloth light small; C woollen
coat: wear cloth; C warm
mitten: wear cloth small; C woollen
glove: wear cloth small; C warm
boot: wear small; C leather
shoe: wear small; C leather
sock: wear cloth small; C striped
cape: wear cloth; C long
ribbon: wear cloth light small gift; C silk
button: wear small round; C shiny
apron: wear cloth; C clean
belt: wear; leather
necklace: wear small treasure gift; golden silver
ring: wear small treasure; golden silver
crown: wear treasure; golden silver
sweater: wear cloth; C woollen
shawl: wear cloth; C woollen
bonnet: wear cloth light; C
slipper: wear cloth small; C soft
backpack: wear cloth; C
purse: wear small; C leather
bracelet: wear small treasure gift; silver golden
brooch: wear small treasure; silver
handkerchief: cloth light small; white C
feather: light small nature; white blue grey
lantern: tool lamp gift; C brass
lamp: tool lamp; brass little
candle: lamp small; white yellow
basket: tool carrier; round brown
bucket: tool carrier; C tin
key: small treasure; silver rusty golden little
map: treasure light; old
book: gift; C old thick
notebook: small gift; C
pencil: small; C
paintbrush: small tool; C thin
crayon: small; C
ladder: tool big; wooden long
broom: tool; wooden
spade: tool; C small
rope: tool; long strong
umbrella: tool; C striped big
teapot: breaks; C china
cup: breaks small; C china
mug: breaks small gift; C
plate: breaks round; C china
bowl: breaks round; C wooden
jug: breaks carrier; C
jar: breaks small; glass
bottle: breaks small floats; green glass
box: carrier; wooden tin
chest: big treasure; old wooden
bag: carrier cloth; C leather
sack: carrier cloth; brown
blanket: cloth gift; C warm soft
pillow: cloth; soft white
quilt: cloth gift; patchwork
rug: cloth; woollen C
clock: breaks; old little
watch: small treasure; silver golden
telescope: tool treasure; brass long
compass: tool small treasure; brass little
mirror: breaks; round silver
comb: small; wooden silver
hammer: tool; heavy
wheel: big; wooden
cart: big wheels; wooden C
wheelbarrow: tool big wheels; C old
kettle: tool; copper
pan: tool; copper iron
spoon: small; wooden silver
ladle: tool; wooden
tray: tool; round wooden
vase: breaks gift; C glass
stool: big; wooden
chair: big; wooden C
magnifying glass: tool small; round
fishing rod: tool; long
fishing net: tool; big
tent: big cloth; C
flag: cloth light; C
coin: small treasure round; golden silver copper
letter: light; long
postcard: light; pretty
picture: gift light; C pretty
birdhouse: gift; C wooden
watering can: tool carrier; C
flowerpot: breaks; C
tea towel: cloth light; striped
cushion: cloth gift; C soft
snow globe: breaks gift; glass
pocket knife: tool small; little
hourglass: breaks; little
globe: round gift; big
medal: treasure small; golden
apple: food small round; red green
pear: food small; green yellow
plum: food small round; purple ripe
peach: food small round; ripe
lemon: food small; yellow
banana: food; ripe
carrot: food; orange crunchy
pumpkin: food big round; orange huge
turnip: food round; white huge
apple pie: food baked; warm big
berry pie: food baked; warm sweet
honey cake: food baked gift; round sweet
carrot cake: food baked gift; big
plum cake: food baked gift; round
bun: food small baked; sweet warm
muffin: food small baked; sweet
pancake: food baked; golden warm
biscuit: food small baked; round sweet
loaf of bread: food baked; warm fresh
jar of jam: food gift; big
pot of honey: food gift; little golden
piece of cheese: food; big yellow
sandwich: food; big
strawberry tart: food baked; little
waffle: food baked; warm
pot of soup: food; hot
egg: food small breaks; brown white
walnut: food small nature; big
acorn: food small nature; round
chestnut: food small nature; shiny
cabbage: food round; big green
melon: food round big; ripe green
bag of nuts: food; big
shell: nature small treasure; pink white
pebble: nature small round; smooth white
stone: nature small; round
pine cone: nature small; brown
rose: nature flower gift; red white yellow
tulip: nature flower gift; red yellow
sunflower: nature flower; tall
daffodil: nature flower gift; yellow
bunch of flowers: nature flower gift; pretty
stick: nature; long straight
crystal: nature treasure small; clear blue
pearl: treasure small round; white
four-leaf clover: nature treasure small; green
starfish: nature small; red
leaf: nature light small; golden red
conker: nature small round; shiny
seedling: nature; tiny
"""

COLOURS = "red blue green yellow purple orange white pink".split()

# Neutral enough to contradict no plot.
ADJECTIVES = "little small young cheerful curious kind gentle clever lively merry".split()
HELPER_ADJECTIVES = "old wise friendly kind busy cheerful".split()
