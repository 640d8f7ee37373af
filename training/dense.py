"""Long captions and the scenes they tell of: `python dense.py NAME COUNT SEED` draws .cache/NAME.npy and .cache/NAME.pkl, as render_cache.py does.

A dense scene has up to six things, no two alike, each near the middle of one of nine regions of the picture (three columns, three rows). Its caption
says kind, colour and place of each in several sentences, in no fixed order: places by name ("in the top left corner"), at times by what was said before
("below the red car"), colours before the noun or after it ("a dog that is blue").
"""

import pickle
import sys

import numpy as np

from world import (BACKGROUND_NAMES, BACKGROUNDS, CACHE, CELL, COLOR_NAMES, KINDS, NATURAL, NUMBERS, SIZE, Scene, Thing, article, held_out,
                   pick, render)

COUNTS = [0.0, 0.06, 0.08, 0.12, 0.28, 0.26, 0.20]  # odds of so many things
SIZES = {1: (48, 80), 2: (48, 64), 3: (40, 56), 4: (32, 48), 5: (32, 40), 6: (32, 40)}  # pixels, both ends included
# (column, row) to the ways to say it
PLACES = {
    (0, 0): ["in the top left corner", "at the top left", "in the upper left corner", "in the top left"],
    (1, 0): ["at the top", "at the top center", "in the middle of the top", "at the top in the middle"],
    (2, 0): ["in the top right corner", "at the top right", "in the upper right corner", "in the top right"],
    (0, 1): ["on the left", "on the left side", "in the middle of the left side", "at the left"],
    (1, 1): ["in the middle", "in the center", "in the center of the picture", "in the middle of the picture"],
    (2, 1): ["on the right", "on the right side", "in the middle of the right side", "at the right"],
    (0, 2): ["in the bottom left corner", "at the bottom left", "in the lower left corner", "in the bottom left"],
    (1, 2): ["at the bottom", "at the bottom center", "in the middle of the bottom", "at the bottom in the middle"],
    (2, 2): ["in the bottom right corner", "at the bottom right", "in the lower right corner", "in the bottom right"],
}


def region_of(thing):
    """The column and the row, 0..=2 each, that a thing's centre is in."""
    return tuple(min(2, int(3 * v / SIZE)) for v in (thing.x, thing.y))


def compose_dense(rng, counts=COUNTS):
    """A random scene of things of different looks in different regions."""
    scene = Scene(BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))], seed=int(rng.integers(1 << 31)))
    count = int(rng.choice(len(counts), p=counts))
    kinds = rng.permutation(len(KINDS))[:count]
    regions = [list(PLACES)[i] for i in rng.permutation(9)[:count]]
    for kind, region in zip(kinds, regions):
        low, high = SIZES[count]
        size = CELL * int(rng.integers(low // CELL, high // CELL + 1))
        color = NATURAL if rng.random() < 0.05 else int(rng.integers(len(COLOR_NAMES)))
        x, y = (centre_in(index, size, rng) for index in region)
        scene.things.append(Thing(int(kind), color, x, y, size))
    return scene


def centre_in(index, size, rng):
    """A centre, in pixels, in the `index`-th third, such that the thing's square covers whole cells of the picture."""
    middle = (index + 0.5) * SIZE / 3 + rng.uniform(-8, 8)
    corner = CELL * round((middle - size / 2) / CELL)
    return float(np.clip(corner, 0, SIZE - size)) + size / 2


def dense_caption(scene, rng):
    """One of the many ways to describe a scene of `compose_dense`, never one of the held-out captions."""
    while held_out(text := describe(scene, rng)):
        pass
    return text


def describe(scene, rng):
    """Several sentences: where the scene is, then thing by thing."""
    placed = rng.random() > 0.1  # else the places stay unsaid
    sentences, before = [], None
    order = [scene.things[i] for i in rng.permutation(len(scene.things))]
    i = 0
    while i < len(order):
        thing = order[i]
        if placed and i + 1 < len(order) and rng.random() < 0.3:
            first, second = order[i], order[i + 1]
            sentences.append(pick(rng, [
                f"There is {phrase(first, rng)} {place(first, rng)} and {phrase(second, rng)} {place(second, rng)}",
                f"{phrase(first, rng)} is {place(first, rng)}, {phrase(second, rng)} is {place(second, rng)}",
                f"{phrase(first, rng)} {place(first, rng)} and {phrase(second, rng)} {place(second, rng)}",
            ]))
            before, i = second, i + 2
            continue
        where = place(thing, rng) if placed else ""
        if placed and before is not None and rng.random() < 0.25:
            where = relation(before, thing, rng) or where
        sentences.append(sentence(thing, where, rng))
        before, i = thing, i + 1
    parts = [opener(scene, rng), *sentences]
    if rng.random() < 0.3:
        parts = [*parts[1:], parts[0]]
    return " ".join(part[0].upper() + part[1:] + "." for part in parts)


def opener(scene, rng):
    where, where_too, noun = BACKGROUNDS[scene.background]
    backdrop, count = pick(rng, [where, where_too]), NUMBERS[len(scene.things)]
    return pick(rng, [
        f"{article(noun)} scene", f"a realistic photo of {article(noun)} scene", f"the scene is {backdrop}", f"a picture of a scene {backdrop}",
        f"a realistic {noun} scene with {count} thing{'s' if len(scene.things) > 1 else ''}", f"everything is {backdrop}", f"a photo taken {backdrop}",
        f"the background is {article(noun)} scene",
    ])


def sentence(thing, where, rng):
    it = phrase(thing, rng)
    if not where:
        return pick(rng, [f"there is {it}", f"we see {it}", f"the picture shows {it}", f"{it} can be seen"])
    if thing.color != NATURAL and rng.random() < 0.15:
        kind, color = KINDS[thing.kind][0], COLOR_NAMES[thing.color]
        return pick(rng, [f"there is {article(kind)} {where}. The {kind} is {color}", f"{where} there is {article(kind)} and it is {color}"])
    return pick(rng, [f"there is {it} {where}", f"{where} there is {it}", f"{it} is {where}", f"{it} can be seen {where}", f"{where} we see {it}",
                      f"{it} stands {where}", f"{where}, {it}", f"{it} {where}"])


def phrase(thing, rng):
    """A thing with its colour, mostly "a red car"."""
    kind = KINDS[thing.kind][0]
    if thing.color == NATURAL:
        return article(kind)
    color = COLOR_NAMES[thing.color]
    if rng.random() < 0.1:
        return pick(rng, [f"{article(kind)} that is {color}", f"{article(kind)} in {color}"])
    return article(f"{color} {kind}")


def place(thing, rng):
    return pick(rng, PLACES[region_of(thing)])


def relation(before, thing, rng):
    """Where a thing is, told from the one before it, when they are neighbours in a row or a column."""
    (c0, r0), (c1, r1) = region_of(before), region_of(thing)
    named = f"{COLOR_NAMES[before.color]} {KINDS[before.kind][0]}" if before.color != NATURAL and rng.random() < 0.6 else KINDS[before.kind][0]
    if r0 == r1 and abs(c1 - c0) == 1:
        side = "right" if c1 > c0 else "left"
        return pick(rng, [f"to the {side} of the {named}", f"to the {side} of it", f"next to the {named} on the {side}"])
    if c0 == c1 and abs(r1 - r0) == 1:
        return pick(rng, [f"below the {named}", f"below it", f"under the {named}"] if r1 > r0 else [f"above the {named}", "above it"])
    return None


def draw(name, count, seed):
    rng = np.random.default_rng(seed)
    scenes = [compose_dense(rng) for _ in range(count)]
    pixels = np.lib.format.open_memmap(CACHE / f"{name}.npy", "w+", np.uint8, (count, SIZE, SIZE, 3))
    for i, scene in enumerate(scenes):
        pixels[i] = render(scene)
    pixels.flush()
    (CACHE / f"{name}.pkl").write_bytes(pickle.dumps(scenes))


if __name__ == "__main__":
    draw(sys.argv[1], *map(int, sys.argv[2:4]))
