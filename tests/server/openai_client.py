"""The official client of OpenAI against a Sinopia server: argv[1] is its address."""

import base64
import io
import json
import pathlib
import sys

import httpx
import openai
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYOUT = json.loads((ROOT / "examples/blue-dog-white-bowl.json").read_text())
FEW = {"method": "sd", "steps": 2}


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def encoded(image):
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


def refused(call, error_type, **expected):
    """The error that a call raises, as OpenAI's libraries read it."""
    try:
        call()
    except error_type as error:
        found = {name: getattr(error, name) for name in expected}
        assert found == expected, (found, error)
        return str(error)
    raise AssertionError(f"it was painted where {error_type.__name__} was expected")


def main(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=0)
    generate = client.images.generate

    models = [model.id for model in client.models.list()]
    assert models == ["miniature"], models
    assert client.models.retrieve("miniature").owned_by == "sinopia"
    refused(lambda: client.models.retrieve("dall-e-3"), openai.NotFoundError, code="model_not_found")

    extra = {"layout": LAYOUT, "steps": 2, "seed": 3}
    made = generate(model="miniature", prompt="a dog", n=2, size="128x128", response_format="b64_json", extra_body=extra)
    pictures = [base64.b64decode(image.b64_json) for image in made.data]
    assert all(png.startswith(b"\x89PNG") for png in pictures) and pictures[0] != pictures[1]
    assert "a blue dog" in made.data[0].revised_prompt, made.data[0].revised_prompt
    assert made.data[0].url is None and made.output_format == "png" and made.background == "opaque" and made.notes == []

    placed = generate(prompt="a dog", response_format="url", extra_body=extra)
    assert placed.data[0].b64_json is None
    assert httpx.get(placed.data[0].url).content == pictures[0], "the same seed is another picture"

    planned = generate(prompt="a red car", extra_body={"steps": 1})
    assert len(planned.data[0].layout["objects"]) == 1

    # What the client has fields for, as its users fill them in.
    asked = dict(prompt="a red car", quality="high", style="vivid", background="auto", moderation="low", user="somebody", extra_body=FEW)
    first, second = (generate(model="gpt-image-1", size="1024x1024", **asked) for _ in range(2))
    assert opened(first.data[0]).size == (1024, 1024) and first.size == "1024x1024"
    assert first.data[0].url is None, "gpt-image-1 has no addresses"
    assert first.data[0].b64_json != second.data[0].b64_json, "without a seed, the same picture twice"
    told = " ".join(first.notes)
    assert all(word in told for word in ["no model `gpt-image-1` here", "painted at 128 × 128", "`quality`", "`style`"]), told
    assert opened(generate(size="auto", **asked).data[0]).size == (128, 128)
    assert opened(generate(size="1536x1024", **asked).data[0]).size == (1536, 1024)

    # Formats.
    same = dict(prompt="a red car", extra_body={**FEW, "seed": 5})
    png = generate(**same)
    webp = generate(output_format="webp", output_compression=80, **same)
    jpeg = generate(output_format="jpeg", output_compression=30, **same)
    assert [opened(made.data[0]).format for made in (png, webp, jpeg)] == ["PNG", "WEBP", "JPEG"]
    assert opened(png.data[0]).convert("RGB").tobytes() == opened(webp.data[0]).convert("RGB").tobytes(), "WebP lost something"
    assert "jpeg" in " ".join(webp.notes) and jpeg.output_format == "jpeg" and webp.output_format == "webp"
    assert Image.open(io.BytesIO(httpx.get(webp.data[0].url).content)).format == "WEBP"

    # Events.
    events = list(generate(stream=True, partial_images=2, size="256x256", output_format="webp", n=2, **same))
    kinds = [event.type for event in events]
    assert kinds.count("image_generation.completed") == 2 and kinds[-1] == "image_generation.completed", kinds
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert 1 <= len(partial) <= 4 and {event.partial_image_index for event in partial} <= {0, 1}, kinds
    assert all((opened(event).size, opened(event).format) == ((256, 256), "WEBP") for event in events)
    done = [event for event in events if event.type == "image_generation.completed"]
    assert [event.seed for event in done] == [5, 6] and done[0].usage.total_tokens == 0
    assert done[0].b64_json == generate(size="256x256", output_format="webp", **same).data[0].b64_json, "streamed, it is another picture"

    # A seed that JavaScript would round.
    large = generate(prompt="a red car", extra_body={**FEW, "seed": str(2**64 - 1)}).data[0]
    assert (large.seed, large.seed_text) == (2**64 - 1, "18446744073709551615")

    # What is wrong, with its name.
    bad = openai.BadRequestError
    told = refused(lambda: generate(prompt="a dog", size="7x7"), bad, param="size", type="invalid_request_error")
    assert "out of range" in told, told
    refused(lambda: generate(prompt="a dog", n=11), bad, param="n")
    refused(lambda: generate(prompt=" "), bad, param="prompt")
    refused(lambda: generate(prompt="a dog", output_format="gif"), bad, param="output_format")
    refused(lambda: generate(prompt="a dog", stream=True, partial_images=4), bad, param="partial_images")
    refused(lambda: generate(prompt="a dog", extra_body={"setps": 4}), bad, param="setps", code="unknown_parameter")

    # A picture that is changed: where the mask is transparent, and all of it.
    edit = client.images.edit
    picture = ("picture.png", pictures[0], "image/png")
    few = {"steps": "4", "seed": "7"}
    before = Image.open(io.BytesIO(pictures[0])).convert("RGB")
    hole = (32, 48, 96, 112)
    mask = Image.new("RGBA", before.size, (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), hole)
    masked = ("mask.png", encoded(mask), "image/png")
    changed = edit(image=picture, mask=masked, prompt="a red apple", response_format="b64_json", extra_body=few)
    assert changed.size == "128x128" and changed.notes == [], (changed.size, changed.notes)
    after = opened(changed.data[0]).convert("RGB")
    assert after.size == before.size and after.crop(hole).tobytes() != before.crop(hole).tobytes(), "nothing was painted"
    for image in (after, before):
        image.paste((0, 0, 0), hole)
    assert after.tobytes() == before.tobytes(), "something outside of the mask changed"
    again = edit(image=[picture], mask=masked, prompt="a red apple", extra_body=few)
    # The recipes in them name two uploads.
    assert opened(again.data[0]).tobytes() == opened(changed.data[0]).tobytes(), "the same seed is another picture"
    holed = before.convert("RGBA")
    holed.paste((0, 0, 0, 0), hole)
    own = edit(image=("holed.png", encoded(holed), "image/png"), prompt="a red apple", n=2, extra_body=few)
    assert len(own.data) == 2 and [made.seed for made in own.data] == [7, 8]
    faint = edit(image=picture, prompt="a red apple", size="64x64", output_format="jpeg", extra_body={**few, "strength": "0.5"})
    assert opened(faint.data[0]).size == (64, 64) and opened(faint.data[0]).format == "JPEG"
    kinds = [event.type for event in edit(image=picture, mask=masked, prompt="a red apple", stream=True, partial_images=1, extra_body=few)]
    assert kinds[-1] == "image_edit.completed" and set(kinds) <= {"image_edit.partial_image", "image_edit.completed"}, kinds
    opaque = ("mask.png", encoded(before), "image/png")
    told = refused(lambda: edit(image=picture, mask=opaque, prompt="a hat"), bad, param="mask")
    assert "transparent" in told, told
    refused(lambda: edit(image=[picture, picture], prompt="a hat"), bad, param="image")
    refused(lambda: edit(image=("x.png", b"no picture", "image/png"), prompt="a hat"), bad)
    refused(lambda: edit(image=picture, prompt="a hat", extra_body={"strength": "2"}), bad, param="strength")

    # Not there: one answer, no retries.
    patient = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=2)
    variation = lambda: patient.images.create_variation(image=picture)
    assert "no variations" in refused(variation, openai.InternalServerError, status_code=501, code="not_implemented")
    print(f"openai {openai.__version__}: everything as its documentation says")


main(sys.argv[1])
