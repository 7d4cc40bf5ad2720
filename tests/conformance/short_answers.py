"""Hooks of schemathesis: an answer whose length nobody asked for is short. Requests are what is
tried, and a hundred tokens of a random model tell no more of one than eight."""

import schemathesis

TOKENS = 8
# Of each route the fields that say how long an answer may be, the one to add first.
LENGTHS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/responses": ("max_output_tokens",),
}


@schemathesis.hook
def before_call(context, case, kwargs):
    names = LENGTHS.get(case.operation.path, ())
    if isinstance(case.body, dict) and names and not any(name in case.body for name in names):
        case.body = {**case.body, names[0]: TOKENS}
