#!/usr/bin/env python3
"""Runs a command that serves a model until it is told to end, asks it one question and ends it.

    tools/check_run.py make run PORT=8765

Exit code 0 where it said where it is, was ready, answered, and ended with 0 after SIGTERM. The
process that is told is the one that the banner names: make does not pass signals on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

TIMEOUT_S = 900  # the command may build and fetch
ENDING_S = 60
SERVING = re.compile(r"^serving .* at (http://\S+)/v1, process (\d+)")


def main():
    started = time.monotonic()
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
    serving = None
    killer = threading.Timer(TIMEOUT_S, process.kill)
    killer.start()
    try:
        for line in process.stderr:
            print(line, end="", flush=True)
            serving = SERVING.match(line)
            if serving:
                break
        if not serving:
            print("check_run: it never said that it serves")
            return 1
        rest = threading.Thread(target=lambda: sys.stdout.writelines(process.stderr))
        rest.start()
        address, server = serving[1], int(serving[2])
        took = time.monotonic() - started
        answer = ask(address)
        print(f"check_run: served after {took:.1f} s: {answer!r}", flush=True)
        os.kill(server, signal.SIGTERM)
        code = process.wait(ENDING_S)
        rest.join()
        print(f"check_run: ended with {code}")
        return 1 if code or not answer else 0
    finally:
        killer.cancel()
        process.kill()


def ask(address):
    for path in ("/live", "/ready", "/"):
        with urllib.request.urlopen(address + path, timeout=30) as page:
            page.read()
    question = {"messages": [{"role": "user", "content": "What is the capital of Japan?"}],
                "temperature": 0, "max_tokens": 32}
    request = urllib.request.Request(address + "/v1/chat/completions",
                                     json.dumps(question).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as page:
        return json.load(page)["choices"][0]["message"]["content"]


if __name__ == "__main__":
    sys.exit(main())
