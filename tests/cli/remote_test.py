#!/usr/bin/env python3
"""weft run --url: prompts and chats with a running server, a small one of the test's own, and once
`weft serve` itself."""

import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

from fake_server import Server, self_signed
from program import MODEL, QUESTION, Running, answer, needs_the_model, weft
from serve_test import Server as WeftServer


def ask(url, *arguments, key="", **variables):
    return weft("run", "--url", url, *arguments, OPENAI_API_KEY=key, **variables)


class APrompt(unittest.TestCase):
    def test_what_is_asked_and_what_comes(self):
        with Server(first_s=0, each_s=0) as server:
            server.thoughts = ["Hm", "m."]
            run = ask(server.url, "-p", "One?", "-s", "Be brief.", "--temp", 0.5, "--stop", "END",
                      "--top-k", 7, "--choice", "yes", "--choice", "no", "--stats")
            sent = server.requests[-1]
        self.assertEqual((run.returncode, run.stdout), (0, "Wörter and more 文字\n"))
        self.assertIn("Hmm.", run.stderr)
        self.assertIn("generation  4 tokens", run.stderr)
        self.assertEqual(sent["path"], "/v1/chat/completions")
        self.assertEqual(sent["messages"], [{"role": "system", "content": "Be brief."},
                                            {"role": "user", "content": "One?"}])
        self.assertEqual((sent["model"], sent["temperature"], sent["stop"], sent["top_k"]),
                         ("fake/model", 0.5, ["END"], 7))
        self.assertEqual(sent["structured_outputs"], {"choice": ["yes", "no"]})
        self.assertNotIn("seed", sent)  # defaults are the server's

    def test_json_and_every_way_to_write_the_address(self):
        with Server(first_s=0, each_s=0) as server:
            server.piece = 1
            port = server.url.rpartition(":")[2]
            for url in (server.url, server.url + "/", server.url + "/v1", f"localhost:{port}/v1/",
                        server.url + "/v1/chat/completions"):
                run = ask(url, "-p", "One?", "--json")
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertEqual(json.loads(run.stdout), {
                    "text": "Wörter and more 文字", "prompt_tokens": 11, "generated_tokens": 4,
                    "finish_reason": "length", "model": "fake/model"})

    def test_models(self):
        with Server(first_s=0, each_s=0) as server:
            server.models = ["small", "large"]
            for given in (("--model", "large"), ("large",)):
                self.assertEqual(ask(server.url, *given, "-p", "x").returncode, 0)
                self.assertEqual(server.requests[-1]["model"], "large")
            run = ask(server.url, "--model", "lagre", "-p", "x")
            self.assertEqual(run.returncode, 2)
            self.assertIn("does not serve 'lagre'", run.stderr)
            self.assertIn("small, large", run.stderr)
            server.models = None  # a server without that route is asked all the same
            self.assertEqual(ask(server.url, "--model", "any", "-p", "x").returncode, 0)
            self.assertEqual(ask(server.url, "-p", "x").returncode, 2)

    def test_what_a_server_says_is_no_command_to_a_terminal(self):
        with Server(first_s=0, each_s=0) as server:
            server.models = ["a\x1b]0;b", "c\x9b1m"]
            run = ask(server.url, "--model", "x", "-p", "y")
            self.assertIn("it serves a\ufffd]0;b, c\ufffd1m", run.stderr)
            server.statuses, server.refusal = [400], "\x1b[2J\x7f\n" + "文" * 100
            run = ask(server.url, "-p", "y")
            self.assertIn("HTTP 400: \ufffd[2J\ufffd 文", run.stderr)
            self.assertIn("文...", run.stderr)
            # A pipe gets an answer as it is.
            server.words = ["\x1b[1m"]
            run = ask(server.url, "-p", "y", "-n", 1)
            self.assertEqual(run.stdout, "\x1b[1m\n")

    def test_keys(self):
        with Server(first_s=0, each_s=0, key="sk-1") as server:
            run = ask(server.url, "-p", "x")
            self.assertEqual(run.returncode, 2)
            self.assertIn("wants a key", run.stderr)
            run = ask(server.url, "-p", "x", "--api-key", "sk-2")
            self.assertEqual(run.returncode, 2)
            self.assertIn("refuses the key", run.stderr)
            self.assertNotIn("sk-2", run.stderr)
            self.assertEqual(ask(server.url, "-p", "x", key="sk-1").returncode, 0)
            self.assertEqual(ask(server.url, "-p", "x", WEFT_API_KEY="sk-1").returncode, 0)

    def test_certificates_are_checked(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate = self_signed(folder)
            with Server(first_s=0, each_s=0, certificate=certificate) as server:
                run = ask(server.url, "-p", "x")
                self.assertEqual(run.returncode, 5)
                self.assertIn("is not trusted", run.stderr)
                self.assertIn("--ca-file", run.stderr)
                run = ask(server.url, "-p", "x", "--ca-file", certificate[0])
                self.assertEqual((run.returncode, run.stdout), (0, "Wörter and more 文字\n"))
                run = ask(server.url, "-p", "x", SSL_CERT_FILE=certificate[0],
                          CURL_CA_BUNDLE="")
                self.assertEqual(run.returncode, 0, run.stderr)
                # What it names does not hold for another host.
                run = ask(server.url.replace("localhost", "127.0.0.1"), "-p", "x", "--ca-file",
                          certificate[0])
                self.assertEqual(run.returncode, 5, run.stderr)
                run = ask(server.url, "-p", "x", "--ca-file", f"{folder}/none.pem")
                self.assertEqual(run.returncode, 2)
                self.assertIn("none.pem cannot be read", run.stderr)

    def test_no_server(self):
        with Server() as server:
            url = server.url
        run = ask(url, "-p", "x")
        self.assertEqual(run.returncode, 5)
        self.assertIn(f"no server answers at {url}/v1", run.stderr)

    def test_answers_that_fail(self):
        with Server(first_s=0, each_s=0) as server:
            for status, code in ((400, 2), (404, 2), (429, 75), (503, 75), (500, 5)):
                server.statuses = [status]
                run = ask(server.url, "-p", "x")
                self.assertEqual(run.returncode, code, run.stderr)
                self.assertIn("too busy", run.stderr)
            server.error = "the engine is gone"
            run = ask(server.url, "-p", "x")
            self.assertEqual((run.returncode, run.stdout.rstrip()), (5, "Wörter"))
            self.assertIn("the engine is gone", run.stderr)

    def test_a_stream_that_breaks_off_and_an_answer_that_is_none(self):
        with Server(first_s=0, each_s=0) as server:
            server.breaks = True
            run = ask(server.url, "-p", "x")
            self.assertEqual(run.returncode, 5)
            self.assertIn("the answer broke off", run.stderr)
            server.streams = False
            self.assertEqual(ask(server.url, "-p", "x").stdout, "Wörter and more 文字\n")

    def test_what_is_a_servers_own_affair_is_refused(self):
        for arguments, words in ((("--tp", 2), "--tensor-parallel-size and --url"),
                                 (("--file", "x"), "by a model of this machine, not by a server")):
            run = ask("http://127.0.0.1:1", "-p", "x", *arguments)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)
        for arguments in (("--api-key", "y"), ("--ca-file", "y")):
            run = weft("run", "x.gguf", *arguments)
            self.assertEqual(run.returncode, 2)
            self.assertIn(f"{arguments[0]} needs --url", run.stderr)
        self.assertIn("MODEL is x and --model is y", weft("run", "x", "--model", "y").stderr)
        for url in ("ftp://x", "http://", "http://me:secret@x", "http://x y"):
            run = ask(url, "-p", "x")
            self.assertEqual(run.returncode, 2)
            self.assertNotIn("secret", run.stderr)


class AChat(unittest.TestCase):
    def start(self, server):
        running = Running("run", "--url", server.url, "--temp", 1, terminal=True)
        self.addCleanup(running.close)
        running.read_until("fake/model at ")
        running.read_until("> ")
        return running

    def quit(self, running):
        running.read_until("> ")
        running.type("/quit\n")
        self.assertEqual(running.wait(), 0)

    def test_the_conversation_is_sent_whole_and_saved(self):
        with Server(first_s=0, each_s=0) as server, tempfile.TemporaryDirectory() as folder:
            running = self.start(server)
            for line, answered in (("One?", " 文字"), ("/set reasoning_effort low", 'is "low"'),
                                   ("/set top_p 0.5", "top_p is 0.5"), ("Two?", " 文字"),
                                   (f"/save {folder}/c.json", "saved 4 messages")):
                running.type(line + "\n")
                running.read_until(answered)
                running.read_until("> ")
            running.type("\x04")
            self.assertEqual(running.wait(), 0)
            sent = server.requests[-1]
            saved = json.loads((Path(folder) / "c.json").read_text(encoding="utf-8"))
        self.assertEqual([m["content"] for m in sent["messages"]],
                         ["One?", "Wörter and more 文字", "Two?"])
        self.assertEqual((sent["top_p"], sent["reasoning_effort"]), (0.5, "low"))
        self.assertEqual(saved["messages"][:3], sent["messages"])
        self.assertEqual((saved["model"], saved["temperature"], saved["top_p"]),
                         ("fake/model", 1, 0.5))

    def test_ctrl_c_ends_the_answer_and_not_the_chat(self):
        with Server(first_s=0, each_s=0.05) as server:
            server.words = [" and"]
            running = self.start(server)
            running.type("/set max_tokens 5000\n")
            running.read_until("> ")
            running.type("One?\n")
            running.read_until(" and and")
            running.type("\x03")
            running.read_until("> ")
            end = time.monotonic() + 10
            while server.at_once > 0 and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(server.at_once, 0)  # the server was told
            running.type("/set max_tokens 1\n")
            running.read_until("> ")
            running.type("Two?\n")
            running.read_until(" and")
            self.quit(running)
            self.assertTrue(server.requests[-1]["messages"][1]["content"].startswith(" and and"))

    def test_answers_are_no_commands_to_the_terminal(self):
        with Server(first_s=0, each_s=0) as server:
            server.models, server.words = ["fake/model at \x1b]0;x"], ["a\x1b[2J\n", "\tb"]
            server.thoughts = ["Hm\x9b2J"]
            running = self.start(server)
            running.type("/set max_tokens 2\n")
            running.read_until("> ")
            running.type("One?\n")
            seen = running.read_until("b\r\n")
            self.assertIn("Hm\ufffd2J", seen)
            self.assertIn("a\ufffd[2J\r\n\tb", seen)
            running.read_until("> ")
            running.type("Two?\n")
            running.read_until("b\r\n")
            self.quit(running)
            # The conversation keeps what was said.
            self.assertEqual(server.requests[-1]["messages"][1]["content"], "a\x1b[2J\n\tb")

    def test_a_full_context_forgets_the_oldest_messages(self):
        for code, words in (("context_length_exceeded", "too long"),
                            (400, "This model's maximum context length is 8 tokens.")):
            with Server(first_s=0, each_s=0) as server:
                server.code, server.refusal, server.context = code, words, 4
                running = self.start(server)
                for line in ("/system Be brief.", "One?", "Two?"):
                    running.type(line + "\n")
                    running.read_until("is set" if line[0] == "/" else " 文字")
                    running.read_until("> ")
                running.type("Three?\n")
                said = running.read_until(" 文字")
                self.assertIn("(the oldest messages are forgotten: the context is full)", said)
                self.assertEqual([m["content"] for m in server.requests[-1]["messages"]],
                                 ["Be brief.", "Two?", "Wörter and more 文字", "Three?"])
                running.read_until("> ")
                server.context = 1  # not even the question alone fits beside the system message
                running.type("Four?\n")
                said = running.read_until("max_tokens)")
                self.assertNotIn("forgotten", said)
                server.context = 6  # and then what was said before is still there
                running.read_until("> ")
                running.type("/retry\n")
                said = running.read_until(" 文字")
                self.assertNotIn("forgotten", said)
                self.assertEqual(len(server.requests[-1]["messages"]), 6)
                self.quit(running)

    def test_a_server_that_is_away_is_told_and_asked_again(self):
        with Server(first_s=0, each_s=0) as server:
            running = self.start(server)
            server.statuses = [503]
            running.type("One?\n")
            running.read_until("HTTP 503")
            running.read_until("> ")
            running.type("/retry\n")
            running.read_until(" 文字")
            self.quit(running)
            self.assertEqual([m["content"] for m in server.requests[-1]["messages"]], ["One?"])


@needs_the_model
class WithWeftServe(unittest.TestCase):
    def test_the_answer_is_that_of_the_model_itself(self):
        server = WeftServer(self, "--tp", 2, WEFT_API_KEY="sk-1")
        url = f"http://127.0.0.1:{server.port}"
        arguments = ("-p", QUESTION, "-s", "Be brief.", "--temp", 0.7, "--seed", 11, "-n", 24)
        run = ask(url, *arguments, "--json", "--api-key", "sk-1")
        self.assertEqual(run.returncode, 0, run.stderr)
        told, own = json.loads(run.stdout), answer(*arguments)
        for key in ("text", "prompt_tokens", "generated_tokens", "finish_reason"):
            self.assertEqual(told[key], own[key])
        self.assertEqual(told["model"], MODEL.stem)
        self.assertEqual(ask(url, "-p", "x").returncode, 2)
        self.assertEqual(server.end()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
