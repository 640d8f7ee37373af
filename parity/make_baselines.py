"""The baseline methods: `python parity/make_baselines.py` writes fixtures/baselines/{smoothing,sd1,sd2,small,pictures}.safetensors.

Independent of the Rust code and of the methods' own: plain loops over the published formulas, autograd for every gradient.

`smoothing`: random `image.<h>x<w>` (H, W, T) and `smoothed.<h>x<w>`, BoxDiff's 3×3 kernel `kernel` with mirrored edges.

`sd1`, `sd2`, `small`: losses end to end as in make_losses.py: `latents` (1, 4, h, w) channels first, `text` (1, L, C), `<loss>` and `<loss>.gradient` with respect
to the latents for Backward Guidance's `ratio` (guidance keys) and BoxDiff's `boxdiff` and `worst` (all keys of one grid; the worst inner-box term alone).

`pictures`: whole short runs in the published form, `image.<case>` (H, W, 3) u8 and the final `latents.<case>` (1, 4, h, w); the arguments of each case in the
header under `cases`, the layout under `layout`. Boxes of losses are proportions x0, y0, x1, y1; those of the layout are pixels x, y, w, h.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from attention_maps import guidance_keys, record
from common import MODELS, generator, write

SEED = 53
# As in make_losses.py: where rounding would decide which cell is the largest, the seed is passed over. Probabilities are multiplied by 100 here.
MIN_GAP = 1e-4
gaps = []
OBJECTS = [
    {"boxes": [[0.1, 0.2, 0.55, 0.75]], "tokens": [2, 3]},
    {"boxes": [[0.5, 0.45, 0.95, 0.9], [0.0, 0.6, 0.45, 1.0]], "tokens": [5, 6, 7]},
]
CANVAS = 512
LAYOUT = {
    "canvas": {"width": CANVAS, "height": CANVAS},
    "objects": [
        {"phrase": "a white bowl", "bbox": [300, 300, 150, 120]},
        {"phrase": "a blue dog", "bbox": [40, 150, 200, 260]},
        {"phrase": "a white bowl", "bbox": [320, 40, 120, 120]},
    ],
    "background": "a photo of a house",
    "negative": "sky",
}
# As the published code composes it: sorted names, counted.
PROMPT, PHRASES = "a photo of a house with a blue dog, two white bowls", {"a blue dog": [1], "two white bowls": [0, 2]}
NEGATIVE = "blurry, left"


# Boxes on grids

def rect_of(box, height, width):
    """Rows and columns of a box in proportions; width and height are rounded on their own, half to even."""
    x0, y0, x1, y1 = box
    left, top = round(x0 * width), round(y0 * height)
    right, bottom = left + round((x1 - x0) * width), top + round((y1 - y0) * height)
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def mask_of(boxes, height, width):
    mask = torch.zeros(height, width)
    for left, top, right, bottom in (rect_of(box, height, width) for box in boxes):
        mask[top:bottom, left:right] = 1
    return mask


def proportions(bbox):
    x, y, w, h = (value / CANVAS for value in bbox)
    return [x, y, x + w, y + h]


# Losses

def ratio_loss(maps, grids, objects):
    """Mean over keys, objects and tokens of mean_heads (1 − attention inside / all attention)²."""
    total = 0.0
    for key, probs in maps.items():  # (heads, HW, L)
        for item in objects:
            mask = mask_of(item["boxes"], *grids[key]).flatten()
            of_tokens = 0.0
            for token in item["tokens"]:
                attention = probs[:, :, token]
                of_tokens = of_tokens + ((1 - (attention * mask).sum(-1) / attention.sum(-1)) ** 2).mean()
            total = total + of_tokens / len(item["tokens"])
    return total / (len(maps) * len(objects))


def kernel():
    at = torch.arange(3) - 1.0
    one = torch.exp(-((at / (2 * 0.5)) ** 2))
    two = one[:, None] * one[None, :]
    return two / two.sum()


def smooth(image):
    """(H, W) with mirrored edges."""
    return F.conv2d(F.pad(image[None, None], (1, 1, 1, 1), mode="reflect"), kernel()[None, None])[0, 0]


def token_image(maps, grid, token):
    """(H, W): softmax over all tokens but the first and the last of 100 times the mean attention, smoothed."""
    mean = torch.cat(list(maps.values())).mean(0)  # (heads of all layers, HW, L) to (HW, L)
    shares = torch.softmax(100 * mean[:, 1:-1], dim=-1)
    return smooth(shares[:, token - 1].reshape(grid))


def top_mean(values, count):
    """Mean of the largest `count`; of none it is not a number."""
    largest = values.flatten().sort(descending=True).values
    if 0 < count < len(largest):
        gaps.append((largest[count - 1] - largest[count]).item())
    return largest[:count].mean()


def positive(value):
    """`max(0, value)` as Python has it: what is not a number is not greater than 0."""
    return value if value > 0 else torch.zeros(())


def share(mask):
    return int((np.float32(0.2) * np.float32(mask.sum())))


def inner_box(image, mask):
    return positive(1 - top_mean(image[mask > 0], share(mask)))


def edge_terms(image, mask, rects, dim):
    """Mean over columns (dim 0) or rows (dim 1) of |projection − target| near the edges."""
    projection, target = image.max(dim).values, mask.max(dim).values
    near = torch.zeros(len(target))
    for left, top, right, bottom in rects:
        for edge in ((left, right) if dim == 0 else (top, bottom)):
            near[max(edge - 1, 0):min(edge + 2, len(near))] = 1
    two = image.sort(dim=dim, descending=True).values.narrow(dim, 0, 2)
    gaps.extend((two.select(dim, 0) - two.select(dim, 1))[near > 0].tolist())
    gaps.extend((projection - target).abs()[near > 0].tolist())
    return ((projection - target).abs() * near).mean()


def boxdiff_loss(maps, grid, objects):
    total = 0.0
    for item in objects:
        mask, rects = mask_of(item["boxes"], *grid), [rect_of(box, *grid) for box in item["boxes"]]
        for token in item["tokens"]:
            image = token_image(maps, grid, token)
            outer = positive(top_mean(image[mask == 0], share(1 - mask)))
            total = total + inner_box(image, mask) + outer + edge_terms(image, mask, rects, 0) + edge_terms(image, mask, rects, 1)
    return total


def worst_loss(maps, grid, objects):
    terms = [inner_box(token_image(maps, grid, token), mask_of(item["boxes"], *grid)) for item in objects for token in item["tokens"]]
    ordered = torch.stack(terms).sort(descending=True).values
    gaps.append((ordered[0] - ordered[1]).item())
    return ordered[0]


# Attention by key

def halvings(key, levels):
    part, *numbers = key.split(".")
    block = int(numbers[0])
    return {"down": block, "mid": levels - 1, "up": levels - 1 - block}[part]


def grids_of(unet, maps, height, width):
    levels = len(unet.config.block_out_channels)
    grids = {key: (height >> halvings(key, levels), width >> halvings(key, levels)) for key in maps}
    assert all(h * w == maps[key].shape[-2] for key, (h, w) in grids.items())
    return grids


def boxdiff_keys(unet, maps):
    levels = len(unet.config.block_out_channels)
    return [key for key in maps if not key.startswith("mid") and halvings(key, levels) == levels - 2]


def attend(unet, recorded, latents, timestep, text):
    """The maps of a conditional pass, without the batch axis."""
    unet(latents, timestep, text)
    return {key: probs[0] for key, probs in recorded.items()}


def losses_of_latents(model, height, width, timestep):
    unet = UNet2DConditionModel.from_pretrained(MODELS / model / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
    recorded = record(unet)
    for seed in itertools.count(SEED):
        gaps.clear()
        random = generator(seed)
        latents = torch.randn(1, 4, height, width, generator=random).requires_grad_()
        text = torch.randn(1, 9, unet.config.cross_attention_dim, generator=random)
        with torch.enable_grad():
            maps = attend(unet, recorded, latents, timestep, text)
            grids = grids_of(unet, maps, height, width)
            keys = boxdiff_keys(unet, maps)
            values = {
                "ratio": ratio_loss({key: maps[key] for key in guidance_keys(maps)}, grids, OBJECTS),
                "boxdiff": boxdiff_loss({key: maps[key] for key in keys}, grids[keys[0]], OBJECTS),
                "worst": worst_loss({key: maps[key] for key in keys}, grids[keys[0]], OBJECTS),
            }
        if min(gaps) > MIN_GAP:
            break
    tensors = {"latents": latents, "text": text}
    for name, value in values.items():
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(value, latents, retain_graph=True)
        tensors |= {name: value.reshape(1), f"{name}.gradient": gradient}
        print(model, name, round(value.item(), 5), f"gradient up to {gradient.abs().max():.2e}")
    print(f"{model}: seed {seed}, smallest gap {min(gaps):.1e}")
    write("baselines", model, tensors, seed, timestep=timestep, model=f"models/{model}/unet", objects=OBJECTS, keys=keys, grid=grids[keys[0]])


def smoothing():
    random = generator(SEED)
    tensors = {"kernel": kernel()}
    for height, width in ((16, 16), (5, 9), (2, 3)):
        image = torch.rand(height, width, 3, generator=random)
        smoothed = torch.stack([smooth(image[..., token]) for token in range(3)], dim=-1)
        tensors |= {f"image.{height}x{width}": image, f"smoothed.{height}x{width}": smoothed}
    write("baselines", "smoothing", tensors, SEED)


# Pictures

class Model:
    def __init__(self, name):
        folder = MODELS / name
        self.name, self.tokenizer = name, CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", clip_sample=False)  # which a PNDM file does not say
        self.recorded = record(self.unet)

    def encode(self, prompts):
        ids = self.tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids).last_hidden_state  # (B, L, C)

    def positions(self, prompt, phrase):
        ids, wanted = (self.tokenizer(text).input_ids[1:-1] for text in (prompt, phrase))
        starts = [i for i in range(len(ids)) if ids[i:i + len(wanted)] == wanted]
        assert len(starts) == 1, f"`{phrase}` stands {len(starts)} times in `{prompt}`"
        return [starts[0] + 1 + i for i in range(len(wanted))]

    def guided_noise(self, latents, timestep, text, scale):
        """Classifier-free guidance; `text` is [unconditional, conditional]."""
        unconditional, conditional = self.unet(torch.cat([latents] * 2), timestep, text).sample.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def image(self, latents):
        pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample[0].permute(1, 2, 0)  # (H, W, 3)
        return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def guided_objects(model):
    boxes = [proportions(item["bbox"]) for item in LAYOUT["objects"]]
    return [{"tokens": model.positions(PROMPT, phrase), "boxes": [boxes[i] for i in members]} for phrase, members in PHRASES.items()]


def gradient_of(model, latents, timestep, text, loss):
    latents = latents.detach().requires_grad_()
    with torch.enable_grad():
        maps = attend(model.unet, model.recorded, latents, timestep, text)
        value = loss(maps, grids_of(model.unet, maps, *latents.shape[2:]))
        (gradient,) = torch.autograd.grad(value, latents)
    return value.item(), gradient


def backward_guidance(model, latents, case):
    objects, text, last_loss, updates = guided_objects(model), model.encode([f"{LAYOUT['negative']}, {NEGATIVE}", PROMPT]), 1e4, 0
    loss = lambda maps, grids: ratio_loss({key: maps[key] for key in guidance_keys(maps)}, grids, objects)
    for index, timestep in enumerate(model.scheduler.timesteps):
        for _ in range(5 if index < 10 else 0):
            if last_loss <= case["loss_threshold"]:
                break
            last_loss, gradient = gradient_of(model, latents, timestep, text[1:], loss)
            latents = latents - case["loss_scale"] * (1 - model.scheduler.alphas_cumprod[timestep]).sqrt() * gradient
            updates += 1
        latents = model.scheduler.step(model.guided_noise(latents, timestep, text, case["guidance_scale"]), timestep, latents).prev_sample
    print("updates", updates, "loss", round(last_loss, 4))
    return latents


def boxdiff(model, latents, case):
    objects, text = guided_objects(model), model.encode([f"{LAYOUT['negative']}, {NEGATIVE}", PROMPT])

    def loss(maps, grids):
        keys = boxdiff_keys(model.unet, maps)
        return boxdiff_loss({key: maps[key] for key in keys}, grids[keys[0]], objects)

    count = len(model.scheduler.timesteps)
    for index, timestep in enumerate(model.scheduler.timesteps):
        if index < 25:
            value, gradient = gradient_of(model, latents, timestep, text[1:], loss)
            latents = latents - case["scale_factor"] * (1 - 0.5 * index / (count - 1)) ** 0.5 * gradient
        latents = model.scheduler.step(model.guided_noise(latents, timestep, text, case["guidance_scale"]), timestep, latents).prev_sample
    print("loss", round(value, 4))
    return latents


def stretched_boxes():
    """All boxes flushed left and scaled together to span the canvas, then rounded: the published filter with scaling on."""
    boxes = [item["bbox"] for item in LAYOUT["objects"]]
    left, right = min(b[0] for b in boxes), max(b[0] + b[2] for b in boxes)
    top, bottom = min(b[1] for b in boxes), max(b[1] + b[3] for b in boxes)
    s = min(CANVAS / (right - left), CANVAS / (bottom - top), 3)
    offset = -top * s if top * s < 0 else 0
    if bottom * s + offset >= CANVAS:
        offset -= bottom * s - CANVAS
    return [[round(v) for v in ((x - left) * s, y * s + offset, w * s, h * s)] for x, y, w, h in boxes]


def multidiffusion(model, noise, case):
    height, width = noise.shape[2:]
    # Later boxes lie on top; masks in pixels, reduced by taking the nearest one.
    owner = torch.zeros(8 * height, 8 * width)
    for number, bbox in enumerate(stretched_boxes(), start=1):
        left, top, right, bottom = rect_of(proportions(bbox), 8 * height, 8 * width)
        owner[top:bottom, left:right] = number
    owner = F.interpolate(owner[None, None], (height, width), mode="nearest")[0, 0]
    masks = [(owner == number).float() for number in range(len(LAYOUT["objects"]) + 1)]  # (H, W) each
    background_words = "headshot, close-up, partial, large, large, huge, gigantic"
    background = f"{LAYOUT['negative']}, {NEGATIVE}, {background_words}"
    foreground = f"{background}, cut-out, partial, occluded, weird"
    texts = [model.encode([background, LAYOUT["background"]])] + [model.encode([foreground, item["phrase"]]) for item in LAYOUT["objects"]]

    random, count = generator(case["seed"]), case["bootstrapping"]
    colours = torch.rand(3 * count, generator=random).reshape(count, 3)
    backdrops = []
    for colour in colours:
        image = (2 * colour - 1)[None, :, None, None].expand(1, 3, 8 * height, 8 * width)
        posterior = model.vae.encode(image).latent_dist
        sample = posterior.mean + posterior.std * torch.randn(noise.shape, generator=random)
        backdrops.append(sample * model.vae.config.scaling_factor)

    latents = noise
    for index, timestep in enumerate(model.scheduler.timesteps):
        alpha = model.scheduler.alphas_cumprod[timestep]
        choices = torch.randint(0, count, (len(masks) - 1,), generator=random).tolist() if index < count else None
        whole = torch.zeros_like(latents)
        for number, (mask, text) in enumerate(zip(masks, texts)):
            seen = latents
            if choices is not None and number > 0:
                behind = alpha.sqrt() * backdrops[choices[number - 1]] + (1 - alpha).sqrt() * noise
                seen = latents * mask + behind * (1 - mask)
            step = model.scheduler.step(model.guided_noise(seen, timestep, text, case["guidance_scale"]), timestep, seen).prev_sample
            whole = whole + mask * step
        latents = whole
    print("cells of each region", [int(mask.sum()) for mask in masks])
    return latents


# With the published lengths of 30 and 20, and guided at 10, a random network is chaotic: noise changed by 1e-6 changes the latents by 0.05, 1.1 and 0.003. With these
# that stays below 3e-4.
METHODS = {"backward-guidance": backward_guidance, "boxdiff": boxdiff, "multidiffusion": multidiffusion}
CASES = {
    "backward-guidance": {"model": "small", "seed": 3, "guidance_scale": 3.0, "loss_scale": 5.0, "loss_threshold": 0.2},
    "boxdiff": {"model": "small", "seed": 4, "guidance_scale": 3.0, "scale_factor": 0.5},
    "multidiffusion": {"model": "sd1", "seed": 8, "guidance_scale": 2.0, "bootstrapping": 3},
}


def paint(case, model, noise):
    model.scheduler.set_timesteps(5)
    return METHODS[case["method"]](model, noise, case)


def pictures():
    tensors, cases = {}, {}
    for name, case in CASES.items():
        case = case | {"method": name, "steps": 5, "width": 128, "height": 128, "negative": NEGATIVE}
        model = Model(case["model"])
        noise = torch.randn(1, 4, case["height"] // 8, case["width"] // 8, generator=generator(case["seed"]))
        latents = paint(case, model, noise)
        moved = paint(case, model, noise + 1e-6 * torch.randn(noise.shape, generator=generator(0)))
        image = model.image(latents)
        print(f"{name}: latents std {latents.std():.2f}, moved by {(moved - latents).abs().max():.1e} for noise moved by 1e-6, "
              f"image mean {image.float().mean():.0f}, std {image.float().std():.0f}")
        tensors |= {f"image.{name}": image, f"latents.{name}": latents}
        cases[name] = case
    write("baselines", "pictures", tensors, SEED, cases=cases, layout=LAYOUT)


if __name__ == "__main__":
    smoothing()
    losses_of_latents("sd1", 32, 48, 981)
    losses_of_latents("sd2", 32, 32, 601)
    losses_of_latents("small", 16, 16, 881)
    pictures()
