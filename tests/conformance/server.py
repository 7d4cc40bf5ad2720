"""A really started `weft serve`, for the clients that talk to it: of the default model, or of a small
random one where nobody reads what it says.

    server.py COMMAND...      runs it beside a server whose address is in WEFT_URL
"""

import atexit
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

PROGRAM = os.path.abspath(os.environ.get("WEFT_PROGRAM", "build/weft"))
MODEL = Path(os.environ.get("WEFT_TEST_MODELS", "/nonexistent")) / "SmolLM2-135M-Instruct.Q4_1.gguf"
TINY_MODEL = Path(os.environ.get("WEFT_TINY_MODELS", "/nonexistent")) / "llama.Q4_1.gguf"
CONTEXT = 2048
NAME = "smollm2"  # of the model in requests
VARIABLES = {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")}


def start(*arguments, model=MODEL, context=CONTEXT):
    """Its address, "http://127.0.0.1:PORT", and its process, which ends with this program."""
    if not model.exists():
        raise SystemExit(f"{model} is missing (WEFT_TEST_MODELS, WEFT_TINY_MODELS)")
    process = subprocess.Popen(
        [PROGRAM, "serve", str(model), "--port", "0", "--max-model-len", str(context),
         "--served-model-name", NAME, *arguments],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=VARIABLES)
    atexit.register(process.wait)
    atexit.register(process.kill)
    said = ""
    for line in process.stderr:
        said += line
        found = re.search(r" at (http://[^ ]+)/v1", line)
        if found:
            return found[1], process
    raise SystemExit(f"weft serve never served: {said}")


def main():
    url, process = start()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return subprocess.run(sys.argv[1:], env={**VARIABLES, "WEFT_URL": url}).returncode


if __name__ == "__main__":
    sys.exit(main())
