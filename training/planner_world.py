"""The planner's world: synthetic captions and the answers that are right for them, `sample(rng)` after `sample`.

The words of a caption are numbered, and an answer points at them and adds numbers:

    square: two<1> red<2> apples<3> to<4> the<5> left<6> of<7> a<8> sleeping<9> cat<10>, no<11> dogs<12>
     2<1><3>: 14 14 10 40 26 40; 1<8><10>: 26 24 48 42 | | |<12><12>

Kinds of things, separated by `;`, each with its count, the first and the last word of its name, `:`, its size in cells (w h) and a centre (x y) for each
instance; then, after `|`, the style ("a watercolor"), the settings ("in a park", separated by `;`) and what must not be there. Nothing has to be spelled,
so unknown words are no harder than known ones.
"""

import random
import re
from functools import lru_cache

import planner_layout as layout
from planner_layout import SHAPES
from planner_nouns import Look, common, made_up, regular_plural, wordnet
from world import held_out

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty").split()
COLORS = "red orange yellow green blue purple pink brown black white gray grey golden silver turquoise violet beige dark-green light-blue crimson teal".split()
ADJECTIVES = ("big small large tiny huge old new young wooden metal plastic glass stone shiny rusty broken round square striped spotted fluffy furry "
              "cute happy sad angry sleepy tall short fat thin long beautiful ugly colorful bright dark transparent vintage modern antique expensive cheap fresh "
              "ripe rotten wet dry hot cold steaming empty full open closed realistic cartoon smiling sleeping running flying jumping standing sitting "
              "swimming barking burning melting dancing friendly scary magical futuristic medieval ancient giant miniature handmade embroidered ceramic leather").split()
WITH = ["a long tail", "blue eyes", "a beard", "long hair", "big ears", "white stripes", "black spots", "a hat", "glasses", "short legs", "red wings", "green leaves"]
DOING = ["reading a book", "holding an umbrella", "wearing a hat", "wearing sunglasses", "eating an apple", "playing the guitar", "drinking coffee", "carrying a bag",
         "wearing a red scarf", "holding a balloon", "made of glass", "made of wood", "full of water", "full of apples", "covered with snow", "in a red dress",
         "in a suit", "in uniform", "holding a sword", "playing chess", "eating ice cream", "looking at the camera", "with an open door", "in armor"]
ACTIONS = ["sleeping", "sitting", "standing", "running", "flying", "jumping", "dancing", "swimming", "walking", "playing", "smiling", "lying", "waiting", "eating", "resting", "burning", "parked"]
STYLES = ["a realistic photo", "a photo", "a realistic image", "an oil painting", "a painting", "a watercolor", "a watercolor painting", "a drawing", "a pencil sketch", "a sketch",
          "a cartoon", "a digital painting", "a 3d render", "a picture", "an image", "a photograph", "a black and white photo", "an illustration", "a charcoal drawing",
          "a pixel art", "a cinematic shot", "an impressionist painting", "a close-up photo", "a high quality photo", "a minimalist poster", "an anime illustration",
          "a top-down view", "an aerial view", "a bird's eye view", "a wide shot", "a low poly render", "a children's drawing", "a mosaic", "an old photograph", "a vector graphic",
          "a crayon drawing", "a studio photo", "a macro photo", "a fantasy painting", "a comic", "a ukiyo-e print", "a stained glass window", "a polaroid"]
SUFFIX_STYLES = ["oil painting", "digital art", "watercolor", "photorealistic", "pixel art", "anime style", "pencil sketch", "3d render", "cartoon style", "impressionism",
                 "concept art", "studio lighting", "black and white", "cinematic", "line art", "in the style of van gogh", "vintage photo"]
QUALITY = ["highly detailed", "8k", "4k", "high resolution", "masterpiece", "best quality", "sharp focus", "trending on artstation", "very detailed", "award winning"]
PLACES = ("park garden forest field meadow desert beach street kitchen living room bedroom bathroom office classroom library museum factory garage supermarket restaurant "
          "cafe bar church castle stadium playground farm barn village city town harbor river lake ocean sea mountain valley canyon cave jungle swamp island room studio hall "
          "corridor warehouse laboratory hospital airport train station parking lot backyard balcony rooftop snowfield courtyard market plaza bridge pool attic basement").replace(
              "living room", "living_room").replace("train station", "train_station").replace("parking lot", "parking_lot").split()
GROUNDS = ["the grass", "the street", "a road", "the floor", "the ground", "the snow", "the ice", "a hill", "the sand", "the sidewalk", "a frozen lake", "a dirt road", "green grass",
           "a wooden floor", "a plain background", "a white background", "a tablecloth", "the lawn", "wet asphalt", "the moon", "the sea", "the water"]
PLACE_ADJECTIVES = "indoor outdoor snowy sunny foggy empty crowded quiet dark bright green old modern abandoned tropical rainy beautiful busy narrow wide small large magical rocky flowery dusty".split()
TIMES = ["at night", "at sunset", "at dawn", "at noon", "in the morning", "in the evening", "in winter", "in summer", "in autumn", "in spring", "on a sunny day", "on a rainy day",
         "in the rain", "in the fog", "in the snow", "under a blue sky", "under a starry sky", "in the dark", "during a storm", "in the moonlight", "at midnight", "on a cloudy day",
         "by the sea", "by a lake", "in heavy rain", "against a blue sky", "against a brick wall", "in front of a brick wall", "in front of a white wall", "near a river", "in space", "underwater"]
SCENERY = ["sunset", "landscape", "forest", "desert", "beach", "street", "city skyline", "mountain range", "starry sky", "stormy sea", "valley", "waterfall", "meadow", "canyon",
           "night sky", "snowy landscape", "winter landscape", "skyline", "field of wheat", "coastline", "sunrise", "jungle", "empty room", "northern lights", "thunderstorm", "abstract pattern"]
SUPPORTS = [("table", 1.0, 1.6), ("chair", .9, .8), ("sofa", 1.1, 1.9), ("bench", 1.0, 1.8), ("desk", 1.0, 1.5), ("shelf", .9, 1.6), ("bed", 1.15, 1.6), ("stool", .7, .8), ("box", .6, 1.1),
            ("wooden table", 1.0, 1.6), ("rock", .7, 1.3), ("pillow", .6, 1.5), ("carpet", 1.0, 2.4), ("plate", .6, 1.7), ("roof", 1.2, 2.0), ("cabinet", 1.0, .9), ("counter", 1.1, 2.0),
            ("branch", .8, 2.2), ("tray", .7, 1.8), ("wall", 1.2, 1.8), ("fence", 1.0, 2.2), ("blanket", .9, 1.9), ("piano", 1.0, 1.4), ("car", 1.1, 1.8)]
HOLDERS = [("box", .7, 1.1), ("basket", .7, 1.2), ("bowl", .7, 1.5), ("bag", .7, .9), ("vase", .65, .6), ("cage", .8, .9), ("bathtub", 1.0, 1.7), ("boat", 1.05, 1.6), ("car", 1.1, 1.8), ("cup", .55, 1.0), ("suitcase", .7, 1.2)]
MOUNTS = [("horse", 1.0, 1.2), ("bicycle", .95, 1.4), ("motorcycle", .95, 1.5), ("elephant", 1.2, 1.25), ("skateboard", .6, 2.6), ("camel", 1.1, 1.1), ("dragon", 1.2, 1.3), ("unicycle", .8, .6), ("donkey", .9, 1.2), ("surfboard", .8, 2.4)]
RIDERS = ["man", "woman", "boy", "girl", "knight", "monkey", "robot", "astronaut", "cowboy", "person", "frog", "dog", "princess", "child"]
BESIDE = ["next to", "beside", "near", "close to", "by", "alongside", "and, next to it,", "standing next to", "facing"]
LEFT = ["to the left of", "on the left of", "left of", "on the left side of", "directly to the left of", "at the left of", "is to the left of", "is on the left of", "standing to the left of"]
ABOVE = ["above", "directly above", "over", "flying over", "hovering above", "is above", "hanging above", "floating above"]
BELOW = ["below", "under", "beneath", "underneath", "directly below", "is below", "lying under", "is under"]
INTROS = ["there is", "there are", "this is", "i want", "draw", "show me", "please draw", "imagine", "in this picture there is", "in this image there are", "we see", "picture of", "generate", "create an image of", "paint"]
VAGUE = [("", 3), ("", 3), ("", 3), ("some", 3), ("several", 4), ("a few", 3), ("many", 5), ("a group of", 4), ("lots of", 6), ("a bunch of", 4), ("a row of", 4)]
FILLERS = ["The lighting is soft.", "The colors are vivid.", "The mood is calm.", "It is very quiet.", "The sky is clear.", "The sun is shining.", "Everything looks peaceful.",
           "The light is warm.", "The picture is very detailed.", "The atmosphere is mysterious.", "The scene is full of joy.", "It looks like a dream."]


@lru_cache(maxsize=None)
def nouns():
    return common(), *wordnet()


class Caption:
    """A caption in parts; those with a tag are quoted in the answer."""

    def __init__(self):
        self.parts = []

    def add(self, text, tag=None):
        self.parts.append((text, tag))
        return self

    def finish(self, rng):
        """The text, and for each tag its quotes in order, as pairs of word numbers."""
        text, spans = "", []
        for part, tag in self.parts:
            part = part.replace("_", " ")
            glue = "" if not text or part[0] in ",.;:!" else " "
            start = len(text) + len(glue)
            text += glue + part
            if tag is not None:
                spans.append((start, len(text), tag))
        roll = rng.random()
        if roll < 0.45:
            text = text[0].upper() + text[1:]
        elif roll < 0.5:
            text = text.title()
        elif roll < 0.53:
            text = text.upper()
        if rng.random() < 0.25 and text[-1] not in ".!":
            text += rng.choice((".", ".", ".", "!"))
        quotes, words = {}, words_of(text)
        for start, end, tag in spans:
            inside = [i for i, (first, last) in enumerate(words, 1) if first >= start and last <= end]
            quotes.setdefault(tag, []).append((inside[0], inside[-1]))
        return text, quotes


def words_of(text):
    """Where the words of a text begin and end, signs around them left out."""
    words = []
    for match in re.finditer(r"[^ ]+", text):
        start, end = match.span()
        while start < end and not text[start].isalnum():
            start += 1
        while end > start and not text[end - 1].isalnum():
            end -= 1
        if start < end:
            words.append((start, end))
    return words


def numbered(text):
    """The text with its number behind each word."""
    parts, at = [], 0
    for i, (_, end) in enumerate(words_of(text), 1):
        parts.append(f"{text[at:end]}<{i}>")
        at = end
    return "".join(parts) + text[at:]


def article(phrase):
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def a_noun(rng):
    """(singular, plural, look)"""
    roll = rng.random()
    known, things, _, _ = nouns()
    if roll < 0.42:
        return rng.choice(known)
    if roll < 0.72:
        return rng.choice(things)
    name = made_up(rng)
    roll = rng.random()
    if roll < 0.03:
        name = name + "-" + made_up(rng)
    elif roll < 0.05:
        name = name.upper() if rng.random() < 0.5 else name.capitalize() + " " + str(rng.randint(1, 99))
    elif roll < 0.08:
        name = name.translate(str.maketrans("eanuo", rng.choice(("éanuo", "eañuo", "eanüö", "èànuo"))))
    elif roll < 0.2:
        name = rng.choice((made_up(rng), rng.choice(known)[0])) + " " + name
    many = name if rng.random() < 0.05 else regular_plural(name) if rng.random() < 0.7 else name + "s"
    return name, many, Look(0.65, 1.05)


def adjectives(rng):
    words = []
    if rng.random() < 0.25:
        words.append(made_up(rng) if rng.random() < 0.12 else rng.choice(ADJECTIVES))
    if rng.random() < 0.38:
        words.append(rng.choice(COLORS))
    if rng.random() < 0.05:
        words.append(rng.choice(nouns()[1])[0].split()[0])
    return "".join(word + " " for word in words)


def a_count(rng):
    roll = rng.random()
    if roll < 0.62:
        return 1
    if roll < 0.97:
        return rng.choices(range(2, 10), (30, 26, 18, 16, 9, 6, 6, 5))[0]
    return rng.randint(10, 20)


def a_group(rng, singular_only=False, noun=None):
    """(words, count, look)"""
    one, many, look = noun or a_noun(rng)
    count = 1 if singular_only else a_count(rng)
    described = adjectives(rng)
    if not singular_only and rng.random() < 0.07:
        number, count = rng.choice(VAGUE)
        words = (number + " " + described + many).strip()
    elif count == 1:
        roll = rng.random()
        if roll < 0.80:
            words = article(described + one)
        elif roll < 0.86:
            words = rng.choice(("one ", "1 ", "a single ")) + described + one
        elif roll < 0.94:
            words = rng.choice(("the ", "the ", "his ", "my ", "some ", "another ", "this ")) + described + one
        elif roll < 0.97 and one.isalpha():
            words = made_up(rng).capitalize()  # somebody by name
            look = Look(1.0, 0.45)
        else:
            words = described + one
    else:
        number = NUMBERS[count] if rng.random() < 0.72 else str(count)
        if count == 2 and rng.random() < 0.2:
            number = rng.choice(("a pair of", "a couple of", "a pair of"))
        if count == 12 and rng.random() < 0.5:
            number = "a dozen"
        words = (number + " " + described + many).strip()
    if rng.random() < 0.06:
        words += " " + rng.choice(DOING)
    elif rng.random() < 0.03:
        words += " with " + rng.choice(WITH)
    elif rng.random() < 0.06:
        words += " " + rng.choice(ACTIONS)
    return words, count, look


def a_place(rng):
    roll = rng.random()
    if roll < 0.62:
        return rng.choice(PLACES)
    return rng.choice(nouns()[2]) if roll < 0.88 else made_up(rng)


def a_setting(rng):
    roll = rng.random()
    if roll < 0.35:
        return rng.choice(TIMES)
    if roll < 0.5:
        return "on " + rng.choice(GROUNDS)
    described = "".join(word + " " for word in rng.sample(PLACE_ADJECTIVES, rng.choice((0, 0, 1, 1, 2))))
    ending = rng.choice(("", "", "", "", " scene", " at night", " with a wooden floor", " in winter"))
    place = described + a_place(rng) + ending
    placed = ("the " if rng.random() < 0.2 else "") + place
    return rng.choice(("in ", "in ", "in ", "at ", "on ", "inside ", "in front of ", "across ")) + (placed if placed != place else article(place))


def an_exclusion(rng):
    """(opener, [nouns], joiner)"""
    opener = rng.choice(("without", "without", "without any", "no", "no", "with no", "but no", "not any", "and no", "but without", "excluding", "free of", ". There are no", ". No", "but not any", "and without any"))
    many = rng.choices((1, 2, 3), (80, 16, 4))[0]
    names = []
    for _ in range(many):
        one, several, _ = a_noun(rng)
        described = rng.choice(COLORS) + " " if rng.random() < 0.08 else ""
        names.append(described + (several if rng.random() < 0.75 else one if "without any" in opener or "no" in opener else article(one)))
    if rng.random() < 0.12:
        names[0] = rng.choice(("people", "text", "humans", "clouds", "water", "snow", "trees", "furniture", "grass", "shadows", "letters"))
    return opener, names, rng.choice(("or", "or", "and"))


def add_exclusion(caption, rng):
    opener, names, joiner = an_exclusion(rng)
    if opener.startswith("."):
        caption.add(".").add(opener[2:])
    else:
        if rng.random() < 0.45:
            caption.add(",")
        caption.add(opener)
    for i, name in enumerate(names):
        if i and i == len(names) - 1:
            caption.add(joiner)
            if opener in ("no", "with no", "but no", "and no") and joiner == "and":
                caption.add("no")
        elif i:
            caption.add(",")
        caption.add(name, "negative")


def add_list(caption, rng, groups, first):
    """`a, b and c`; the groups are numbered from `first`."""
    for i, (words, _, _) in enumerate(groups):
        if i and i == len(groups) - 1:
            if len(groups) > 2 and rng.random() < 0.3:
                caption.add(",")
            caption.add(rng.choice(("and", "and", "and", "and", "as well as", "plus", "with")))
        elif i:
            caption.add(",")
        caption.add(words, first + i)


def body(caption, rng):
    """Adds the things; returns their groups and the relation between them."""
    kind = rng.choices(("list", "left", "above", "sides", "ends", "on", "in", "beside", "between", "place", "triangle", "front", "around", "riding", "sentences"),
                       (30, 13, 11, 9, 6, 8, 3, 6, 2, 6, 2, 3, 1.5, 2, 3))[0]
    if kind == "list":
        groups = [a_group(rng) for _ in range(rng.choices((1, 2, 3, 4, 5), (34, 36, 18, 8, 4))[0])]
        add_list(caption, rng, groups, 0)
        return groups, ("none",)
    if kind in ("left", "above", "beside", "front"):
        groups = [a_group(rng), a_group(rng)]
        relation, flipped = two_related(rng, kind)
        caption.add(groups[0][0], 0).add(relation).add(groups[1][0], 1)
        name = {"left": "left", "above": "above", "beside": "left", "front": "front"}[kind]
        order = (1, 0) if flipped else (0, 1)
        groups += more(caption, rng, 2)
        return groups, (name, *order)
    if kind == "sides":  # as in `a cat on the left and a dog on the right`
        groups = [a_group(rng), a_group(rng)]
        axis = rng.choice(("left", "above"))
        names = ("left", "right") if axis == "left" else rng.choice((("top", "bottom"), ("top", "bottom"), ("upper half", "lower half")))
        flipped = rng.random() < 0.5
        first, second = names[::-1] if flipped else names
        phrase = rng.choice(("on the {}", "on the {}", "at the {}", "on the {} side", "to the {}", "in the {}", "placed on the {}"))
        caption.add(groups[0][0], 0).add(phrase.format(first))
        caption.add(rng.choice(("and", "and", ",", "and there is", "with", ", and"))).add(groups[1][0], 1).add(phrase.format(second))
        return groups, (axis, *((1, 0) if flipped else (0, 1)))
    if kind == "ends":  # `a cat; on its left is a dog`
        groups = [a_group(rng), a_group(rng)]
        side = rng.choice(("left", "right", "above", "below"))
        them = "them" if groups[0][1] > 1 else "it"
        words = {"left": f"on the left of {them}", "right": f"on the right of {them}", "above": f"above {them}", "below": f"below {them}"}[side]
        lead = rng.choice(("and", "with", ", and"))
        caption.add(groups[0][0], 0).add(lead).add(groups[1][0], 1).add(words)
        axis = "left" if side in ("left", "right") else "above"
        return groups, (axis, *((1, 0) if side in ("left", "above") else (0, 1)))
    if kind in ("on", "in", "riding"):
        table = {"on": SUPPORTS, "in": HOLDERS, "riding": MOUNTS}[kind]
        name, size, aspect = rng.choice(table)
        below = a_group(rng, singular_only=True, noun=(name, regular_plural(name), Look(size, aspect)))
        rider = rng.choice(RIDERS)
        top = a_group(rng) if kind != "riding" else a_group(rng, singular_only=True, noun=(rider, regular_plural(rider), Look(0.9, 0.55)))
        relation = {"on": ("on", "on", "on top of", "sitting on", "lying on", "standing on", "sleeping on", "is on"), "in": ("in", "inside", "inside of", "sitting in"), "riding": ("riding", "riding on", "riding", "on")}[kind]
        caption.add(top[0], 0).add(rng.choice(relation)).add(below[0], 1)
        groups = [top, below] + more(caption, rng, 2)
        return groups, ("in" if kind == "in" else "on", 0, 1)
    if kind == "between":
        groups = [a_group(rng) for _ in range(3)]
        caption.add(groups[0][0], 0).add(rng.choice(("between", "standing between", "is between", "in between"))).add(groups[1][0], 1).add("and").add(groups[2][0], 2)
        return groups, ("between", 1, 0, 2)
    if kind == "place":
        groups = [a_group(rng)]
        where = rng.choice(list(layout.CORNERS))
        if where == "middle":
            words = rng.choice(("in the middle", "in the center", "in the centre of the picture", "in the middle of the image"))
        elif " " in where:
            words = rng.choice(("in the {} corner", "in the {}", "at the {}", "in the {} corner of the image")).format(where)
        else:
            words = rng.choice(("on the {}", "at the {}", "on the {} side", "at the {} of the image", "on the {} side of the picture")).format(where)
        caption.add(groups[0][0], 0).add(words)
        if rng.random() < 0.4:
            caption.add(rng.choice(("and", ", and", "with", "and there is")))
            groups.append(a_group(rng))
            caption.add(groups[1][0], 1)
        return groups, ("place", 0, where)
    if kind == "triangle":
        groups = [a_group(rng, True), a_group(rng, True), a_group(rng)]
        above = rng.random() < 0.6
        caption.add(groups[0][0], 0).add(rng.choice(ABOVE if above else BELOW)).add(groups[1][0], 1).add(rng.choice(("with", "and", ", with"))).add(groups[2][0], 2)
        side = rng.choice(("left", "right"))
        caption.add(rng.choice((f"on the {side} of them", f"to the {side} of them", f"on their {side}")))
        return groups, ("triangle", *((0, 1) if above else (1, 0)), 2, side)
    if kind == "around":
        groups = [a_group(rng, True), a_group(rng)]
        while groups[1][1] < 3:
            groups[1] = a_group(rng)
        caption.add(groups[0][0], 0).add("surrounded by").add(groups[1][0], 1)
        return groups, ("around", 0, 1)
    groups = [a_group(rng)]  # sentences
    caption.add(groups[0][0], 0)
    groups += more(caption, rng, 1, always=True)
    if rng.random() < 0.5:
        caption.add(".").add(rng.choice(FILLERS).rstrip("."))
    return groups, ("none",)


def two_related(rng, kind):
    """The words between two things, and whether the second comes first on the axis."""
    if kind == "left":
        words = rng.choice(LEFT)
        if rng.random() < 0.5:
            return words.replace("left", "right"), True
        return words, False
    if kind == "above":
        return (rng.choice(ABOVE), False) if rng.random() < 0.55 else (rng.choice(BELOW), True)
    if kind == "front":
        return ("in front of", False) if rng.random() < 0.6 else ("behind", True)
    return rng.choice(BESIDE), False


def more(caption, rng, first, always=False):
    groups = []
    if not always and rng.random() > 0.16:
        return groups
    for i in range(rng.choice((1, 1, 2)) + always):
        groups.append(a_group(rng))
        caption.add(rng.choice(("and", ", and", "with", "plus") if not always else (". There is also", ". Next to it there is", ". In the background,", "and", ". There are also")))
        caption.add(groups[-1][0], first + i)
    return groups


def described(rng):
    """A caption with its things."""
    caption = Caption()
    roll = rng.random()
    if roll < 0.30:
        caption.add(a_style(rng), "style").add("of")
        if rng.random() < 0.45:
            caption.add("a scene")
            if rng.random() < 0.15:
                caption.add(a_setting(rng), "setting")
            caption.add(rng.choice(("with", "with", "with", "with", "showing", "featuring", "containing")))
    elif roll < 0.37:
        caption.add(a_setting(rng), "setting").add(rng.choice((",", ", there is", "there are", ",")))
    elif roll < 0.44:
        place = "".join(word + " " for word in rng.sample(PLACE_ADJECTIVES, rng.choice((0, 1)))) + a_place(rng)
        if rng.random() < 0.4:
            caption.add(a_style(rng), "style").add("of")
        caption.add(article(place), "setting").add("with")
    elif roll < 0.50:
        caption.add(rng.choice(INTROS))
    elif roll < 0.53:
        caption.add(rng.choice(("a scene with", "an image with", "a picture showing", "scene:", "a scene featuring")))
    groups, relation = body(caption, rng)
    if rng.random() < 0.12:
        add_exclusion(caption, rng)
        excluded = True
    else:
        excluded = False
    if rng.random() < 0.32:
        if excluded or rng.random() < 0.15:
            caption.add(",")
        caption.add(a_setting(rng), "setting")
        if rng.random() < 0.2:
            caption.add(rng.choice(TIMES), "setting")
    if not excluded and rng.random() < 0.16:
        add_exclusion(caption, rng)
    if rng.random() < 0.05:
        caption.add(",").add(rng.choice(SUFFIX_STYLES), "style")
    if rng.random() < 0.05:
        for words in rng.sample(QUALITY, rng.choice((1, 2, 3))):
            caption.add(",").add(words)
    if rng.random() < 0.05:
        caption.add(".").add(rng.choice(FILLERS))
    return caption, groups, relation


def a_style(rng):
    return rng.choice(STYLES) if rng.random() < 0.93 else article(made_up(rng) + " " + rng.choice(("painting", "photo", "drawing", "render")))


def empty(rng):
    """A caption without a thing to draw a box around."""
    caption = Caption()
    roll = rng.random()
    if roll < 0.35:
        caption.add(a_style(rng), "style").add("of a scene")
        if rng.random() < 0.3:
            caption.add(a_setting(rng), "setting")
        add_exclusion(caption, rng)
    elif roll < 0.85:
        if rng.random() < 0.4:
            caption.add(a_style(rng), "style").add("of")
        scenery = rng.choice((rng.choice(SCENERY), a_place(rng) if rng.random() < 0.5 else rng.choice(PLACES)))
        words = article(rng.choice(("empty ", "beautiful ", "", "", "wide ", "dark ")) + scenery)
        words += rng.choice(("", "", " at night", " in winter", " over the ocean", " in the morning", " in the mountains", " by the sea", " under a cloudy sky", " at dusk"))
        caption.add(words, "setting")
        if rng.random() < 0.4:
            add_exclusion(caption, rng)
    else:
        if rng.random() < 0.3:
            caption.add(a_style(rng), "style").add("of")
        ideas = nouns()[3]
        caption.add(rng.choice(ideas) if rng.random() < 0.7 else rng.choice(ideas) + rng.choice((" and ", " of ")) + rng.choice(ideas), "setting")
    return caption


def sample(rng):
    """(shape, caption, answer), never a caption that is kept for evaluation."""
    while True:
        shape = rng.choices(list(SHAPES), (70, 18, 12))[0]
        if rng.random() < 0.08:
            caption, groups, relation = empty(rng), [], ("none",)
        else:
            caption, groups, relation = described(rng)
        if sum(count for _, count, _ in groups) > 24:
            continue
        text, quotes = caption.finish(rng)
        if len(words_of(text)) > 75 or held_out(text):
            continue
        boxes = layout.place(rng, [group[1:] for group in groups], relation, shape) if groups else []
        return shape, text, answer(quotes, groups, boxes)


def answer(quotes, groups, boxes):
    kinds = []
    for i, ((_, count, _), (w, h, centres)) in enumerate(zip(groups, boxes)):
        numbers = " ".join(str(n) for n in (w, h, *(n for centre in centres for n in centre)))
        kinds.append(f" {count}{pointer(quotes[i][0])}: {numbers}")
    told = [";".join(pointer(quote) for quote in quotes.get(tag, [])) for tag in ("style", "setting", "negative")]
    return ";".join(kinds) + " |" + " |".join(told)


def pointer(quote):
    return f"<{quote[0]}><{quote[1]}>"


if __name__ == "__main__":
    rng = random.Random(5)
    for _ in range(40):
        shape, caption, told = sample(rng)
        print(shape, numbered(caption), told, sep="\n    ")
