#!/usr/bin/env python3
"""schemathesis on the document that the server serves: requests that fit it and requests that do
not, no answer of 5xx, no answer that the document does not know.

    openapi_test.py [EXAMPLES]      of an operation; 20 where none are given
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import server

HERE = Path(__file__).parent
TEMPLATE = HERE.parent / "text/data/chat_templates/qwen3.jinja"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance," \
         "response_schema_conformance,negative_data_rejection"


def main():
    examples = sys.argv[1] if len(sys.argv) > 1 else "20"
    # Answers that are soon over, of a model whose words are of no interest.
    url, process = server.start("--chat-template", str(TEMPLATE), model=server.TINY_MODEL,
                                context=128)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    program = Path(sys.executable).with_name("schemathesis")
    with tempfile.TemporaryDirectory() as folder:  # where it keeps what it found
        # Two workers: one makes requests while the other's is answered. How long making them takes
        # is no fault of the document's.
        run = subprocess.run([program, "run", f"{url}/openapi.json", "--max-examples", examples,
                              "--checks", CHECKS, "--mode", "all", "--phases", "fuzzing",
                              "--workers", "2", "--seed", "1", "--request-timeout", "120",
                              "--generation-database", "none", "--suppress-health-check", "all"],
                             cwd=folder,
                             env={**os.environ,
                                  "SCHEMATHESIS_HOOKS": str(HERE / "short_answers.py")})
    if process.poll() is not None:
        print(f"weft serve ended with {process.returncode}", file=sys.stderr)
        return 1
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
