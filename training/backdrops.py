"""Twelve flat backdrops with a straight ground line on the grid of latent cells."""

import numpy as np

# The first cell row of the ground: the lowest of three neighbouring heights. 0: no ground line, a thing stands anywhere.
GROUND = {"wall": 0, "room": 9, "table": 9, "forest": 6, "mountain": 7}
GROUND_ELSEWHERE = 5


def ground_row(name, seed):
    """The cell row where the ground begins in the backdrop that `seed` draws."""
    low = GROUND.get(name, GROUND_ELSEWHERE)
    return low and low + seed % 3


def draw(name, seed, size, cell, rng):
    """A backdrop (size, size, 3) uint8 in pale flat colours; its details (stars, stripes, trunks) lie on the cell grid too."""
    y, x = np.arange(size, dtype=np.float32)[:, None], np.arange(size, dtype=np.float32)[None, :]
    horizon = cell * ground_row(name, seed)

    def flat(color, step=0):
        """One colour that grows lighter by `step` from the bottom to the top."""
        return np.array(color) + rng.normal(0, 3, 3) + step * (0.5 - y / size)[..., None]

    def peaks(tops, slope):
        """Where triangles cover the picture: each top is (x, height over the horizon)."""
        return np.any([(y >= horizon - height + slope * np.abs(x - at)) & (y < horizon) for at, height in tops], axis=0)[..., None]

    below = (y >= horizon)[..., None]
    sky = flat((150, 205, 245), -30)
    if name == "field":
        picture = np.where(below, flat((172, 214, 128), 16), sky)
    elif name == "beach":
        picture = np.where(below, np.where((y >= horizon + 2 * cell)[..., None], flat((240, 220, 170), 10), flat((96, 190, 205))), sky)
    elif name == "snow":
        picture = np.where(below, flat((212, 226, 242), -10), flat((158, 182, 214), -16))
    elif name == "room":
        walls = [(238, 220, 190), (212, 226, 200), (240, 214, 212), (212, 222, 238)]
        picture = np.where(below, flat((190, 148, 108), 12), flat(walls[rng.integers(4)]))
        picture = np.where(((y >= horizon - cell / 2) & (y < horizon))[..., None], flat((250, 248, 244)), picture)
    elif name == "street":
        dashes = (x + cell * int(rng.integers(4))) % (4 * cell) < 2 * cell
        stripe = ((y >= horizon + 3 * cell) & (y < horizon + 3.5 * cell) & dashes)[..., None]
        picture = np.where(below, np.where(stripe, (240, 236, 215), flat((128, 130, 138), 8)), flat((226, 214, 204)))
    elif name == "night":
        picture = np.where(below, flat((84, 100, 128), 8), flat((44, 52, 118), -20))
        picture = np.array(np.broadcast_to(picture, (size, size, 3)))
        half = cell // 2
        for sx, sy in zip(rng.integers(0, size // cell, 6), rng.integers(0, horizon // cell, 6)):
            picture[sy * cell + half - 1:sy * cell + half + 1, sx * cell + half - 1:sx * cell + half + 1] = (235, 232, 190)
    elif name == "ocean":
        picture = np.where(below, flat((52, 130, 196), 30), sky)
    elif name == "desert":
        picture = np.where(below, flat((234, 190, 120), 14), flat((250, 226, 190), -16))
    elif name == "forest":
        trunks = ((x + cell * int(rng.integers(4))) % (4 * cell) < cell)[..., None] & (y >= horizon - 3 * cell)[..., None]
        woods = np.where(trunks, flat((104, 96, 74)), flat((92, 138, 96), 18))
        picture = np.where(below, flat((140, 176, 104), 12), woods)
    elif name == "mountain":
        shift = cell * int(rng.integers(-2, 3))
        tops = [(3 * cell + shift, 4 * cell), (9 * cell + shift, 5 * cell), (14 * cell + shift, 3 * cell)]
        caps = [(at, height) for at, height in tops]
        rock = np.where(peaks(caps, 1.0) & (y < horizon - 2.5 * cell)[..., None], (242, 246, 250), flat((140, 150, 172)))
        picture = np.where(below, flat((164, 200, 140), 12), np.where(peaks(tops, 1.0), rock, sky))
    elif name == "table":
        walls = [(222, 230, 236), (236, 226, 214), (220, 232, 222)]
        picture = np.where(below, flat((172, 118, 76), 10), flat(walls[rng.integers(3)]))
        picture = np.where(((y >= horizon) & (y < horizon + cell / 2))[..., None], flat((208, 158, 110)), picture)
    else:
        picture = flat(rng.uniform(150, 225, 3) * 0.5 + rng.uniform(160, 220) * 0.5, 14)
    return np.broadcast_to(np.clip(picture, 0, 255).astype(np.uint8), (size, size, 3))
