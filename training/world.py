"""The miniature's world: what exists, how a scene is composed and drawn, and how people caption it.

Everything that the models learn comes from the tables at the top of this file, of `icons.py` (things), `backdrops.py` and `words.py` (what changes
nothing). A scene is data (`Scene`), drawn by `render` and described by `caption`; both are functions of the scene and a random generator, so a
seed is a picture.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import backdrops
import icons
from words import ADJECTIVES, STYLES, VERBS, strange_words

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
SIZE = 128  # pixels, both ways
CELL = 8  # pixels of a latent cell
CELLS = SIZE // CELL

# word, plural, icon (code point). The benchmark's ten come first.
KINDS = [(name, {"fish": "fishes", "bus": "buses", "butterfly": "butterflies"}.get(name, name + ("es" if name.endswith("ch") else "s")), code)
         for name, (code, _) in icons.FILLS.items()]
# Other names of the kinds, plural behind the bar.
SYNONYMS = {
    "backpack": ("rucksack|rucksacks", "schoolbag|schoolbags"),
    "book": ("novel|novels", "notebook|notebooks"),
    "bottle": ("flask|flasks",),
    "bowl": ("dish|dishes",),
    "car": ("automobile|automobiles", "vehicle|vehicles", "taxi|taxis"),
    "cat": ("kitten|kittens", "kitty|kitties"),
    "chair": ("stool|stools", "seat|seats"),
    "cup": ("mug|mugs", "glass|glasses"),
    "dog": ("puppy|puppies", "hound|hounds"),
    "laptop": ("computer|computers",),
    "ball": ("football|footballs",),
    "bird": ("sparrow|sparrows", "robin|robins"),
    "flower": ("daisy|daisies", "blossom|blossoms"),
    "umbrella": ("parasol|parasols",),
    "tree": ("pine|pines", "fir|firs"),
    "house": ("cottage|cottages", "cabin|cabins", "home|homes"),
    "boat": ("ship|ships", "sailboat|sailboats"),
    "mushroom": ("toadstool|toadstools",),
    "clock": ("alarm clock|alarm clocks",),
    "rabbit": ("bunny|bunnies", "hare|hares"),
    "teapot": ("kettle|kettles",),
    "turtle": ("tortoise|tortoises",),
}

# word: middle, dark and light tone (RGB).
COLORS = {
    "red": ((222, 28, 34), (158, 8, 24), (255, 128, 120)),
    "orange": ((255, 134, 14), (214, 90, 0), (255, 194, 116)),
    "yellow": ((255, 214, 20), (222, 160, 0), (255, 241, 146)),
    "green": ((28, 150, 48), (10, 98, 32), (132, 214, 120)),
    "blue": ((36, 92, 235), (18, 50, 165), (130, 178, 255)),
    "purple": ((138, 58, 204), (92, 28, 148), (200, 152, 245)),
    "pink": ((255, 122, 186), (224, 70, 146), (255, 188, 218)),
    "brown": ((126, 72, 36), (82, 44, 18), (188, 138, 94)),
    "black": ((38, 38, 44), (12, 12, 16), (96, 96, 104)),
    "white": ((249, 250, 252), (202, 208, 220), (255, 255, 255)),
    "gray": ((138, 140, 146), (98, 100, 106), (190, 192, 198)),
}
COLOR_SYNONYMS = {"gray": ("grey",), "purple": ("violet",), "red": ("scarlet", "crimson"), "blue": ("navy",)}
COLOR_NAMES = list(COLORS)
NATURAL = -1  # the icon as it is

# two ways to say it after a noun ("on a beach") and as a scene ("a beach scene")
BACKGROUNDS = {
    "field": ("in a field", "on the grass", "field"),
    "beach": ("on a beach", "at the beach", "beach"),
    "snow": ("in the snow", "on snow", "snow"),
    "room": ("in a room", "indoors", "room"),
    "street": ("on a street", "on the road", "street"),
    "night": ("at night", "under the night sky", "night"),
    "ocean": ("in the ocean", "on the sea", "ocean"),
    "wall": ("in front of a wall", "against a plain wall", "wall"),
    "desert": ("in the desert", "on desert sand", "desert"),
    "forest": ("in a forest", "in the woods", "forest"),
    "mountain": ("in the mountains", "in front of mountains", "mountain"),
    "table": ("on a table", "on the table", "table"),
}
# Rarer ways.
WAYS = {
    "field": ("in a park", "in a garden", "on the lawn", "in a meadow", "outdoors", "in the grass", "on a green field"),
    "beach": ("on the sand", "by the sea", "on the beach", "on a sandy beach"),
    "snow": ("in winter", "on a snowy field", "in a snowy landscape"),
    "room": ("in a living room", "in the house", "on the floor", "in a kitchen", "in a bedroom"),
    "street": ("in a city", "in the street", "on a road", "in town"),
    "night": ("in the dark", "under the stars", "under a starry sky"),
    "ocean": ("on the water", "on a lake", "at sea", "in the water"),
    "wall": ("on a plain background", "on a white background", "in a studio"),
    "desert": ("on a dune", "in a desert"),
    "forest": ("among trees", "in the forest", "in a wood"),
    "mountain": ("on a mountain", "near the mountains", "in a valley"),
    "table": ("on a wooden table", "on a desk"),
}
BACKGROUND_NAMES = list(BACKGROUNDS)

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]

# What a negative prompt says. Scenes drawn badly carry these words, so that they mean something.
BAD_LOOK = ["artifacts", "blurry", "smooth texture", "bad quality", "distortions", "unrealistic", "distorted image",
            "bad proportions", "duplicate"]
BAD_CROWD = ["two", "many", "group", "occlusion", "occluded", "side", "border", "collate"]


@dataclass
class Thing:
    """One thing in a scene: `x`, `y` the centre of its square and `size` its side, the thing's longer side, in pixels. It stands on the square's lower edge."""

    kind: int
    color: int
    x: float
    y: float
    size: float
    flipped: bool = False
    raised: bool = False  # stands on another thing: drawn over it, without a shadow

    @property
    def bottom(self):
        return self.y + self.size / 2


@dataclass
class Scene:
    background: str
    things: list = field(default_factory=list)
    bad: list = field(default_factory=list)  # words of BAD_LOOK and BAD_CROWD; empty for a good picture
    seed: int = 0  # of the background
    relation: str = ""  # "on" or "behind": how the first thing stands to the second
    close: bool = False  # a close-up, and called so, lest single things fill whole pictures


# ---------------------------------------------------------------- drawing


def icon(kind, color, flipped=False):
    """The icon of a kind in one of the eleven colours or its own, cut to its edges: RGBA."""
    return icons.icon(CACHE, KINDS[kind][0], None if color == NATURAL else COLORS[COLOR_NAMES[color]], flipped)


@lru_cache(maxsize=20000)
def icon_at(kind, color, flipped, w, h):
    return icon(kind, color, flipped).resize((w, h), Image.LANCZOS, reducing_gap=3.0)


def render(scene):
    """The picture of a scene: (128, 128, 3) uint8."""
    rng = np.random.default_rng(scene.seed)
    canvas = Image.fromarray(np.ascontiguousarray(backdrops.draw(scene.background, scene.seed, SIZE, CELL, rng)))
    for _, thing in back_to_front(scene):
        w, h = sized(thing)
        if "bad proportions" in scene.bad:
            w, h = (w, max(4, h // 2)) if rng.random() < 0.5 else (max(4, w // 2), h)
        stamp(canvas, w, h, thing, not thing.raised and thing.bottom > horizon_of(scene))
    return spoil(canvas, scene.bad, rng) if scene.bad else np.asarray(canvas)


def back_to_front(scene):
    """Numbered things in the order in which they are drawn: what stands lower is nearer, what stands on something is nearer yet."""
    return sorted(enumerate(scene.things, 1), key=lambda pair: (pair[1].raised, pair[1].bottom))


def outlines(scene):
    """What can be seen of each thing of a good scene: (N, 128, 128) bool, a pixel belonging to the thing that covers at least half of it."""
    owner = Image.new("L", (SIZE, SIZE))
    for number, thing in back_to_front(scene):
        w, h = sized(thing)
        opaque = icon_at(thing.kind, thing.color, thing.flipped, w, h).getchannel("A").point(lambda alpha: 255 * (alpha >= 128))
        owner.paste(number, corner_of(thing, w, h), opaque)
    return np.asarray(owner) == np.arange(1, len(scene.things) + 1)[:, None, None]


def sized(thing):
    """Width and height in pixels that a thing is to have."""
    picture = icon(thing.kind, NATURAL)
    scale = thing.size / max(picture.size)
    return [max(4, round(v * scale)) for v in picture.size]


def corner_of(thing, w, h):
    return round(thing.x - w / 2), round(thing.bottom - h)


def stamp(canvas, w, h, thing, grounded):
    """Draws an icon in w × h pixels on the lower edge of its square, with a soft shadow where it touches the ground."""
    x, y = corner_of(thing, w, h)
    if grounded:
        mask = icons.contact_shadow(w)
        canvas.paste((20, 22, 40), (round(thing.x - mask.width / 2), round(y + h - 1 - mask.height / 2)), mask)
    picture = icon_at(thing.kind, thing.color, thing.flipped, w, h)
    canvas.paste(picture, (x, y), picture)


def drawn_box(thing):
    """Where `render` puts a thing: x0, y0, x1, y1 in proportions."""
    w, h = sized(thing)
    x, y = corner_of(thing, w, h)
    return [v / SIZE for v in (x, y, x + w, y + h)]


def horizon_of(scene):
    """The height in pixels where the ground of a scene begins; 0 where there is none."""
    return CELL * backdrops.ground_row(scene.background, scene.seed)


def spoil(canvas, bad, rng):
    """What the words of a negative prompt look like."""
    pixels = np.asarray(canvas, np.float32)
    if {"blurry", "smooth texture", "bad quality"} & set(bad):
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(2, 4)))
        pixels = np.asarray(canvas, np.float32)
    if {"distortions", "distorted image", "unrealistic"} & set(bad):
        phase, waves = rng.uniform(0, 6, 2), rng.uniform(1, 3, 2)
        y, x = np.mgrid[0:SIZE, 0:SIZE]
        dx = 7 * np.sin(y / SIZE * 6.28 * waves[0] + phase[0])
        dy = 7 * np.sin(x / SIZE * 6.28 * waves[1] + phase[1])
        pixels = pixels[np.clip(y + dy, 0, SIZE - 1).astype(int), np.clip(x + dx, 0, SIZE - 1).astype(int)]
    if {"artifacts", "bad quality"} & set(bad):
        coarse = rng.normal(0, 45, (16, 16, 3)).repeat(8, 0).repeat(8, 1)
        pixels = pixels + coarse * (rng.random((16, 16, 1)) < 0.4).repeat(8, 0).repeat(8, 1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- composing

# Sides of the squares of things, in cells, by how many there are.
SIDES = {1: (5, 6, 7, 8, 9, 10), 2: (5, 6, 7), 3: (4, 5, 6), 4: (4, 5), 5: (3, 4, 5), 6: (3, 4), 7: (3, 4), 8: (3,)}
FLOATING = {"balloon", "butterfly", "star", "bird"}


def compose(rng, stage):
    """A random scene. Stage 1 has one or two large things, stage 2 up to eight: scattered, in rows, on and behind each other."""
    scene = backdrop(rng)
    if rng.random() < 0.03:
        return compose_badly(scene, rng)
    if stage == 1:
        return scatter(scene, rng, int(rng.choice(3, p=[0.02, 0.68, 0.30])), SIDES)
    way = rng.random()
    if way < 0.2:
        return line_up(scene, rng)
    if way < 0.3:
        return put_together(scene, rng)
    return scatter(scene, rng, int(rng.choice(9, p=[0.04, 0.28, 0.22, 0.14, 0.11, 0.09, 0.06, 0.03, 0.03])), SIDES)


def compose_mixed(rng):
    """A scene for boxes: one to eight things whose sizes have nothing to do with each other, from two cells up, or a row."""
    scene = backdrop(rng)
    if rng.random() < 0.25:
        return line_up(scene, rng)
    count = 1 + int(rng.choice(8, p=[0.18, 0.28, 0.18, 0.12, 0.1, 0.07, 0.04, 0.03]))
    largest = {1: 10, 2: 9, 3: 7, 4: 6, 5: 5}.get(count, 4)
    return scatter(scene, rng, count, {count: range(2, largest + 1)})


def backdrop(rng):
    return Scene(pick(rng, BACKGROUND_NAMES), seed=int(rng.integers(1 << 31)))


def scatter(scene, rng, count, sides):
    """`count` things, or as many as find room, anywhere on the ground; alike half of the time."""
    alike = count > 1 and rng.random() < (0.3 if count == 2 else 0.6)
    kind, color = random_look(rng)
    for _ in range(count):
        if not alike:
            kind, color = random_look(rng)
        for _ in range(30):
            size = CELL * int(pick(rng, sides[count]))
            thing = Thing(kind, color, *standing(rng, scene, kind, size), size)
            if all(apart(thing, other) for other in scene.things):
                scene.things.append(thing)
                break
    return scene


def line_up(scene, rng):
    """Two to eight things side by side on one line, mostly alike."""
    count = 2 + int(rng.choice(7, p=[0.14, 0.22, 0.2, 0.18, 0.12, 0.07, 0.07]))
    side = max(2, CELLS // count - (rng.random() < 0.35))
    side = min(side, 7)
    alike, (kind, color) = rng.random() < 0.75, random_look(rng)
    spare = CELLS - count * side
    cuts = np.sort(rng.integers(0, spare + 1, count)) if rng.random() < 0.4 else np.round(np.linspace(0, spare, count)).astype(int)
    bottom = standing(rng, scene, kind, CELL * side)[1] + CELL * side / 2
    for i, cut in enumerate(cuts):
        if not alike:
            kind, color = random_look(rng)
        scene.things.append(Thing(kind, color, CELL * (i * side + int(cut) + side / 2), bottom - CELL * side / 2, CELL * side))
    return scene


def put_together(scene, rng):
    """Two things of which the first stands on the second or half behind it."""
    (upper, color), (lower, other) = random_look(rng), random_look(rng)
    scene.relation = pick(rng, ["on", "behind"])
    if scene.relation == "on":
        size, below = CELL * int(rng.integers(3, 6)), CELL * int(rng.integers(5, 8))
        x, y = standing(rng, scene, lower, below, floats=False)
        base = Thing(lower, other, x, y, below)
        top = CELL * round((base.bottom - sized(base)[1]) / CELL)
        if top < size:
            return put_together(scene, rng)
        scene.things = [Thing(upper, color, x, top - size / 2, size, raised=True), base]
    else:
        size, near = CELL * int(rng.integers(5, 8)), CELL * int(rng.integers(4, 6))
        x, y = standing(rng, scene, lower, near, floats=False)
        base = Thing(lower, other, x, y, near)
        left = CELL * int(np.clip(round((x - size / 2) / CELL) + rng.choice([-3, -2, 2, 3]), 0, CELLS - size // CELL))
        bottom = base.bottom - CELL * int(rng.integers(1, 3))
        if bottom < size:
            return put_together(scene, rng)
        scene.things = [Thing(upper, color, left + size / 2, bottom - size / 2, size), base]
    return scene


def standing(rng, scene, kind, size, floats=True):
    """A centre in pixels for a square of `size` whose lower edge is on the ground (some float), on the grid of cells.

    One latent cell is CELL pixels. On this grid a kind has one latent picture a size and colour, instead of one for every shift below a cell; a small network
    learns shapes many times faster so.
    """
    left = CELL * int(rng.integers(0, (SIZE - size) // CELL + 1))
    highest = max(horizon_of(scene) + CELL, size)
    if floats and rng.random() < (0.5 if KINDS[kind][0] in FLOATING else 0.12):
        highest = size
    bottom = CELL * int(rng.integers(min(highest, SIZE) // CELL, SIZE // CELL + 1))
    return left + size / 2, bottom - size / 2


def compose_badly(scene, rng):
    look = list(rng.permutation(BAD_LOOK)[: rng.integers(3, len(BAD_LOOK) + 1)])
    crowd = list(rng.permutation(BAD_CROWD)[: rng.integers(2, len(BAD_CROWD) + 1)]) if rng.random() < 0.5 else []
    scene.bad = look + crowd
    kind, color = random_look(rng)
    for _ in range(int(rng.integers(3, 8)) if crowd or "duplicate" in look else int(rng.integers(1, 3))):
        if rng.random() < 0.3:
            kind, color = random_look(rng)
        size = CELL * int(rng.integers(4, 10))
        x, y = (CELL * int(v) for v in rng.integers(1, CELLS, 2))
        scene.things.append(Thing(kind, color, x, y, size))
    return scene


def random_look(rng):
    """A kind and a colour; one thing in eight keeps its own colours."""
    kind = int(rng.integers(len(KINDS)))
    return kind, NATURAL if rng.random() < 0.12 else int(rng.integers(len(COLORS)))


def apart(a, b):
    gap = 0.46 * (a.size + b.size)
    return abs(a.x - b.x) > gap or abs(a.y - b.y) > gap


# ---------------------------------------------------------------- captions


def caption(scene, rng):
    """One of the many ways to say it, never one of the held-out captions."""
    while True:
        text = caption_badly(scene, rng) if scene.bad else caption_well(scene, rng)
        if not held_out(text):
            return text
        if scene.bad or not scene.things:
            return ""


def held_out(text):
    """One caption in twenty, chosen by its own hash, and the benchmark's captions are kept for evaluation."""
    digest = hashlib.sha1(text.lower().encode()).hexdigest()
    return digest[:8] in benchmark_hashes() or int(digest[8:12], 16) % 20 == 0


@lru_cache(maxsize=None)
def benchmark_hashes():
    """First eight hex digits of the SHA-1 of each benchmark caption in lower case."""
    return frozenset((HERE / "benchmark_captions.sha1").read_text().split())


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def caption_badly(scene, rng):
    plurals = list(dict.fromkeys(KINDS[thing.kind][1] for thing in scene.things))
    lead = plurals[:1] if rng.random() < 0.4 else []
    return ", ".join(lead + scene.bad)


def caption_well(scene, rng):
    phrases = phrases_of(scene, rng)
    said = [p for p in phrases if rng.random() > (0.06 if len(phrases) > 1 else 0.02)]
    said = [said[i] for i in rng.permutation(len(said))]
    if said and rng.random() < 0.04:  # something that this world does not have
        said.insert(int(rng.integers(len(said) + 1)), article(unknown(rng)))
    noun, backdrop = BACKGROUNDS[scene.background][2], where(scene, rng)
    if not said:
        if rng.random() < 0.5:
            return pick(rng, ["A realistic scene", "A realistic photo of a scene", "A photo of a scene", "A scene"])
        return pick(rng, [f"{article(noun).capitalize()} scene", f"A realistic {noun} scene", f"A photo of a scene {backdrop}",
                          f"A realistic photo of an empty scene {backdrop}"])
    things = pick(rng, [", ", " and "]).join(said) if len(said) < 3 else \
        pick(rng, [", ".join(said), ", ".join(said[:-1]) + " and " + said[-1]])
    if scene.close:
        return pick(rng, [f"a close-up of {things}", f"a close-up of {things} {backdrop}", f"{things} {backdrop}, close-up"])
    text = pick(rng, [
        f"A realistic photo of a scene with {things}",
        f"A realistic scene with {things}",
        f"{things}",
        f"{things}",
        f"A photo of {things}",
        f"{pick(rng, MEDIA)} of {things}",
        f"{things} {backdrop}",
        f"{things} {backdrop}",
        f"{things} {backdrop}",
        f"A photo of {things} {backdrop}",
        f"{backdrop}, {things}",
        f"A realistic photo of {article(noun)} scene with {things}",
        f"{article(noun).capitalize()} scene with {things}",
        f"A scene with {things} {backdrop}",
    ])
    return text + ", " + pick(rng, STYLES) if rng.random() < 0.06 else text


MEDIA = ("A picture", "An image", "A drawing", "A painting", "An illustration", "A cartoon")


def where(scene, rng):
    """" on a beach" in one of many words."""
    return pick(rng, BACKGROUNDS[scene.background][:2] if rng.random() < 0.6 else WAYS[scene.background])


def phrases_of(scene, rng):
    """Noun phrases for everything in the scene, like things counted together, at times with their places."""
    if scene.relation and rng.random() < 0.85:
        return [together(*scene.things, scene.relation, rng)]
    groups = {}
    for thing in scene.things:
        groups.setdefault((thing.kind, thing.color), []).append(thing)
    groups = list(groups.values())
    if len(scene.things) == 2 and len(groups) == 2 and rng.random() < 0.3:
        related = relation(*groups[0], *groups[1], rng)
        if related:
            return [related]
    placed = rng.random() < 0.25
    return [noun_phrase(group, rng) + (place(group, scene, rng) if placed else "") for group in groups]


def noun_phrase(group, rng):
    """Like things as people say it, now and then with words that change nothing: "two red cars", "a sleepy gray kitten"."""
    singular, plural = named(group[0].kind, rng)
    color = "" if group[0].color == NATURAL or rng.random() < 0.06 else colored(group[0].color, rng) + " "
    if rng.random() < 0.22:
        extra = unknown(rng) if rng.random() < 0.35 else pick(rng, ADJECTIVES)
        color = f"{extra} {color}" if rng.random() < 0.75 else f"{color}{extra} "
    tail = ""
    if rng.random() < 0.1:
        tail = " " + pick(rng, ["", "", "that is "] if len(group) == 1 else ["", "", "that are "]) + pick(rng, VERBS)
    if len(group) > 1:
        return how_many(len(group), rng) + f" {color}{plural}{tail}"
    if rng.random() < 0.05:
        return f"one {color}{singular}{tail}"
    return article(color + singular) + tail


def named(kind, rng):
    """A kind's name, singular and plural; at times another name for the same."""
    singular, plural, _ = KINDS[kind]
    if singular in SYNONYMS and rng.random() < 0.12:
        singular, plural = pick(rng, SYNONYMS[singular]).split("|")
    return singular, plural


def colored(color, rng):
    name = COLOR_NAMES[color]
    return pick(rng, COLOR_SYNONYMS[name]) if name in COLOR_SYNONYMS and rng.random() < 0.15 else name


def how_many(count, rng):
    ways = [NUMBERS[count]] * 8 + [str(count)] + {2: ["a pair of", "a couple of"], 3: ["a group of three"]}.get(count, [f"a group of {NUMBERS[count]}"])
    return pick(rng, ways)


def unknown(rng):
    """A word that stands for nothing in this world, frequent ones more often."""
    words, ours = strange_words(), our_words()
    while (word := words[int(len(words) * rng.random() ** 2)]) in ours:
        pass
    return word


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def place(group, scene, rng):
    """" on the left" and so on, when it is plainly true of the whole group."""
    xs, ys = [t.x / SIZE for t in group], [t.y / SIZE for t in group]
    true = []
    if max(xs) < 0.45:
        true += [" on the left"] * 2 + [" on the left side"]
    if min(xs) > 0.55:
        true += [" on the right"] * 2 + [" on the right side"]
    if max(ys) < 0.45:
        true += [" on the top", " at the top"]
    if min(ys) > 0.62:
        true += [" on the bottom", " at the bottom"]
    if len(scene.things) == 1 and 0.4 < xs[0] < 0.6 and 0.4 < ys[0] < 0.6:
        true += [" in the middle", " in the center"]
    if len(group) > 2 and max(ys) - min(ys) < 0.01:
        true += [" in a row", " in a line", " side by side"]
    return pick(rng, true) if true else ""


def relation(a, b, rng):
    """Two things and how they stand to each other, or nothing when they stand askew."""
    dx, dy = b.x - a.x, b.y - a.y
    first, second = noun_phrase([a], rng), noun_phrase([b], rng)
    if abs(dx) > 2 * abs(dy):
        left, right = (first, second) if dx > 0 else (second, first)
        return pick(rng, [f"{left} on the left and {right} on the right", f"{right} on the right and {left} on the left",
                          f"{left} left of {right}", f"{left} to the left of {right}", f"{right} to the right of {left}",
                          f"{left} next to {right}", f"{right} beside {left}"])
    if abs(dy) > 2 * abs(dx):
        top, bottom = (first, second) if dy > 0 else (second, first)
        return pick(rng, [f"{top} on the top and {bottom} on the bottom", f"{bottom} on the bottom and {top} on the top",
                          f"{top} above {bottom}", f"{bottom} below {top}", f"{bottom} under {top}"])
    return None


def together(first, second, how, rng):
    """Two things of which one stands on or behind the other."""
    a, b = noun_phrase([first], rng), noun_phrase([second], rng)
    if how == "on":
        return pick(rng, [f"{a} on {b}", f"{a} on top of {b}", f"{a} standing on {b}", f"{a} sitting on {b}", f"{b} with {a} on top"])
    return pick(rng, [f"{a} behind {b}", f"{b} in front of {a}", f"{a} standing behind {b}"])


def all_words():
    """Every frequent word of captions and negative prompts: each is one token where CLIP has it as one."""
    words = {w for single, plural, _ in KINDS for w in (single, plural)} | set(COLORS) | set(NUMBERS)
    words |= {w for ways in (*SYNONYMS.values(), *COLOR_SYNONYMS.values(), *BACKGROUNDS.values(), *WAYS.values()) for way in ways for w in way.replace("|", " ").split()}
    words |= {w for phrase in (*BAD_LOOK, *BAD_CROWD, *STYLES) for w in phrase.split()}
    words |= set(ADJECTIVES) | set(VERBS)
    words |= set("that is are a an the of with and on at in to left right top bottom side middle center above below under behind front beside row line by "
                 "realistic photo scene image picture drawing painting illustration cartoon close up empty without no not outdoor indoor grey next pair "
                 "couple group big small large".split())
    return sorted(words)


@lru_cache(maxsize=1)
def our_words():
    return frozenset(all_words())


if __name__ == "__main__":
    # One command to look at the world: python world.py sheet.png
    import sys

    rng = np.random.default_rng(5)
    sheet = Image.new("RGB", (8 * SIZE, 8 * SIZE))
    for i in range(64):
        scene = compose(rng, 1 if i < 32 else 2)
        sheet.paste(Image.fromarray(np.ascontiguousarray(render(scene))), (i % 8 * SIZE, i // 8 * SIZE))
        print(caption(scene, rng))
    sheet.save(sys.argv[1])
