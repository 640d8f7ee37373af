"""The miniature detector: OWL-ViT, small. Module names are transformers', so a saved state is a checkpoint.

Minderer et al. 2022, arXiv 2205.06230. A patch of 8 pixels is a candidate; sixteen along a side. `Detector.forward` can look at some of the
patches only, which makes close-ups as cheap as they are small.
"""

import json

import torch
from torch import nn
from torch.nn import functional as F

from world import KINDS, SIZE
from world import SYNONYMS as OTHER_NAMES

PATCH = 8  # pixels
SIDE = SIZE // PATCH
WINDOW = 16  # tokens of a query, as in the published detectors
TEXT = dict(vocab_size=4761, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=WINDOW, hidden_act="quick_gelu", layer_norm_eps=1e-5)
VISION = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=5, num_attention_heads=4, image_size=SIZE,
              patch_size=PATCH, hidden_act="quick_gelu", layer_norm_eps=1e-5)
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])

# Other names of the kinds: the world's, and what people and detectors' lists call them.
ALSO = {
    "bottle": ["wine bottle"], "laptop": ["laptop computer", "notebook computer"], "ball": ["sports ball", "soccer ball"], "flower": ["sunflower"],
    "tree": ["pine tree", "fir tree"], "boat": ["sailing boat"], "hat": ["top hat"], "balloon": ["toy balloon"], "bus": ["school bus"],
}
SYNONYMS = {kind: [way.split("|")[0] for way in OTHER_NAMES.get(kind, ())] + ALSO.get(kind, []) for kind, _, _ in KINDS if kind in OTHER_NAMES or kind in ALSO}
# Things that are not of this world: queries for those must find nothing.
FOREIGN = """person man woman girl boy child bicycle motorcycle airplane train truck bench horse sheep cow bear zebra
giraffe tie suitcase handbag frisbee skis snowboard kite skateboard surfboard fork knife spoon sandwich broccoli carrot pizza donut
cake couch sofa bed toilet tv mouse remote keyboard microwave oven toaster sink refrigerator vase scissors toothbrush frog
lion tiger mountain sun moon table desk lamp window door phone candle painting plate key shoe shirt
mirror piano camera wallet towel pillow lemon pear grapes tomato bread egg cookie bee duck chicken pig
statue castle bridge rocket violin drum whale shark snake spider crown ring sword helmet glove""".split() + [
    "hot dog", "cell phone", "teddy bear", "traffic light", "fire hydrant", "stop sign", "parking meter", "baseball bat", "baseball glove",
    "tennis racket", "dining table", "hair drier", "potted plant"]
FRAMES = ["{a}", "{}", "a photo of {a}", "a photo of {a}", "a photo of {a}", "image of {a}", "an image of {a}", "a picture of {a}",
          "photo of {a}", "a realistic photo of {a}", "the {}", "a photo of the {}"]


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def query_text(kind, color=None):
    """The benchmark's way to ask."""
    return "a photo of " + article(f"{color} {kind}" if color else kind)


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = (p(x).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # (B, heads, N, D)
        return self.out_proj(x.transpose(1, 2).reshape(b, n, c))


class MLP(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class Layer(nn.Module):
    def __init__(self, config, causal):
        super().__init__()
        width = config["hidden_size"]
        self.self_attn = Attention(width, config["num_attention_heads"], causal)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = MLP(width, config["intermediate_size"])

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, config, causal):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, causal) for _ in range(config["num_hidden_layers"]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class TextEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(TEXT["vocab_size"], TEXT["hidden_size"])
        self.position_embedding = nn.Embedding(WINDOW, TEXT["hidden_size"])
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        nn.init.normal_(self.position_embedding.weight, std=0.1)


class TextModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings, self.encoder = TextEmbeddings(), Encoder(TEXT, causal=True)
        self.final_layer_norm = nn.LayerNorm(TEXT["hidden_size"])

    def forward(self, ids):
        """(Q, L) to the state at the end mark, which has the largest id: (Q, D)."""
        length = int(ids.argmax(1).max()) + 1
        ids = ids[:, :length]
        x = self.embeddings.token_embedding(ids) + self.embeddings.position_embedding.weight[:length]
        x = self.final_layer_norm(self.encoder(x))
        return x[torch.arange(len(ids)), ids.argmax(1)]


class VisionEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        width = VISION["hidden_size"]
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.patch_embedding = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.position_embedding = nn.Embedding(SIDE * SIDE + 1, width)
        with torch.no_grad():
            self.position_embedding.weight.zero_()
            self.position_embedding.weight[1:] = grid_waves(width) * 0.5


def grid_waves(width):
    """Sines and cosines of row and column, (SIDE², width): patches begin by knowing where they are."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    frequency = 1.0 / 20 ** (torch.arange(width // 4) / (width // 4))
    parts = [f(p.flatten()[:, None] * frequency) for p in (rows, columns) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)


class VisionModel(nn.Module):
    def __init__(self):
        super().__init__()
        width = VISION["hidden_size"]
        self.embeddings, self.encoder = VisionEmbeddings(), Encoder(VISION, causal=False)
        self.pre_layernorm, self.post_layernorm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, images, patches):
        """Images (B, 3, S, S), normalised, of which the patches (B, n) are seen: (B, 1 + n, C)."""
        e = self.embeddings
        b, n = patches.shape
        tiles = images.reshape(b, 3, SIDE, PATCH, SIDE, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(b, SIDE * SIDE, -1)
        tiles = tiles.gather(1, patches[..., None].expand(-1, -1, tiles.shape[-1]))
        x = tiles @ e.patch_embedding.weight.flatten(1).T + e.position_embedding.weight[patches + 1]
        first = (e.class_embedding + e.position_embedding.weight[0]).expand(b, 1, -1)
        x = self.pre_layernorm(torch.cat([first.to(x.dtype), x], 1))
        return self.post_layernorm(self.encoder(x))


class OwlViTModel(nn.Module):
    def __init__(self):
        super().__init__()
        width = TEXT["hidden_size"]
        self.text_model, self.vision_model = TextModel(), VisionModel()
        self.text_projection = nn.Linear(width, width, bias=False)
        # Not used by the detector; published files have them, and loaders expect them.
        self.visual_projection = nn.Linear(VISION["hidden_size"], width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))


class ClassHead(nn.Module):
    def __init__(self):
        super().__init__()
        width = VISION["hidden_size"]
        self.dense0 = nn.Linear(width, TEXT["hidden_size"])
        self.logit_shift, self.logit_scale = nn.Linear(width, 1), nn.Linear(width, 1)
        with torch.no_grad():
            self.logit_shift.weight.mul_(0.1)
            self.logit_scale.weight.mul_(0.1)
            self.logit_shift.bias.fill_(-0.4)  # most patches hold nothing of what is asked for
            self.logit_scale.bias.fill_(9.0)

    def forward(self, features, queries):
        """Patches (B, n, C) against queries (Q, D) of length 1: logits (B, n, Q)."""
        g = self.dense0(features).float()
        g = g / (g.norm(dim=-1, keepdim=True) + 1e-6)
        queries = queries / (queries.norm(dim=-1, keepdim=True) + 1e-6)
        shift, scale = self.logit_shift(features).float(), self.logit_scale(features).float()
        return (g @ queries.T + shift) * (F.elu(scale) + 1)


class BoxHead(nn.Module):
    def __init__(self):
        super().__init__()
        width = VISION["hidden_size"]
        self.dense0, self.dense1, self.dense2 = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4)
        self.register_buffer("bias", box_bias(), persistent=False)

    def forward(self, features, patches):
        """Centre and size in proportions, (B, n, 4)."""
        x = self.dense2(F.gelu(self.dense1(F.gelu(self.dense0(features))))).float()
        return torch.sigmoid(x + self.bias[patches])


def box_bias():
    """Where boxes start: at the patch's lower right corner, of its size; before the logistic function, (SIDE², 4)."""
    logit = lambda p: torch.log(p + 1e-4) - torch.log1p(-p + 1e-4)
    steps = torch.arange(1, SIDE + 1) / SIDE
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    size = torch.full((SIDE * SIDE, 2), 1 / SIDE)
    return torch.cat([logit(x.reshape(-1, 1)), logit(y.reshape(-1, 1)), logit(size)], 1)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.owlvit, self.class_head, self.box_head = OwlViTModel(), ClassHead(), BoxHead()
        self.layer_norm = nn.LayerNorm(VISION["hidden_size"])

    def queries(self, ids):
        """(Q, L) token ids to vectors of length 1, (Q, D)."""
        x = self.owlvit.text_projection(self.owlvit.text_model(ids)).float()
        return x / x.norm(dim=-1, keepdim=True)

    def features(self, images, patches=None):
        """(B, 3, S, S) in 0..=1 to patch features (B, n, C)."""
        if patches is None:
            patches = all_patches(len(images))
        images = (images - MEAN[:, None, None]) / STD[:, None, None]
        x = self.owlvit.vision_model(images, patches)
        return self.layer_norm(x[:, 1:] * x[:, :1])

    def forward(self, images, queries, patches=None):
        """Logits (B, n, Q) and boxes (B, n, 4)."""
        if patches is None:
            patches = all_patches(len(images))
        features = self.features(images, patches)
        return self.class_head(features, queries), self.box_head(features, patches)


def all_patches(batch):
    return torch.arange(SIDE * SIDE).expand(batch, -1)


def corners(boxes):
    """Centre and size to left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def overlap(a, b):
    """IoU of corners (…, 4), broadcast."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = lambda c: (c[..., 2:] - c[..., :2]).clamp(min=0).prod(-1)
    return shared / (area(a) + area(b) - shared).clamp(min=1e-9)


def suppress(found, group, max_iou):
    """The surest first, none that overlaps a kept one of its group by `max_iou`; `found` are (score, label, corners)."""
    kept = []
    for item in sorted(found, key=lambda f: -f[0]):
        if all(group(item[1]) != group(k[1]) or overlap(item[2], k[2]) < max_iou for k in kept):
            kept.append(item)
    return kept


def detections(logits, boxes, threshold=0.15):
    """For each picture a list of (score, label, corners): one label a patch, as transformers' post-processing has it."""
    scores, labels = logits.sigmoid().max(-1)
    return [[(scores[b, p].item(), labels[b, p].item(), corners(boxes[b, p])) for p in (scores[b] >= threshold).nonzero()[:, 0]]
            for b in range(len(logits))]


def config():
    """config.json in transformers' words."""
    end, start = TEXT["vocab_size"] - 1, TEXT["vocab_size"] - 2
    return {
        "architectures": ["OwlViTForObjectDetection"], "model_type": "owlvit", "projection_dim": TEXT["hidden_size"],
        "logit_scale_init_value": 2.6592,
        "text_config": {**TEXT, "model_type": "owlvit_text_model", "bos_token_id": start, "eos_token_id": end, "pad_token_id": 0},
        "vision_config": {**VISION, "model_type": "owlvit_vision_model", "num_channels": 3},
    }


def config_text():
    return json.dumps(config(), indent=2, sort_keys=True) + "\n"
