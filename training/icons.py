"""Things as pictures: flat icons in the world's colours, cut to their edges.

The icons are the flat Fluent emoji (MIT licence) of the npm package named in `PACKAGE`, drawn from SVG by resvg. An icon's own fills fall into
roles (`FILLS`): the middle, dark and light tone of the colour that a thing is to have. What is not listed keeps its own colour (wheels, windows, stems), so that a green
car is still a car.
"""

import io
import re
import subprocess
import tarfile
from functools import lru_cache

import resvg_py
from PIL import Image, ImageDraw, ImageFilter

PACKAGE = "@lobehub/fluent-emoji-flat@1.1.0"
LONGER = 448  # pixels of an icon's longer side before it is scaled down into a scene

# kind: code point, and what becomes of its fills. m, d, l take the colour's middle, dark and light tone; x is left out; `drop` leaves out the path that starts so;
# `mirror` turns an icon around for good, so that the dog looks right where the cat looks left; `turn` rotates it (degrees).
FILLS = {
    "backpack": ("1f392", dict(m="F8312F", l="FCD53F", d="CA0B4A")),
    "book": ("1f4d5", dict(m="CA0B4A", d="990838")),
    "bottle": ("1f37e", dict(m="44911B", l="F3C07B", x="E19747 FEEFC2 FFDEA7", turn=45, drop="M6.89128 3.60512")),
    "bowl": ("1f35c", dict(m="F8312F", d="CA0B4A", x="FCD53F E39D89")),
    "car": ("1f697", dict(m="F8312F", d="CA0B4A")),
    "cat": ("1f408", dict(m="F3AD61", d="D3883E", l="FFDEA7")),
    "chair": ("1fa91", dict(m="A56953", d="7D4533 402A32")),
    "cup": ("1f964", dict(m="CDC4D6", d="E5336D CA0B4A")),
    "dog": ("1f415", dict(m="F3AD61", d="D3883E", l="FFDEA7", mirror=True)),
    "laptop": ("1f4bb", dict(l="26C9FC", m="7167A4 D3D3D3", d="9B9B9B")),
    "apple": ("1f34e", dict(m="F8312F")),
    "ball": ("26bd", dict(m="F4F4F4", d="3F5FFF 1C5CD7 BEBEBE")),
    "bird": ("1f426", dict(m="CA0B4A")),
    "fish": ("1f41f", dict(m="00A6ED", d="0074BA")),
    "flower": ("1f33c", dict(m="D3D3D3")),
    "umbrella": ("2602-fe0f", dict(m="8D65C5", d="433B6B")),
    "tree": ("1f332", dict(m="44911B")),
    "house": ("1f3e0", dict(m="F3C07B", d="F8312F", x="00F397")),
    "boat": ("26f5", dict(m="FCD53F FF8257", d="FF9F2E", x="00A6ED")),
    "hat": ("1f3a9", dict(m="533566", d="321B41", l="F8312F")),
    "star": ("2b50", dict(m="FCD53F")),
    "mushroom": ("1f344", dict(m="F8312F", l="FBB8AB")),
    "banana": ("1f34c", dict(m="FCD53F", l="FFF478", d="F9C23C")),
    "clock": ("23f0", dict(m="F8312F", d="F9C23C D3D3D3")),
    "elephant": ("1f418", dict(m="9B9B9B", d="636363", l="D3D3D3")),
    "rabbit": ("1f407", dict(m="white", d="9B9B9B", l="FF8687")),
    "bus": ("1f68c", dict(m="FFB02E")),
    "balloon": ("1f388", dict(m="F8312F", d="CA0B4A", l="FF8687")),
    "teapot": ("1fad6", dict(m="F8312F", d="CA0B4A", l="FF822D")),
    "guitar": ("1f3b8", dict(m="F4F4F4", d="CA0B4A")),
    "butterfly": ("1f98b", dict(m="FF6723", l="FF822D")),
    "turtle": ("1f422", dict(m="008463", l="00D26A")),
}


@lru_cache(maxsize=None)
def folder(cache):
    """Where the SVG files lie below `cache`; they are fetched once."""
    assets = cache / "package" / "assets"
    if not assets.is_dir():
        cache.mkdir(exist_ok=True)
        name = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=cache, check=True, capture_output=True,
                              text=True).stdout.strip().splitlines()[-1]
        with tarfile.open(cache / name) as archive:
            archive.extractall(cache, filter="data")
    return assets


@lru_cache(maxsize=None)
def icon(cache, name, tones, flipped):
    """The icon of a kind in three tones (middle, dark, light; None for its own colours): RGBA, longer side `LONGER` pixels."""
    code, fills = FILLS[name]
    svg = (folder(cache) / f"{code}.svg").read_text()
    if "turn" in fills:
        svg = re.sub(r"(<svg[^>]*>)(.*)</svg>", rf'\1<g transform="rotate({fills["turn"]} 16 16)">\2</g></svg>', svg, flags=re.S)
    for part in fills.get("x", "").split():
        svg = re.sub(rf'<(path|rect|circle|ellipse)[^>]*"#{part}"[^>]*/>', "", svg)
    if "drop" in fills:
        svg = re.sub(rf'<path d="{re.escape(fills["drop"])}[^>]*/>', "", svg)
    for role, tone in zip("mdl", tones or ()):
        for part in fills.get(role, "").split():
            svg = svg.replace(f'"{part}"' if part == "white" else f'"#{part}"', '"#%02x%02x%02x"' % tone)
    svg = svg.replace('viewBox="0 0 32 32"', 'viewBox="-4 -4 40 40"')  # a turned icon may leave its square
    image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=640, height=640)))).convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 100)).getbbox())
    scale = LONGER / max(image.size)
    image = image.resize([max(1, round(v * scale)) for v in image.size], Image.LANCZOS)
    return image.transpose(Image.FLIP_LEFT_RIGHT) if flipped != fills.get("mirror", False) else image


@lru_cache(maxsize=2000)
def contact_shadow(width):
    """A soft shadow below a thing of `width` pixels: a mask (L) to be centred on the middle of its lower edge."""
    rx, ry, pad = 0.46 * width, max(1.5, 0.07 * width), 5
    mask = Image.new("L", (4 * (round(2 * rx) + 2 * pad), 4 * (round(2 * ry) + 2 * pad)))
    cx, cy = mask.width / 2, mask.height / 2
    ImageDraw.Draw(mask).ellipse((cx - 4 * rx, cy - 4 * ry, cx + 4 * rx, cy + 4 * ry), fill=90)
    return mask.filter(ImageFilter.GaussianBlur(5)).resize((mask.width // 4, mask.height // 4), Image.BOX)
