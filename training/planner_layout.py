"""Where things stand: a sampler of layouts with sane sizes, no overlap, and the caption's words about place obeyed.

The grid has `GRID` cells a side whatever the canvas. A kind of thing has one size (w, h) in cells and a centre for each of its instances; whoever
reads the answer moves a box inside the grid.
"""

import math

GRID = 64
# How much narrower a cell is than high: the grid is square, the canvas need not be.
SHAPES = {"square": 1.0, "wide": 1.6, "tall": 0.625}
WHOLE = (1, 1, 63, 63)
CORNERS = {"left": (1, 4, 28, 60), "right": (36, 4, 63, 60), "top": (6, 1, 58, 29), "bottom": (6, 35, 58, 63), "middle": (18, 16, 46, 48),
           "top left": (1, 1, 29, 29), "top right": (35, 1, 63, 29), "bottom left": (1, 35, 29, 63), "bottom right": (35, 35, 63, 63)}


def split(region, axis, shares, gap=2):
    """Cuts a region along an axis (0: side by side, 1: one above the other) by shares."""
    x0, y0, x1, y1 = region
    low, high = (x0, x1) if axis == 0 else (y0, y1)
    length, at, parts = high - low - gap * (len(shares) - 1), low, []
    for share in shares:
        size = length * share / sum(shares)
        parts.append((at, y0, at + size, y1) if axis == 0 else (x0, at, x1, at + size))
        at += size + gap
    return parts


def columns_and_rows(count, width, height, aspect):
    """The grid of slots whose cells fit boxes of this aspect best; two or three things stand side by side where there is room."""
    def room(columns):
        rows = math.ceil(count / columns)
        return min(width / columns / aspect, height / rows) * (1.0 if columns * rows == count else 0.94)
    columns = max(range(1, count + 1), key=room)
    return columns, math.ceil(count / columns)


def arrange(rng, count, look, region, shape, scale, stand=True):
    """(w, h, [(cx, cy)…]) of `count` things inside a region. `scale`: cells of a person's height if alone. Things of the air go up, others
    stand low when the region is high and `stand` is set."""
    x0, y0, x1, y1 = region
    narrow = SHAPES[shape]
    aspect = look.aspect / narrow
    longer = scale * look.size * (0.96 + 0.08 * rng.random())
    h = longer if look.aspect <= 1 else longer / look.aspect
    w = h * aspect
    columns, rows = columns_and_rows(count, x1 - x0, y1 - y0, aspect)
    fit = min(1.0, 0.9 * (x1 - x0) / columns / w, 0.9 * (y1 - y0) / rows / h)
    w, h = max(3, round(w * fit)), max(3, round(h * fit))
    slot_w, slot_h = (x1 - x0) / columns, min((y1 - y0) / rows, h * 1.35 + 2)
    high = slot_h * rows
    free = (y1 - y0) - high
    if look.place == "air":
        top = y0 + free * 0.12 * rng.random()
    elif stand:
        top = y0 + free * (0.78 + 0.1 * rng.random())
    else:
        top = y0 + free * (0.45 + 0.1 * rng.random())
    centres, left = [], count
    for row in range(rows):
        here = min(columns, left)
        start = x0 + ((x1 - x0) - here * slot_w) / 2
        for column in range(here):
            jitter_x, jitter_y = (slot_w - w) * 0.15, (slot_h - h) * 0.2
            cx = start + (column + 0.5) * slot_w + jitter_x * (rng.random() - 0.5)
            cy = top + (row + 0.5) * slot_h + jitter_y * (rng.random() - 0.5)
            centres.append(inside(cx, cy, w, h))
        left -= here
    return w, h, centres


def inside(cx, cy, w, h):
    cx, cy = min(max(cx, w / 2), GRID - w / 2), min(max(cy, h / 2), GRID - h / 2)
    return min(GRID - 1, round(cx)), min(GRID - 1, round(cy))


def scale_for(boxes):
    """Cells of a person's height, by the number of boxes."""
    return {1: 44, 2: 38, 3: 33, 4: 30}.get(boxes, max(18, 30 - 1.2 * (boxes - 4)))


def place(rng, groups, relation, shape):
    """Layouts of `groups` ([(count, Look)]) under a relation; a list as `arrange` gives it, in order.

    `relation` is a name and the indices it is about. Groups that it does not name share what is left.
    """
    name, *who = relation
    total = sum(count for count, _ in groups)
    scale = scale_for(total)
    if name == "on" and len(groups) >= 2:
        return stacked(rng, groups, who, shape, scale)
    if name == "in" and len(groups) >= 2:
        return contained(rng, groups, who, shape, scale)
    if name == "around" and len(groups) == 2:
        return surrounded(rng, groups, who, shape, scale)
    regions = regions_of(rng, groups, name, who)
    stand = name not in ("above", "place", "triangle")
    return [arrange(rng, count, look, regions[i], shape, scale, stand) for i, (count, look) in enumerate(groups)]


def weight(group):
    count, look = group
    return (count ** 0.8) * look.size * max(0.5, look.aspect) ** 0.7


def regions_of(rng, groups, name, who):
    everyone = list(range(len(groups)))
    others = [i for i in everyone if i not in who]
    regions = {}
    if name in ("left", "between", "row"):
        order = list(who)
    elif name == "above":
        order = []
    else:
        order = []
    if name == "above":
        region, rest = leave_room(rng, groups, others, axis=0)
        share = 0.5 + 0.12 * (rng.random() - 0.5)
        regions[who[0]], regions[who[1]] = split(region, 1, (share, 1 - share))
    elif name in ("left", "between"):
        # Others stand beyond, or in a strip below or above.
        if others and rng.random() < 0.6:
            order = order + others if rng.random() < 0.5 else others + order
            others = []
        region, rest = leave_room(rng, groups, others, axis=1)
        shares = [max(0.55, min(2.0, weight(groups[i]))) for i in order]
        for i, part in zip(order, split(region, 0, shares)):
            regions[i] = part
    elif name == "triangle":  # the first above the second, the third to the left of both or right of them
        side = rng.random() < 0.5 if len(who) < 4 else who[3] == "left"
        parts = split(WHOLE, 0, (0.45, 0.55) if side else (0.55, 0.45))
        column, beside = (parts[1], parts[0]) if side else parts
        regions[who[0]], regions[who[1]] = split(column, 1, (0.5, 0.5))
        regions[who[2]] = beside
        rest, others = None, [i for i in others if i not in who[:3]]
        if others:
            rest = None
    elif name == "place":
        region, rest = CORNERS[who[1]], None
        regions[who[0]] = region
        others = [i for i in everyone if i != who[0]]
        rest = opposite(who[1])
    elif name == "front":  # the first lower than the second
        upper, lower = split((4, 4, 60, 63), 1, (0.55, 0.45))
        regions[who[0]], regions[who[1]] = lower, upper
        rest = None
        if others:
            left, right = split(upper, 0, (0.6, 0.4))
            regions[who[1]], rest = (left, right) if rng.random() < 0.5 else (right, left)
    else:
        order = everyone[:]
        if rng.random() < 0.25:
            rng.shuffle(order)
        fliers = [i for i in order if groups[i][1].place == "air"]
        walkers = [i for i in order if i not in fliers]
        bands = [(walkers, WHOLE)]
        if fliers and walkers:
            upper, lower = split(WHOLE, 1, (0.36, 0.64))
            bands = [(fliers, upper), (walkers, lower)]
        elif fliers:
            bands = [(fliers, WHOLE)]
        elif len(order) >= 4:
            half = len(order) // 2
            upper, lower = split(WHOLE, 1, (0.5, 0.5))
            bands = [(order[:half], upper), (order[half:], lower)]
        for members, band in bands:
            shares = [max(0.5, min(2.2, weight(groups[i]))) for i in members]
            for i, part in zip(members, split(band, 0, shares)):
                regions[i] = part
        return regions
    if others:
        axis = 0 if rest[2] - rest[0] >= rest[3] - rest[1] else 1
        for i, part in zip(others, split(rest, axis, [max(0.5, weight(groups[i])) for i in others])):
            regions[i] = part
    return regions


def leave_room(rng, groups, others, axis):
    """The main region and what is left beside it for the others."""
    if not others:
        return WHOLE, None
    share = min(0.45, 0.25 + 0.08 * len(others))
    if rng.random() < 0.5:
        main, rest = split(WHOLE, axis, (1 - share, share))
    else:
        rest, main = split(WHOLE, axis, (share, 1 - share))
    return main, rest


def opposite(where):
    if "left" in where:
        return (34, 4, 63, 62)
    if "right" in where:
        return (1, 4, 30, 62)
    if where == "top":
        return (2, 33, 62, 63)
    if where == "bottom":
        return (2, 1, 62, 31)
    return (1, 50, 63, 63)


def stacked(rng, groups, who, shape, scale):
    """The first on the second: a large support below, the others' bottoms on its top."""
    top, below = who[:2]
    others = [i for i in range(len(groups)) if i not in who]
    region, rest = (WHOLE, None) if not others else tuple(split(WHOLE, 0, (0.68, 0.32)))
    if others and rng.random() < 0.5:
        rest, region = split(WHOLE, 0, (0.32, 0.68))
    x0, _, x1, _ = region
    count, look = groups[below]
    w, h, centres = arrange(rng, count, look, (x0, 34, x1, 62), shape, scale * 1.15)
    edge = min(cy for _, cy in centres) - h / 2
    result = {below: (w, h, centres)}
    count, look = groups[top]
    middle = sum(cx for cx, _ in centres) / len(centres)
    reach = max(w * len(centres) * 0.9, 12) / 2
    band = (max(x0, middle - reach), 2, min(x1, middle + reach), max(12, edge))
    tw, th, spots = arrange(rng, count, look, band, shape, scale * 0.8)
    lift = max(12, edge) - (max(cy for _, cy in spots) + th / 2)
    result[top] = (tw, th, [inside(cx, cy + lift, tw, th) for cx, cy in spots])
    for i, part in zip(others, split(rest, 1, [1] * len(others)) if others else []):
        result[i] = arrange(rng, *groups[i], part, shape, scale)
    return [result[i] for i in range(len(groups))]


def contained(rng, groups, who, shape, scale):
    """The first in the second: small boxes in the upper middle of a large one."""
    inner, outer = who[:2]
    others = [i for i in range(len(groups)) if i not in who]
    region, rest = (WHOLE, None) if not others else tuple(split(WHOLE, 0, (0.66, 0.34)))
    _, look = groups[outer]
    w, h, centres = arrange(rng, 1, look, region, shape, scale * 1.35)
    (cx, cy), (count, look) = centres[0], groups[inner]
    band = (cx - w * 0.36, cy - h * 0.42, cx + w * 0.36, cy + h * 0.2)
    result = {outer: (w, h, centres), inner: arrange(rng, count, look, band, shape, min(scale, h) * 0.6, stand=False)}
    for i, part in zip(others, split(rest, 1, [1] * len(others)) if others else []):
        result[i] = arrange(rng, *groups[i], part, shape, scale)
    return [result[i] for i in range(len(groups))]


def surrounded(rng, groups, who, shape, scale):
    """The second around the first."""
    centre, ring = who[:2]
    w, h, middle = arrange(rng, 1, groups[centre][1], (22, 20, 42, 46), shape, scale, stand=False)
    count, look = groups[ring]
    rw, rh, _ = arrange(rng, 1, look, (0, 0, 16, 16), shape, scale * 0.6)
    turn = rng.random() * 0.5
    spots = []
    for i in range(count):
        angle = 2 * math.pi * (i + turn) / count
        spots.append(inside(32 + 24 * math.cos(angle), 32 + 24 * math.sin(angle), rw, rh))
    result = {centre: (w, h, middle), ring: (rw, rh, spots)}
    return [result[0], result[1]]
