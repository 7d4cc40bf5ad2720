#!/usr/bin/env python3
"""The official client of PyPI against a started server: what its users do, and how it fails."""

import json
import threading
import unittest

import openai
import pydantic

import server

URL, PROCESS = server.start()
# Lines of the log that nobody reads would fill the pipe.
threading.Thread(target=PROCESS.stderr.read, daemon=True).start()
CLIENT = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=120)
QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
GREEDY = {"model": "smollm2", "temperature": 0}


class City(pydantic.BaseModel):
    name: str
    is_capital: bool


class Chat(unittest.TestCase):
    def test_a_chat(self):
        answer = CLIENT.chat.completions.create(messages=QUESTION, max_completion_tokens=24, **GREEDY)
        self.assertIn("Tokyo", answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertEqual(answer.usage.total_tokens,
                         answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer.system_fingerprint)

    def test_a_stream_says_what_the_whole_answer_says(self):
        whole = CLIENT.chat.completions.create(messages=QUESTION, max_tokens=24, **GREEDY)
        chunks = list(CLIENT.chat.completions.create(
            messages=QUESTION, max_tokens=24, stream=True,
            stream_options={"include_usage": True}, **GREEDY))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_the_accumulator_of_the_client(self):
        with CLIENT.chat.completions.stream(messages=QUESTION, stop=["."], n=2, seed=7,
                                            model="smollm2", logprobs=True) as stream:
            for _ in stream:
                pass
            answer = stream.get_final_completion()
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        for choice in answer.choices:
            self.assertTrue(choice.message.content)
            self.assertTrue(choice.logprobs.content)

    def test_a_seed_gives_the_same_answer(self):
        def ask(seed):
            return CLIENT.chat.completions.create(
                messages=QUESTION, max_tokens=16, seed=seed, temperature=1.5,
                model="smollm2").choices[0].message.content
        self.assertEqual(ask(3), ask(3))
        self.assertNotEqual(ask(3), ask(4))

    def test_parse_gives_an_object_of_the_schema(self):
        answer = CLIENT.chat.completions.parse(messages=QUESTION, max_tokens=200,
                                               response_format=City, **GREEDY)
        self.assertIsInstance(answer.choices[0].message.parsed, City)

    def test_a_required_tool_is_called(self):
        tools = [{"type": "function", "function": {
            "name": "get_weather", "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                           "required": ["city"], "additionalProperties": False}}}]
        for stream in (False, True):
            with self.subTest(stream=stream):
                arguments = dict(messages=QUESTION, tools=tools, tool_choice="required",
                                 max_tokens=200, parallel_tool_calls=False, **GREEDY)
                if stream:
                    with CLIENT.chat.completions.stream(**arguments) as events:
                        choice = events.get_final_completion().choices[0]
                else:
                    choice = CLIENT.chat.completions.create(**arguments).choices[0]
                self.assertEqual(choice.finish_reason, "tool_calls")
                call = choice.message.tool_calls[0]
                self.assertEqual(call.function.name, "get_weather")
                self.assertTrue(call.id.startswith("call_"))
                self.assertIn("city", call.function.arguments)

    def test_calls_beside_one_another(self):
        tool = {"type": "function", "function": {
            "name": "get_weather", "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "required": ["city"], "additionalProperties": False,
                           "properties": {"city": {"enum": ["Rome", "Tokyo"]}}}}}
        asked = dict(messages=[{"role": "user", "content": "The weather of Rome and of Tokyo?"}],
                     tools=[tool], tool_choice="required", max_tokens=600, temperature=1.5,
                     model="smollm2")

        def calls_of(choice):
            return [(call.function.name, call.function.arguments)
                    for call in choice.message.tool_calls]

        for seed in range(8):
            whole = CLIENT.chat.completions.create(**asked, seed=seed).choices[0]
            with CLIENT.chat.completions.stream(**asked, seed=seed) as events:
                streamed = events.get_final_completion().choices[0]
            self.assertEqual(calls_of(streamed), calls_of(whole))
            ids = {call.id for call in streamed.message.tool_calls}
            self.assertEqual(len(ids), len(streamed.message.tool_calls))
            for _, arguments in calls_of(whole):
                self.assertIn(json.loads(arguments)["city"], ("Rome", "Tokyo"))
            if len(ids) > 1:
                return
        self.fail("no answer had several calls")


class Completions(unittest.TestCase):
    def test_prompts_of_every_form(self):
        for prompt in ("Hello", ["Hello", "World"], [19556, 28], [[19556], [28]]):
            with self.subTest(prompt=prompt):
                answer = CLIENT.completions.create(prompt=prompt, max_tokens=3, **GREEDY)
                is_list = isinstance(prompt, list) and not isinstance(prompt[0], int)
                self.assertEqual(len(answer.choices), len(prompt) if is_list else 1)

    def test_stop_texts_are_left_out(self):
        answer = CLIENT.completions.create(prompt="1, 2, 3, 4,", max_tokens=20, stop=[" 7"],
                                           **GREEDY)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertNotIn("7", answer.choices[0].text)

    def test_a_prompt_is_judged_as_lm_eval_does(self):
        ids = [504, 3575, 282, 4649, 314, 7042]
        answer = CLIENT.completions.create(prompt=[ids], max_tokens=1, logprobs=1, echo=True, seed=1,
                                           **GREEDY)
        logprobs = answer.choices[0].logprobs
        self.assertEqual(len(logprobs.token_logprobs), len(ids) + 1)
        self.assertIsNone(logprobs.token_logprobs[0])
        for chosen, best in zip(logprobs.token_logprobs[1:], logprobs.top_logprobs[1:]):
            self.assertLessEqual(chosen, max(best.values()))


class Responses(unittest.TestCase):
    ASKED = {"model": "smollm2", "input": "What is the capital of Japan?", "temperature": 0,
             "max_output_tokens": 24}

    def test_a_response_is_kept_and_gone_on_from(self):
        answer = CLIENT.responses.create(**self.ASKED)
        self.assertIn("Tokyo", answer.output_text)
        self.assertEqual(answer.usage.total_tokens,
                         answer.usage.input_tokens + answer.usage.output_tokens)
        self.assertEqual(CLIENT.responses.retrieve(answer.id).output_text, answer.output_text)
        items = list(CLIENT.responses.input_items.list(answer.id))
        self.assertEqual(items[0].content[0].text, self.ASKED["input"])
        more = CLIENT.responses.create(**{**self.ASKED, "input": "And of France?"},
                                       previous_response_id=answer.id)
        self.assertGreater(more.usage.input_tokens, answer.usage.input_tokens)
        CLIENT.responses.delete(answer.id)
        with self.assertRaises(openai.NotFoundError):
            CLIENT.responses.retrieve(answer.id)

    def test_the_events_of_a_stream(self):
        whole = CLIENT.responses.create(**self.ASKED)
        with CLIENT.responses.stream(**self.ASKED) as stream:
            types = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(final.output_text, whole.output_text)
        self.assertEqual(types[:2], ["response.created", "response.in_progress"])
        self.assertIn(types[-1], ("response.completed", "response.incomplete"))
        self.assertIn("response.output_text.delta", types)

    def test_parse_gives_an_object_of_the_schema(self):
        answer = CLIENT.responses.parse(**{**self.ASKED, "max_output_tokens": 200},
                                        text_format=City)
        self.assertIsInstance(answer.output_parsed, City)

    def test_a_required_tool_is_called(self):
        tool = {"type": "function", "name": "get_weather", "strict": True,
                "description": "Tells the weather of a city.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                               "required": ["city"], "additionalProperties": False}}
        asked = {**self.ASKED, "max_output_tokens": 200, "tools": [tool],
                 "tool_choice": "required", "parallel_tool_calls": False}
        answer = CLIENT.responses.create(**asked)
        call = next(item for item in answer.output if item.type == "function_call")
        self.assertEqual(call.name, "get_weather")
        self.assertIn("city", json.loads(call.arguments))
        with CLIENT.responses.stream(**asked) as stream:
            final = stream.until_done().get_final_response()
        streamed = next(item for item in final.output if item.type == "function_call")
        self.assertEqual(streamed.arguments, call.arguments)


class Others(unittest.TestCase):
    def test_embeddings(self):
        both = [CLIENT.embeddings.create(model="smollm2", input=["one", "two"], **form).data
                for form in ({}, {"encoding_format": "float"})]
        for packed, plain in zip(*both):  # the client asks for base64 unless it is told not to
            self.assertEqual(len(packed.embedding), len(plain.embedding))
            self.assertLess(max(abs(a - b) for a, b in zip(packed.embedding, plain.embedding)),
                            1e-6)


    def test_models(self):
        self.assertEqual([model.id for model in CLIENT.models.list()], ["smollm2"])
        self.assertEqual(CLIENT.models.retrieve("smollm2").id, "smollm2")


class Failures(unittest.TestCase):
    def test_a_field_out_of_range(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            CLIENT.chat.completions.create(messages=QUESTION, model="smollm2", top_p=2)
        self.assertEqual(caught.exception.param, "top_p")
        self.assertEqual(caught.exception.code, "invalid_value")

    def test_a_prompt_beyond_the_context(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            CLIENT.completions.create(prompt="word " * 3000, model="smollm2")
        self.assertEqual(caught.exception.code, "context_length_exceeded")

    def test_a_model_that_is_not_served(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            CLIENT.chat.completions.create(messages=QUESTION, model="gpt-4")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_an_unknown_route(self):
        with self.assertRaises(openai.NotFoundError):
            CLIENT.fine_tuning.jobs.list()


if __name__ == "__main__":
    unittest.main(verbosity=2)
