#!/usr/bin/env python3
"""litellm and langchain-openai against a started server: a call and a stream of each."""

import threading
import unittest

import litellm
from langchain_openai import ChatOpenAI

import server

URL, PROCESS = server.start()
threading.Thread(target=PROCESS.stderr.read, daemon=True).start()
QUESTION = "What is the capital of Japan?"


class LiteLlm(unittest.TestCase):
    ARGUMENTS = {"model": "openai/smollm2", "api_base": f"{URL}/v1", "api_key": "none",
                 "messages": [{"role": "user", "content": QUESTION}], "temperature": 0,
                 "max_tokens": 16}

    def test_a_call(self):
        answer = litellm.completion(**self.ARGUMENTS)
        self.assertIn("Tokyo", answer.choices[0].message.content)

    def test_a_stream(self):
        chunks = litellm.completion(stream=True, **self.ARGUMENTS)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        self.assertIn("Tokyo", text)


class LangChain(unittest.TestCase):
    def setUp(self):
        self.chat = ChatOpenAI(model="smollm2", base_url=f"{URL}/v1", api_key="none", temperature=0,
                               max_tokens=16)

    def test_a_call(self):
        self.assertIn("Tokyo", self.chat.invoke(QUESTION).content)

    def test_a_stream(self):
        self.assertIn("Tokyo", "".join(chunk.content for chunk in self.chat.stream(QUESTION)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
