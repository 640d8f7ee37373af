"""The ComfyUI nodes against the server at SINOPIA_SERVER: argv[1] is the program, argv[2] a folder to write to. One job may wait there."""

import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "integrations"))
from comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, nodes  # noqa: E402
from comfyui.client import KNOWN_METHODS, Client, SinopiaError  # noqa: E402

SINOPIA, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
EXAMPLE = ROOT / "examples/blue-dog-white-bowl.json"
LAYOUT = json.loads(EXAMPLE.read_text())
LONG = {"layout": LAYOUT, "method": "lmd", "steps": 250}
PAINT = {"seed": 3, "steps": 2, "guidance_scale": 0.0, "text_encoder": "clip", "width": 0, "height": 0, "options": "{}"}


def paint(**inputs):
    (image,) = nodes.PaintLayout().paint(**{"method": "lmd", **PAINT, **inputs})
    return image


def is_image(image, width, height):
    if nodes.torch:
        assert isinstance(image, nodes.torch.Tensor) and image.dtype == nodes.torch.float32
    array = np.asarray(image)
    assert array.shape == (1, height, width, 3) and array.dtype == np.float32, (array.shape, array.dtype)
    assert 0.0 <= array.min() < array.max() <= 1.0, (array.min(), array.max())
    return array


@contextlib.contextmanager
def refused(*words, status=None):
    """What is done within has to fail, in these words."""
    try:
        yield
    except SinopiaError as error:
        assert all(word in str(error) for word in words), error
        assert status is None or error.status == status, error.status
    else:
        raise AssertionError(f"nothing was wrong, though {words}")


@contextlib.contextmanager
def replaced(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def environment(name, value):
    with replaced(os, "environ", {**os.environ, name: value}):
        yield


def wait_for(job, *states):
    """Waits until a job is in one of the states, however slow the machine."""
    while (found := Client()._json("GET", f"/api/jobs/{job['id']}"))["state"] not in states:
        assert found["state"] in ("queued", "running"), f"the job is {found['state']}, not {states}"
        time.sleep(0.1)
    return found


def test_nodes_are_as_comfyui_expects_them():
    assert NODE_CLASS_MAPPINGS.keys() == NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in NODE_CLASS_MAPPINGS.values():
        inputs = [name for group in node.INPUT_TYPES().values() for name in group]
        code = getattr(node, node.FUNCTION).__code__
        assert set(code.co_varnames[1 : code.co_argcount]) == set(inputs), node
        assert len(node.RETURN_TYPES) == len(node.OUTPUT_TOOLTIPS) == len(getattr(node, "RETURN_NAMES", node.RETURN_TYPES))
        for group in node.INPUT_TYPES().values():
            assert all(words[1]["tooltip"].endswith(".") for words in group.values()), node


def test_the_example_workflow_names_inputs_that_there_are():
    workflow = json.loads((ROOT / "integrations/comfyui/workflow_api.json").read_text())
    ours = [node for node in workflow.values() if node["class_type"] in NODE_CLASS_MAPPINGS]
    assert {node["class_type"] for node in ours} == NODE_CLASS_MAPPINGS.keys()
    for node in ours:
        groups = NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        assert groups.get("required", {}).keys() <= node["inputs"].keys() <= {name for group in groups.values() for name in group}


def test_methods_are_the_servers_and_the_known_ones_without_it():
    listed = nodes.PaintLayout.INPUT_TYPES()["required"]["method"][0]
    assert listed[0] == Client().options()["defaults"]["method"]
    assert sorted(listed) == sorted(KNOWN_METHODS), "KNOWN_METHODS is out of date"
    with environment("SINOPIA_SERVER", f"http://127.0.0.1:{closed_port()}"), replaced(nodes, "_methods", (float("-inf"), [])):
        assert nodes.PaintLayout.INPUT_TYPES()["required"]["method"][0] == KNOWN_METHODS


def test_a_plan_has_what_the_caption_says():
    layout, text, boxes = nodes.PlanLayout().plan("a blue dog to the left of a yellow umbrella on a beach", 0, 2)
    left = {thing["phrase"]: thing["bbox"][0] for thing in layout["objects"]}
    assert sorted(left) == ["a blue dog", "a yellow umbrella"] and left["a blue dog"] < left["a yellow umbrella"], layout
    assert json.loads(text) == layout
    is_image(boxes, 512, 512)


def test_the_seed_chooses_among_the_candidates():
    caption = "two red apples and a cat"
    candidates = [found["layout"] for found in Client().plan(caption, 4)]
    assert len(candidates) == 4 and any(layout != candidates[0] for layout in candidates)
    for seed in (0, 1, 3, 6, 2**64 - 1):
        assert nodes.PlanLayout().plan(caption, seed, 4)[0] == candidates[seed % 4], seed


def test_a_pasted_layout_replaces_the_other():
    moved = json.loads(EXAMPLE.read_text())
    moved["objects"][0]["bbox"] = [300, 20, 200, 300]
    before = nodes.EditLayout().edit(LAYOUT)
    after = nodes.EditLayout().edit(LAYOUT, "", json.dumps(moved))
    assert before[0] == LAYOUT and after[0] == moved, after[0]
    assert json.loads(after[1]) == moved
    assert (is_image(before[2], 512, 512) != is_image(after[2], 512, 512)).any(), "the picture of the boxes is the old one"
    moved["objects"][0]["bbox"] = [400, 20, 200, 300]
    assert nodes.EditLayout().edit(layout_json=json.dumps(moved))[0]["objects"][0]["bbox"] == [400, 20, 112, 300], "not clipped"
    text = "[('a cat', [10, 20, 30, 40])]\nBackground prompt: A beach\nNegative prompt: "
    assert nodes.EditLayout().edit(layout_json=text)[0]["objects"] == [{"phrase": "a cat", "bbox": [10, 20, 30, 40]}]


def test_boxes_of_any_canvas_are_drawn():
    layout = {"canvas": {"width": 16384, "height": 8192}, "objects": [{"phrase": "狗 ❤", "bbox": [0, 0, 1, 8192]}]}
    is_image(nodes.shown(layout)[2], 1024, 512)


def test_what_cannot_be_edited_is_told():
    with refused("422", "built-in planner"):
        nodes.EditLayout().edit(LAYOUT, "move the dog up")
    with refused("400", "this is no layout", "`a dog` has no box", "`bbox`"):
        nodes.EditLayout().edit(LAYOUT, "", '{"canvas": {"width": 512, "height": 512}, "objects": [{"phrase": "a dog"}]}')
    with refused("no layout to edit"):
        nodes.EditLayout().edit()
    with refused("400", "`caption` is empty"):
        nodes.PlanLayout().plan(" ", 0, 1)


def test_a_picture_is_the_one_that_the_command_line_paints():
    out = SCRATCH / "here.png"
    flags = ["--layout", EXAMPLE, "--method", "lmd", "--seed", "3", "--steps", "2", "--guidance-scale", "4", "--set", "frozen_step_ratio=0.4"]
    subprocess.run([SINOPIA, "generate", "a dog", *flags, "--out", out, "--quiet"], check=True)
    options = {"frozen_step_ratio": 0.4}
    image = paint(layout=LAYOUT, caption="a dog", guidance_scale=4.0, options=json.dumps(options))
    here = np.asarray(Image.open(out).convert("RGB"), dtype=np.float32) / 255.0
    assert (is_image(image, 128, 128)[0] == here).all(), "other pixels"
    request = {"layout": LAYOUT, "caption": "a dog", "method": "lmd", "seed": 3, "steps": 2, "guidance_scale": 4, "options": options}
    assert Client().paint(request) == out.read_bytes(), "other bytes"
    assert (np.asarray(paint(layout=LAYOUT, caption="a dog", seed=4)) != np.asarray(image)).any(), "another seed, the same picture"


def test_captions_sizes_and_encoders_are_passed_on():
    is_image(paint(caption="a red car", method="sd", width=96, height=160), 96, 160)
    plain, ella = (np.asarray(paint(caption="a red car", method="sd", text_encoder=name)) for name in ("clip", "ella"))
    assert (plain != ella).any()


def test_progress_and_previews_are_told():
    class Bar:
        """In the place of ComfyUI's."""

        told = []

        def __init__(self, total):
            pass

        def update_absolute(self, value, total, preview):
            self.told.append((value, total, preview))

    with replaced(nodes, "ProgressBar", Bar):
        paint(layout=LAYOUT, steps=4)
    values = [value for value, _, _ in Bar.told]
    assert values == sorted(values) and Bar.told[-1][0] == Bar.told[-1][1], Bar.told
    assert len(set(values)) > 2, values
    previews = [preview for _, _, preview in Bar.told if preview]
    assert previews and all(kind == "PNG" and picture.mode == "RGB" for kind, picture, _ in previews)


class Interrupted(Exception):
    """As ComfyUI's."""


def test_an_interruption_cancels_the_job():
    def interrupt():
        if Client()._json("GET", "/api/jobs?state=running")["jobs"]:
            raise Interrupted

    with replaced(nodes, "throw_exception_if_processing_interrupted", interrupt):
        try:
            paint(layout=LAYOUT, steps=250)
        except Interrupted:
            pass
        else:
            raise AssertionError("it was painted all the same")
    job = Client()._json("GET", "/api/jobs?limit=1")["jobs"][0]
    assert job["steps"] == 250
    wait_for(job, "cancelled")


def test_a_full_queue_is_waited_for_as_long_as_patience_lasts():
    running = Client()._json("POST", "/api/jobs", LONG)
    wait_for(running, "running")
    waiting = Client()._json("POST", "/api/jobs", LONG)
    with refused("429", "the queue is full", status=429):
        Client(patience=0).paint({"layout": LAYOUT, "steps": 1})

    def free():
        for job in (waiting, running):
            Client().cancel(job["id"])

    timer = threading.Timer(0.5, free)
    timer.start()
    assert Client().paint({"layout": LAYOUT, "steps": 1, "method": "multidiffusion"}).startswith(b"\x89PNG")
    timer.join()
    wait_for(running, "cancelled")


def test_a_job_that_others_cancel_is_told():
    def cancel(event, data):
        if event == "job" and data["state"] == "running":
            Client().cancel(data["id"])

    with refused("cancelled on the server"):
        Client().paint(LONG, cancel)


def test_what_cannot_be_painted_is_told():
    with refused("400", "unknown method `magic`", "lmd-plus"):
        paint(layout=LAYOUT, method="magic")
    assert nodes.PaintLayout.VALIDATE_INPUTS("magic") is True, "the server's words are better than ComfyUI's"
    with refused("`options` is not JSON", "line 1"):
        paint(layout=LAYOUT, options="{frozen")
    with refused("`options` is no JSON object"):
        paint(layout=LAYOUT, options="[1]")
    with refused("400", "froozen"):
        paint(layout=LAYOUT, options='{"froozen": 1}')
    with refused("nothing to paint", "layout"):
        paint(caption=" ")
    with refused("400", "text_encoder"):
        paint(layout=LAYOUT, text_encoder="t5")


def test_a_server_that_is_not_there_is_told():
    with environment("SINOPIA_SERVER", f"http://127.0.0.1:{closed_port()}"), refused("cannot reach", "`sinopia serve`"):
        nodes.PlanLayout().plan("a dog", 0, 1)
    for address in ("localhost:7878", "ftp://127.0.0.1", "http://[::1", "http://"):
        with environment("SINOPIA_SERVER", address), refused("is no address", "http://127.0.0.1:7878"):
            nodes.PlanLayout().plan("a dog", 0, 1)


def test_a_wrong_token_is_told():
    with environment("SINOPIA_TOKEN", "another-token-than-that"), refused("401", "SINOPIA_TOKEN", status=401):
        nodes.PlanLayout().plan("a dog", 0, 1)
    with environment("SINOPIA_TOKEN", "two words\n or ❤"), refused("SINOPIA_TOKEN"):
        nodes.PlanLayout().plan("a dog", 0, 1)


def test_another_kind_of_server_gets_no_further_than_its_own_address():
    asked = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_POST(self):
            self.send_response(200 if "plan" in self.path else 500)
            self.end_headers()
            self.wfile.write(b'{"error": "hello"' if "plan" in self.path else b'{"error": "hello"}')

        def log_message(self, *_):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with environment("SINOPIA_SERVER", f"http://127.0.0.1:{other.server_port}"):
        with refused("302", "Found"):
            Client().options()
        assert asked == ["/api/options"], "the token followed a redirection"
        with refused("does not answer as a Sinopia server does"):
            nodes.PlanLayout().plan("a dog", 0, 1)
        with refused("500", "Internal Server Error"):
            paint(layout=LAYOUT)
    other.shutdown()


def closed_port():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    tests = [test for name, test in list(globals().items()) if name.startswith("test_")]
    for test in tests:
        test()
        print(f"ok  {test.__name__}", flush=True)
    kind = f"tensors of torch {nodes.torch.__version__}" if nodes.torch else "arrays of numpy, as there is no torch"
    print(f"ComfyUI nodes: {kind}\n{len(tests)} passed, 0 failed")


main()
