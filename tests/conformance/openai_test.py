#!/usr/bin/env python3
"""The official client of PyPI against a started server: what its users do, and how it fails."""

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


class Others(unittest.TestCase):
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
