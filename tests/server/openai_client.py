"""The official client of OpenAI against a Sinopia server: argv[1] is its address."""

import base64
import json
import pathlib
import sys

import httpx
import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYOUT = json.loads((ROOT / "examples/blue-dog-white-bowl.json").read_text())


def main(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=0)

    models = [model.id for model in client.models.list()]
    assert models == ["miniature"], models
    assert client.models.retrieve("miniature").owned_by == "sinopia"

    extra = {"layout": LAYOUT, "steps": 2, "seed": 3}
    made = client.images.generate(model="miniature", prompt="a dog", n=2, size="128x128", response_format="b64_json", extra_body=extra)
    pictures = [base64.b64decode(image.b64_json) for image in made.data]
    assert all(png.startswith(b"\x89PNG") for png in pictures) and pictures[0] != pictures[1]
    assert "a blue dog" in made.data[0].revised_prompt, made.data[0].revised_prompt
    assert made.data[0].url is None

    placed = client.images.generate(prompt="a dog", response_format="url", extra_body=extra)
    assert placed.data[0].b64_json is None
    assert httpx.get(placed.data[0].url).content == pictures[0], "the same seed is another picture"

    planned = client.images.generate(prompt="a red car", extra_body={"steps": 1})
    assert len(planned.data[0].layout["objects"]) == 1

    try:
        client.images.generate(prompt="a dog", size="7x7")
    except openai.BadRequestError as error:
        assert "multiple of 8" in str(error) or "out of range" in str(error), error
    else:
        raise AssertionError("a picture of 7 × 7 pixels was painted")
    try:
        client.images.generate(prompt="a dog", model="dall-e-3")
    except openai.BadRequestError as error:
        assert "there is no model" in str(error), error
    else:
        raise AssertionError("a model that is not there painted")
    print(f"openai {openai.__version__}: everything as its documentation says")


main(sys.argv[1])
