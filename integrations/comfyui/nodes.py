"""ComfyUI nodes that plan, edit and paint layouts on a Sinopia server.

No node has IS_CHANGED: the same inputs give the same output, so ComfyUI may keep it, and another seed is another input. No node has an input for the
server's address or token either: workflows are passed around, in pictures too, and must not name who gets the token.
"""

import base64
import io
import json
import time

import numpy as np
from PIL import Image, ImageDraw

from .client import FINAL, KNOWN_METHODS, LOG, Client, SinopiaError

try:
    import torch
except ImportError:  # outside ComfyUI
    torch = None
try:
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar
except ImportError:  # outside ComfyUI
    ProgressBar = None

    def throw_exception_if_processing_interrupted():
        """Nobody can interrupt."""


# Longest side of a picture of boxes, in pixels: a canvas may have 16384.
BOXES_SIDE = 1024
COLOURS = ["#2f6fde", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0b7285", "#e67700", "#5f3dc4"]
# Seconds for which the server's answer about methods is believed, and for which it is waited.
METHODS_KEPT, METHODS_TIMEOUT = 30, 1
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}


def client():
    return Client(check=throw_exception_if_processing_interrupted)


_methods = (float("-inf"), KNOWN_METHODS)


def methods():
    """The server's methods, its default first. ComfyUI asks often, so they are kept for a while, failures too."""
    global _methods
    asked, names = _methods
    if time.monotonic() - asked > METHODS_KEPT:
        try:
            options = Client(patience=0).options(METHODS_TIMEOUT)
            default = options["defaults"]["method"]
            names = [default] + [method["name"] for method in options["methods"] if method["name"] != default]
        except (SinopiaError, LookupError, TypeError):  # there is none, or it is something else
            names = KNOWN_METHODS
        _methods = (time.monotonic(), names)
    return names


def to_image(picture):
    """A picture as ComfyUI's IMAGE, (1, H, W, 3) in 0..=1; an array of numpy where there is no torch."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)[None] / 255.0
    return torch.from_numpy(pixels) if torch else pixels


def drawn(layout):
    """A picture of the boxes."""
    size = layout["canvas"]["width"], layout["canvas"]["height"]
    scale = min(1, BOXES_SIDE / max(size))
    picture = Image.new("RGB", [max(round(side * scale), 1) for side in size], "white")
    draw = ImageDraw.Draw(picture)
    for index, thing in enumerate(layout["objects"]):
        left, top, width, height = (side * scale for side in thing["bbox"])
        colour = COLOURS[index % len(COLOURS)]
        draw.rectangle([left, top, left + max(width - 1, 0), top + max(height - 1, 0)], outline=colour, width=3)
        # The font that is always there may know Latin letters only, and fail at others.
        draw.text((left + 6, top + 5), thing["phrase"].encode("latin-1", "replace").decode("latin-1"), fill=colour)
    return picture


def shown(layout, findings=()):
    """A layout as the nodes give it: itself, as text, as a picture."""
    for finding in findings:
        LOG.warning("the layout: %s", finding["message"])
    return layout, json.dumps(layout, ensure_ascii=False, indent=2), to_image(drawn(layout))


class PlanLayout:
    CATEGORY = "Sinopia"
    DESCRIPTION = "Lays out a caption: which things, and where."
    FUNCTION = "plan"
    RETURN_TYPES = ("SINOPIA_LAYOUT", "STRING", "IMAGE")
    RETURN_NAMES = ("layout", "json", "boxes")
    OUTPUT_TOOLTIPS = ("The layout.", "The layout as JSON, to be edited.", "A picture of its boxes.")

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "caption": ("STRING", {"multiline": True, "tooltip": "What the picture shows."}),
                "seed": ("INT", {**SEED, "tooltip": "Which of the candidates is taken, counted round; 0 is the best."}),
                "candidates": (
                    "INT",
                    {"default": 4, "min": 1, "max": 8, "tooltip": "How many layouts are planned. The server remembers them: only the first time costs."},
                ),
            }
        }

    def plan(self, caption, seed, candidates):
        planned = client().plan(caption, candidates)
        chosen = planned[seed % len(planned)]
        return shown(chosen["layout"], chosen["findings"])


class EditLayout:
    CATEGORY = "Sinopia"
    DESCRIPTION = "Replaces a layout, changes it as an instruction says, or both in this order. With neither it passes through."
    FUNCTION = "edit"
    RETURN_TYPES = PlanLayout.RETURN_TYPES
    RETURN_NAMES = PlanLayout.RETURN_NAMES
    OUTPUT_TOOLTIPS = PlanLayout.OUTPUT_TOOLTIPS

    @classmethod
    def INPUT_TYPES(cls):
        instruction = "What to change, in words. Takes a server with a language model: the built-in planner changes no layouts."
        pasted = "A layout that replaces the one above: JSON, or another format that Sinopia reads."
        return {
            "optional": {
                "layout": ("SINOPIA_LAYOUT", {"tooltip": "The layout to change."}),
                "instruction": ("STRING", {"multiline": True, "tooltip": instruction}),
                "layout_json": ("STRING", {"multiline": True, "tooltip": pasted}),
            }
        }

    def edit(self, layout=None, instruction="", layout_json=""):
        if layout_json.strip():
            layout = client().read_layout(layout_json)
        if layout is None:
            raise SinopiaError("there is no layout to edit", "connect one to `layout`, or paste one into `layout_json`")
        if not instruction.strip():
            return shown(layout)
        edited = client().edit(layout, instruction)
        return shown(edited["layout"], edited["findings"])


class PaintLayout:
    CATEGORY = "Sinopia"
    DESCRIPTION = "Paints a layout, or a caption, which the server lays out itself if the method needs it."
    FUNCTION = "paint"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The picture.",)

    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": 0, "min": 0, "max": 4096, "step": 8}
        options = 'Options of the method as JSON, such as {"frozen_step_ratio": 0.4}; docs/options.md lists them.'
        return {
            "required": {
                "method": (methods(), {"tooltip": "How it is painted. `lmd` follows layouts closely, `sd` looks at no boxes."}),
                "seed": ("INT", {**SEED, "tooltip": "Where the noise starts: same seed, same picture."}),
                "steps": ("INT", {"default": 50, "min": 1, "max": 1000, "tooltip": "Denoising steps."}),
                "guidance_scale": (
                    "FLOAT",
                    {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1, "tooltip": "How strictly the picture follows the prompt; 0 is what suits the model."},
                ),
                "text_encoder": (["clip", "ella", "ella+clip"], {"tooltip": "What reads the prompts. ELLA reads long ones."}),
                "width": ("INT", {**side, "tooltip": "In pixels; 0 is the model's own."}),
                "height": ("INT", {**side, "tooltip": "In pixels; 0 is the model's own."}),
                "options": ("STRING", {"multiline": True, "default": "{}", "tooltip": options}),
            },
            "optional": {
                "layout": ("SINOPIA_LAYOUT", {"tooltip": "What stands where."}),
                "caption": ("STRING", {"multiline": True, "tooltip": "What the picture shows. May be left out if there is a layout."}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, method):
        """Any word is let through: the server may know methods that it was not asked for lately, and names them all when it is told another."""
        return True

    def paint(self, method, seed, steps, guidance_scale, text_encoder, width, height, options, layout=None, caption=""):
        if layout is None and not caption.strip():
            raise SinopiaError("there is nothing to paint", "connect a layout, or write a caption")
        request = {
            "method": method,
            "seed": seed,
            "steps": steps,
            "text_encoder": text_encoder,
            "options": read_options(options),
            "layout": layout,
            "caption": caption.strip() or None,
            "guidance_scale": guidance_scale or None,
            "width": width or None,
            "height": height or None,
        }
        png = client().paint({name: value for name, value in request.items() if value is not None}, Teller(steps))
        return (to_image(Image.open(io.BytesIO(png))),)


def read_options(text):
    try:
        options = json.loads(text.strip() or "{}")
    except ValueError as error:
        raise SinopiaError(f"`options` is not JSON: {error}", 'write something like {"frozen_step_ratio": 0.4}') from None
    if not isinstance(options, dict):
        raise SinopiaError("`options` is no JSON object", 'write something like {"frozen_step_ratio": 0.4}')
    return options


class Teller:
    """Tells ComfyUI's progress bar how far a job is, and what it looks like."""

    def __init__(self, steps):
        self.bar = ProgressBar(steps) if ProgressBar else None
        self.step, self.steps = 0, steps

    def __call__(self, event, data):
        preview = None
        if event == "progress":
            self.step, self.steps = data["step"], data["steps"]
        elif event == "preview":
            png = base64.b64decode(data["image"].partition(",")[2])
            preview = ("PNG", Image.open(io.BytesIO(png)).convert("RGB"), None)
        elif data["state"] in FINAL:
            self.step = self.steps
            for warning in data["warnings"]:
                LOG.warning("%s", warning)
        if self.bar:
            self.bar.update_absolute(self.step, self.steps, preview)


NODE_CLASS_MAPPINGS = {"SinopiaPlanLayout": PlanLayout, "SinopiaEditLayout": EditLayout, "SinopiaPaintLayout": PaintLayout}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SinopiaPlanLayout": "Plan Layout",
    "SinopiaEditLayout": "Edit Layout",
    "SinopiaPaintLayout": "Paint Layout",
}
