"""A really started `weft serve` of the default model, for the clients that talk to it."""

import atexit
import os
import re
import subprocess
from pathlib import Path

PROGRAM = os.path.abspath(os.environ.get("WEFT_PROGRAM", "build/weft"))
MODEL = Path(os.environ.get("WEFT_TEST_MODELS", "/nonexistent")) / "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 2048


def start(*arguments, context=CONTEXT):
    """Its address, "http://127.0.0.1:PORT", and its process, which ends with this program."""
    if not MODEL.exists():
        raise SystemExit("WEFT_TEST_MODELS names no folder with the default model")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")}
    process = subprocess.Popen(
        [PROGRAM, "serve", str(MODEL), "--port", "0", "--max-model-len", str(context),
         "--served-model-name", "smollm2", *arguments],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)
    atexit.register(process.wait)
    atexit.register(process.kill)
    said = ""
    for line in process.stderr:
        said += line
        found = re.search(r" at (http://[^ ]+)/v1", line)
        if found:
            return found[1], process
    raise SystemExit(f"weft serve never served: {said}")
