"""The miniature's world: what exists, how a scene is drawn and how people caption it.

Everything that the models learn comes from the tables at the top of this file. A scene is data (`Scene`), drawn by
`render` and described by `caption`; both are functions of the scene and a random generator, so a seed is a picture.
The icons are the 3-D Fluent emoji (MIT licence) of the npm package named in `ICON_PACKAGE`.
"""

import hashlib
import subprocess
import tarfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
ICON_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
SIZE = 128  # pixels, both ways
CELL = 8  # pixels of a latent cell

# word, plural, icon (code point). The benchmark's ten come first.
KINDS = [
    ("backpack", "backpacks", "1f392"),
    ("book", "books", "1f4d5"),
    ("bottle", "bottles", "1f37e"),
    ("bowl", "bowls", "1f35c"),
    ("car", "cars", "1f697"),
    ("cat", "cats", "1f431"),
    ("chair", "chairs", "1fa91"),
    ("cup", "cups", "1f964"),
    ("dog", "dogs", "1f436"),
    ("laptop", "laptops", "1f4bb"),
    ("apple", "apples", "1f34e"),
    ("ball", "balls", "26bd"),
    ("bird", "birds", "1f426"),
    ("fish", "fishes", "1f420"),
    ("flower", "flowers", "1f33b"),
    ("umbrella", "umbrellas", "2602-fe0f"),
]

# word: dark, middle and light end of the ramp that replaces an icon's own colours (RGB).
COLORS = {
    "red": ((90, 0, 8), (215, 22, 28), (255, 140, 130)),
    "orange": ((140, 50, 0), (250, 125, 10), (255, 200, 120)),
    "yellow": ((150, 110, 0), (246, 212, 20), (255, 246, 160)),
    "green": ((2, 62, 14), (36, 160, 48), (155, 230, 135)),
    "blue": ((6, 18, 105), (28, 78, 228), (135, 188, 255)),
    "purple": ((45, 4, 88), (130, 42, 192), (206, 158, 246)),
    "pink": ((160, 35, 100), (255, 120, 182), (255, 208, 228)),
    "brown": ((45, 22, 8), (118, 68, 34), (188, 142, 98)),
    "black": ((4, 4, 8), (34, 34, 40), (104, 104, 112)),
    "white": ((165, 168, 176), (234, 236, 240), (255, 255, 255)),
    "gray": ((58, 60, 64), (128, 130, 134), (194, 196, 200)),
}
COLOR_NAMES = list(COLORS)
NATURAL = -1  # the icon as it is

# ways to say it after a noun ("on a beach") and as a scene ("a beach scene")
BACKGROUNDS = {
    "field": ("in a field", "on the grass", "field"),
    "beach": ("on a beach", "at the beach", "beach"),
    "snow": ("in the snow", "on snow", "snow"),
    "room": ("in a room", "indoors", "room"),
    "street": ("on a street", "on the road", "street"),
    "night": ("at night", "under the night sky", "night"),
    "ocean": ("in the ocean", "on the sea", "ocean"),
    "wall": ("in front of a wall", "against a plain wall", "wall"),
}
BACKGROUND_NAMES = list(BACKGROUNDS)

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]

# What a negative prompt says. Scenes drawn badly carry these words, so that they mean something.
BAD_LOOK = ["artifacts", "blurry", "smooth texture", "bad quality", "distortions", "unrealistic", "distorted image",
            "bad proportions", "duplicate"]
BAD_CROWD = ["two", "many", "group", "occlusion", "occluded", "side", "border", "collate"]


@dataclass
class Thing:
    """One thing in a scene: `x`, `y` its centre and `size` its longer side in pixels."""

    kind: int
    color: int
    x: float
    y: float
    size: float
    flipped: bool = False


def snapped(rng, size, low, high):
    """A size in whole cells and a random centre within low..=high, (size, x, y) in pixels, such that the thing's square covers whole cells.

    One latent cell is CELL pixels. On this grid a kind has one latent picture a size and colour, instead of one for every shift below a
    cell; a small network learns shapes many times faster so.
    """
    size = CELL * round(size / CELL)
    corners = [CELL * round((v - size / 2) / CELL) for v in rng.uniform(low, high, 2)]
    return size, *(corner + size / 2 for corner in corners)


@dataclass
class Scene:
    background: str
    things: list = field(default_factory=list)
    bad: list = field(default_factory=list)  # words of BAD_LOOK and BAD_CROWD; empty for a good picture
    seed: int = 0  # of the background


# ---------------------------------------------------------------- icons


@lru_cache(maxsize=None)
def icon_folder():
    folder = CACHE / "package" / "assets"
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        name = subprocess.run(["npm", "pack", "--silent", ICON_PACKAGE], cwd=CACHE, check=True, capture_output=True,
                              text=True).stdout.strip().splitlines()[-1]
        with tarfile.open(CACHE / name) as archive:
            archive.extractall(CACHE, filter="data")
    return folder


@lru_cache(maxsize=None)
def icon(kind, color, flipped):
    """The icon cut to its edges, in one of the eleven colours or its own: RGBA, longer side 112 px."""
    image = Image.open(icon_folder() / f"{KINDS[kind][2]}.webp").convert("RGBA")
    image = image.crop(image.getbbox())
    scale = 112 / max(image.size)
    image = image.resize([max(1, round(s * scale)) for s in image.size], Image.LANCZOS)
    if color != NATURAL:
        image = tint(image, COLORS[COLOR_NAMES[color]])
    return image.transpose(Image.FLIP_LEFT_RIGHT) if flipped else image


def tint(image, ramp):
    """Keeps light and shade, replaces hue: luminance is spread over 0..1 with mean about one half, then looked up."""
    pixels = np.asarray(image, np.float32)  # (H, W, 4)
    light = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    solid = light[pixels[..., 3] > 128]
    low, high = np.percentile(solid, [3, 97])
    level = np.clip((light - low) / max(high - low, 1), 0, 1)
    mean = np.clip((solid - low) / max(high - low, 1), 0, 1).mean()
    level = level ** (np.log(0.5) / np.log(np.clip(mean, 0.2, 0.8)))
    rgb = [np.interp(level, [0, 0.5, 1], [stop[c] for stop in ramp]) for c in range(3)]
    return Image.fromarray(np.stack([*rgb, pixels[..., 3]], -1).astype(np.uint8), "RGBA")


# ---------------------------------------------------------------- drawing


def render(scene):
    """The picture of a scene: (128, 128, 3) uint8."""
    rng = np.random.default_rng(scene.seed)
    canvas = Image.fromarray(draw_background(scene.background, rng))
    for thing in scene.things:
        picture, w, h = sized(thing)
        if "bad proportions" in scene.bad:
            w, h = (w, max(4, h // 2)) if rng.random() < 0.5 else (max(4, w // 2), h)
        stamp(canvas, picture, w, h, thing)
    return spoil(canvas, scene.bad, rng) if scene.bad else np.asarray(canvas)


def outlines(scene):
    """What can be seen of each thing of a good scene: (N, 128, 128) bool, a pixel belonging to the thing that covers at least half of it."""
    owner = Image.new("L", (SIZE, SIZE))
    for number, thing in enumerate(scene.things, 1):
        picture, w, h = sized(thing)
        opaque = picture.resize((w, h), Image.BILINEAR, reducing_gap=2.0).getchannel("A").point(lambda alpha: 255 * (alpha >= 128))
        owner.paste(number, (round(thing.x - w / 2), round(thing.y - h / 2)), opaque)
    return np.asarray(owner) == np.arange(1, len(scene.things) + 1)[:, None, None]


def sized(thing):
    """A thing's icon, and the width and height in pixels that it is to have."""
    picture = icon(thing.kind, thing.color, thing.flipped)
    scale = thing.size / max(picture.size)
    return picture, *(max(4, round(s * scale)) for s in picture.size)


def stamp(canvas, picture, w, h, thing):
    """Draws an icon in w × h pixels around a thing's centre."""
    picture = picture.resize((w, h), Image.BILINEAR, reducing_gap=2.0)
    canvas.paste(picture, (round(thing.x - w / 2), round(thing.y - h / 2)), picture)


def drawn_box(thing):
    """Where `render` puts a thing: x0, y0, x1, y1 in proportions."""
    picture = icon(thing.kind, thing.color, thing.flipped)
    w, h = (s * thing.size / max(picture.size) for s in picture.size)
    return [v / SIZE for v in (thing.x - w / 2, thing.y - h / 2, thing.x + w / 2, thing.y + h / 2)]


def draw_background(name, rng):
    """A calm backdrop: smooth gradients, at most one horizon."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE

    def fade(top, bottom, t=y):
        jitter = rng.normal(0, 6, 3)
        top, bottom = np.array(top) + jitter, np.array(bottom) + jitter
        return top + (bottom - top) * np.clip(t, 0, 1)[..., None]

    horizon = rng.uniform(0.35, 0.6) + rng.uniform(-0.03, 0.03) * np.sin(rng.uniform(2, 6) * x + rng.uniform(0, 6))
    below = np.clip((y - horizon) * 60 + 0.5, 0, 1)[..., None]
    depth = np.clip((y - horizon) / 0.6, 0, 1)
    sky = fade((120, 175, 225), (205, 228, 240))
    if name == "field":
        picture = sky * (1 - below) + fade((120, 175, 85), (85, 140, 60), depth) * below
    elif name == "beach":
        shore = np.clip((y - horizon - 0.12) * 60 + 0.5, 0, 1)[..., None]
        sea = fade((70, 160, 185), (110, 195, 200), depth * 4)
        sand = fade((225, 205, 160), (240, 222, 180), depth)
        picture = sky * (1 - below) + (sea * (1 - shore) + sand * shore) * below
    elif name == "snow":
        picture = fade((165, 185, 210), (205, 218, 232)) * (1 - below) + fade((238, 242, 248), (220, 228, 240), depth) * below
    elif name == "room":
        horizon = rng.uniform(0.62, 0.75)
        floor = np.clip((y - horizon) * 128 + 0.5, 0, 1)[..., None]
        walls = [(205, 190, 165), (190, 200, 180), (215, 195, 195), (190, 200, 215)]
        wall = np.array(walls[rng.integers(4)])
        picture = fade(wall, wall - 18) * (1 - floor) + fade((150, 110, 78), (128, 92, 62)) * floor
    elif name == "street":
        houses = fade((178, 172, 168), (160, 155, 152))
        road = fade((96, 98, 104), (80, 82, 88), depth)
        stripe = (np.abs(y - horizon - 0.28) < 0.012)[..., None] * ((x * 5 + rng.random()) % 1 < 0.55)[..., None]
        picture = houses * (1 - below) + np.where(stripe, (215, 212, 195), road) * below
    elif name == "night":
        picture = fade((36, 44, 104), (84, 90, 158)) * (1 - below) + fade((58, 78, 84), (46, 62, 70), depth) * below
        for sx, sy in rng.integers(2, (126, 50), (5, 2)):
            picture[sy:sy + 2, sx:sx + 2] = (190, 190, 205)
    elif name == "ocean":
        picture = sky * (1 - below) + fade((50, 125, 180), (14, 62, 122), depth) * below
    else:
        wall = rng.uniform(120, 215, 3) * 0.5 + rng.uniform(130, 210) * 0.5
        picture = fade(wall + 14, wall - 14, (x * rng.uniform(-0.5, 0.5) + y))
    return np.clip(picture, 0, 255).astype(np.uint8)


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


def compose(rng, stage):
    """A random scene. Stage 1 has one or two large things, stage 2 up to six of all sizes."""
    scene = Scene(BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))], seed=int(rng.integers(1 << 31)))
    if rng.random() < 0.03:
        return compose_badly(scene, rng)
    counts = [0.02, 0.68, 0.30] if stage == 1 else [0.05, 0.38, 0.25, 0.13, 0.10, 0.06, 0.03]
    count = int(rng.choice(len(counts), p=counts))
    largest = {1: 84, 2: 62, 3: 56, 4: 52, 5: 48, 6: 44}.get(count, 84)
    smallest = largest * (0.6 if stage == 1 else 0.65)
    alike = count > 1 and rng.random() < (0.3 if count == 2 else 0.6)
    kind, color = random_look(rng)
    for _ in range(count):
        if not alike:
            kind, color = random_look(rng)
        for _ in range(30):
            size = rng.uniform(smallest, largest)
            size, x, y = snapped(rng, size, size * 0.48, SIZE - size * 0.48)
            thing = Thing(kind, color, x, y, size)
            if all(apart(thing, other) for other in scene.things):
                scene.things.append(thing)
                break
    return scene


def compose_mixed(rng):
    """A scene for boxes: one to five things whose sizes have nothing to do with each other, down to three cells."""
    scene = Scene(BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))], seed=int(rng.integers(1 << 31)))
    count = 1 + int(rng.choice(5, p=[0.25, 0.35, 0.2, 0.12, 0.08]))
    largest = {1: 84, 2: 76, 3: 60, 4: 52, 5: 44}[count]
    alike = rng.random() < 0.25
    kind, color = random_look(rng)
    for _ in range(count):
        if not alike:
            kind, color = random_look(rng)
        for _ in range(30):
            size = float(np.exp(rng.uniform(np.log(24), np.log(largest))))
            size, x, y = snapped(rng, size, size * 0.48, SIZE - size * 0.48)
            thing = Thing(kind, color, x, y, size)
            if all(apart(thing, other) for other in scene.things):
                scene.things.append(thing)
                break
    return scene


def compose_badly(scene, rng):
    look = list(rng.permutation(BAD_LOOK)[: rng.integers(3, len(BAD_LOOK) + 1)])
    crowd = list(rng.permutation(BAD_CROWD)[: rng.integers(2, len(BAD_CROWD) + 1)]) if rng.random() < 0.5 else []
    scene.bad = look + crowd
    kind, color = random_look(rng)
    for _ in range(int(rng.integers(3, 8)) if crowd or "duplicate" in look else int(rng.integers(1, 3))):
        if rng.random() < 0.3:
            kind, color = random_look(rng)
        size, x, y = snapped(rng, rng.uniform(30, 70), 10, SIZE - 10)
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
    said = [p for p in phrases if rng.random() > (0.1 if len(phrases) > 1 else 0.02)]
    said = [said[i] for i in rng.permutation(len(said))]
    where, where_too, noun = BACKGROUNDS[scene.background]
    backdrop = pick(rng, [where, where_too])
    if not said:
        if rng.random() < 0.5:
            return pick(rng, ["A realistic scene", "A realistic photo of a scene", "A photo of a scene", "A scene"])
        return pick(rng, [f"{article(noun).capitalize()} scene", f"A realistic {noun} scene", f"A photo of a scene {backdrop}",
                          f"A realistic photo of an empty scene {backdrop}"])
    things = pick(rng, [", ", " and "]).join(said) if len(said) < 3 else \
        pick(rng, [", ".join(said), ", ".join(said[:-1]) + " and " + said[-1]])
    return pick(rng, [
        f"A realistic photo of a scene with {things}",
        f"A realistic scene with {things}",
        f"A realistic scene with {things}",
        f"{things}",
        f"A photo of {things}",
        f"{things} {backdrop}",
        f"A photo of {things} {backdrop}",
        f"A realistic photo of {article(noun)} scene with {things}",
        f"{article(noun).capitalize()} scene with {things}",
        f"A scene with {things} {backdrop}",
    ])


def phrases_of(scene, rng):
    """Noun phrases for everything in the scene, like things counted together, at times with their places."""
    groups = {}
    for thing in scene.things:
        groups.setdefault((thing.kind, thing.color), []).append(thing)
    groups = list(groups.values())
    if len(scene.things) == 2 and len(groups) == 2 and rng.random() < 0.25:
        related = relation(*groups[0], *groups[1], rng)
        if related:
            return [related]
    placed = rng.random() < 0.3
    return [noun_phrase(group, rng) + (place(group, scene, rng) if placed else "") for group in groups]


def noun_phrase(group, rng):
    singular, plural, _ = KINDS[group[0].kind]
    color = "" if group[0].color == NATURAL or rng.random() < 0.08 else COLOR_NAMES[group[0].color] + " "
    if len(group) > 1:
        return f"{NUMBERS[len(group)]} {color}{plural}"
    if rng.random() < 0.05:
        return f"one {color}{singular}"
    return article(color + singular)


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
    if min(ys) > 0.55:
        true += [" on the bottom", " at the bottom"]
    if len(scene.things) == 1 and 0.4 < xs[0] < 0.6 and 0.4 < ys[0] < 0.6:
        true += [" in the middle", " in the center"]
    return pick(rng, true) if true else ""


def relation(a, b, rng):
    """Two things and how they stand to each other, or nothing when they stand askew."""
    dx, dy = b.x - a.x, b.y - a.y
    first, second = noun_phrase([a], rng), noun_phrase([b], rng)
    if abs(dx) > 2 * abs(dy):
        left, right = (first, second) if dx > 0 else (second, first)
        return pick(rng, [f"{left} on the left and {right} on the right", f"{right} on the right and {left} on the left",
                          f"{left} left of {right}", f"{left} to the left of {right}", f"{right} to the right of {left}"])
    if abs(dy) > 2 * abs(dx):
        top, bottom = (first, second) if dy > 0 else (second, first)
        return pick(rng, [f"{top} on the top and {bottom} on the bottom", f"{bottom} on the bottom and {top} on the top",
                          f"{top} above {bottom}", f"{bottom} below {top}", f"{bottom} under {top}"])
    return None


def all_words():
    """Every word that can stand in a caption or a negative prompt: each is one token."""
    words = {w for single, plural, _ in KINDS for w in (single, plural)} | set(COLORS) | set(NUMBERS)
    for ways in BACKGROUNDS.values():
        words |= {w for way in ways for w in way.split()}
    words |= {w for bad in BAD_LOOK + BAD_CROWD for w in bad.split()}
    words |= set("a an the of with and on at in to left right top bottom side middle center above below under realistic "
                 "photo scene image picture empty without no not outdoor indoor grey next big small large".split())
    return sorted(words)


if __name__ == "__main__":
    # One command to look at the world: python world.py sheet.png
    import sys

    rng = np.random.default_rng(5)
    sheet = Image.new("RGB", (8 * SIZE, 8 * SIZE))
    for i in range(64):
        scene = compose(rng, 1 if i < 32 else 2)
        sheet.paste(Image.fromarray(render(scene)), (i % 8 * SIZE, i // 8 * SIZE))
        print(caption(scene, rng))
    sheet.save(sys.argv[1])
