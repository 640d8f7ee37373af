"""Writes the trained ELLA: `python export_ella.py ../crates/sinopia-miniature/assets/ella` (f16), then reads it back and compares.

The T5 is a folder as transformers writes it (`t5/`), the connector has the released file's names (`ella.safetensors`) and a `config.json`, which the released one
does without.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import T5EncoderModel

from train_ella import CONNECTOR, T5, TOKENIZER, averaged, read

CONFIG = {"width": CONNECTOR["width"], "layers": CONNECTOR["layers"], "heads": CONNECTOR["heads"], "num_latents": CONNECTOR["latents"],
          "input_dim": T5["d_model"], "time_channel": CONNECTOR["time_channel"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trained", default="ella")
    args = parser.parse_args()
    tokenizer, text, connector, _ = averaged(args.trained)
    folder = args.folder / "t5"
    folder.mkdir(parents=True, exist_ok=True)
    halves = lambda model: {name: value.half().contiguous() for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    save_file(halves(text), folder / "model.safetensors", metadata={"format": "pt"})
    save_file(halves(connector), args.folder / "ella.safetensors", metadata={"format": "pt"})
    kept = {key: value for key, value in text.config.to_dict().items() if key in T5 or key in ("vocab_size", "model_type")}
    (folder / "config.json").write_text(json.dumps({"architectures": ["T5EncoderModel"], **kept}, indent=2) + "\n")
    (args.folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(TOKENIZER.read_text()), ensure_ascii=False, separators=(",", ":")))
    for path in args.folder.rglob("*.safetensors"):
        path.chmod(0o644)

    again = T5EncoderModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        captions = ["In the top left corner there is a red car. Below it, a blue dog."]
        difference = (read(tokenizer, text, captions)[0] - read(tokenizer, again, captions)[0]).abs().max()
    assert difference < 0.05, difference
    assert set(load_file(args.folder / "ella.safetensors")) == set(connector.state_dict())
    print(f"{sum(path.stat().st_size for path in args.folder.rglob('*') if path.is_file()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
