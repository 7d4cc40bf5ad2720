"""Hooks of schemathesis.

An answer whose length nobody asked for is short: requests are what is tried, and a hundred tokens of
a random model tell no more of one than eight. Requests for a stored response or a model, which would
all be for one that never was, are in part for one that is there. And the requests of each operation
are counted, since a run that gave making them up early passes like any other."""

import atexit
import collections
import json
import os
import threading
from pathlib import Path

import schemathesis
import server
from schemathesis import GenerationMode

TOKENS = 8
# Of each route the fields that say how long an answer may be, the one to add first.
LENGTHS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/responses": ("max_output_tokens",),
}

made = collections.Counter()  # requests of an operation, "POST /tokenize"
stored = collections.deque(maxlen=100)  # ids of responses
lock = threading.Lock()


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    with lock:
        made[case.operation.label] += 1
        fits = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
        if path.startswith("/v1/responses/{id}") and fits and stored:
            case.path_parameters = {**case.path_parameters, "id": stored[0]}
            stored.rotate()
        if path == "/v1/models/{id}" and fits and made[case.operation.label] % 4 == 0:
            case.path_parameters = {**case.path_parameters, "id": server.NAME}
    names = LENGTHS.get(path, ())
    if isinstance(case.body, dict) and names and not any(name in case.body for name in names):
        case.body = {**case.body, names[0]: TOKENS}


@schemathesis.hook
def after_call(context, case, response):
    is_whole = response.headers.get("content-type", [""])[0].startswith("application/json")
    if case.operation.label == "POST /v1/responses" and response.status_code == 200 and is_whole:
        with lock:
            stored.append(response.json()["id"])


@atexit.register
def keep_counts():
    Path(os.environ["WEFT_REQUESTS_MADE"]).write_text(json.dumps(made))
