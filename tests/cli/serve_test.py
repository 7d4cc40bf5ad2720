#!/usr/bin/env python3
"""weft serve from outside: that it starts, is reached as it says, and ends as it should."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, TIMEOUT_S, environment, needs_the_model, weft


class Server:
    """`weft serve` at a free port, from its first words on."""

    def __init__(self, test, *arguments, **variables):
        command = [PROGRAM, "serve", str(MODEL), "--port", "0", "--max-model-len", "2048",
                   *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, env=environment(**variables))
        test.addCleanup(self.process.stderr.close)
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)
        self.output = ""
        for line in self.process.stderr:
            self.output += line
            if line.startswith("try "):
                break
        found = re.search(r" at (https?)://([^:/]+|\[.*\]):(\d+)/v1, process (\d+)", self.output)
        if not found:
            raise AssertionError(f"it never served: {self.output}")
        self.port, self.pid = int(found[3]), int(found[4])

    def get(self, path, headers=None, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def end(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        rest = self.process.stderr.read()
        return self.process.wait(TIMEOUT_S), rest


class Usage(unittest.TestCase):
    def test_limits_need_no_model(self):
        run = weft("serve", "--limits")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("16 MiB", run.stdout)
        self.assertEqual(weft("serve").returncode, 2)

    def test_unknown_parsers_are_refused_with_those_that_are_known(self):
        for option, known in (("--tool-call-parser", ("hermes", "llama3_json", "mistral",
                                                      "pythonic", "llama4_pythonic")),
                              ("--reasoning-parser", ("qwen3", "deepseek_r1", "mistral"))):
            run = weft("serve", "m", option, "hermess")
            self.assertEqual(run.returncode, 2, run.stderr)
            for name in known:
                self.assertIn(name, run.stderr)

    def test_a_file_of_keys_without_keys_opens_nothing(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("# none yet\n")
            file.flush()
            run = weft("serve", MODEL, "--api-key-file", file.name, "--port", 0)
        self.assertEqual(run.returncode, 2)
        self.assertIn("holds no key", run.stderr)


@needs_the_model
class Serve(unittest.TestCase):
    def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            run = weft("serve", MODEL, "--port", taken.getsockname()[1])
        self.assertEqual(run.returncode, 5)
        self.assertIn("another program has it", run.stderr)
        self.assertNotIn("loading", run.stderr)

    def test_it_serves_until_it_is_told_to_end(self):
        for sign in (signal.SIGTERM, signal.SIGINT):
            server = Server(self, "--tp", 2)
            self.assertEqual(server.pid, server.process.pid)
            for path in ("/live", "/ready", "/health", "/ping", "/"):
                self.assertEqual(server.get(path)[0], 200, path)
            self.assertEqual(server.get("/v1/nothing")[0], 404)
            code, log = server.end(sign)
            self.assertEqual(code, 0, log)
            self.assertIn("path=/v1/nothing status=404", log)
            self.assertNotIn("path=/ready", log)

    def test_a_log_that_nobody_reads_holds_nothing_up(self):
        server = Server(self)
        for i in range(500):  # lines of 300 bytes, where a pipe holds 64 KiB
            self.assertEqual(server.get(f"/{i}/" + 190 * "x")[0], 404)
        self.assertEqual(server.get("/live")[0], 200)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(TIMEOUT_S), 0)

    def test_a_log_whose_reader_left_ends_nothing(self):
        server = Server(self)
        server.process.stderr.close()
        for _ in range(3):
            self.assertEqual(server.get("/v1/nothing")[0], 404)
        self.assertEqual(server.get("/live")[0], 200)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(TIMEOUT_S), 0)

    def test_keys_from_the_environment_are_needed_by_all_but_probes(self):
        server = Server(self, "--log-json", WEFT_API_KEY="secret")
        self.assertEqual(server.get("/ready")[0], 200)
        self.assertEqual(server.get("/version")[0], 401)
        self.assertEqual(server.get("/version", {"Authorization": "Bearer wrong"})[0], 401)
        self.assertEqual(server.get("/version", {"Authorization": "Bearer secret"})[0], 200)
        _, log = server.end()
        requests = [line for line in map(json.loads, log.splitlines())
                    if line["message"] == "request"]
        self.assertEqual([line["status"] for line in requests], [401, 401, 200])
        self.assertEqual(requests[2]["principal"], "key-1")
        self.assertNotIn("secret", server.output + log)

    def test_it_speaks_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
            made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                                   "-days", "1", "-subj", "/CN=localhost", "-addext",
                                   "subjectAltName=DNS:localhost", "-keyout", key, "-out",
                                   certificate], capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stderr)
            server = Server(self, "--ssl-certfile", certificate, "--ssl-keyfile", key)
            trusted = ssl.create_default_context(cafile=certificate)
            connection = http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_S,
                                                     context=trusted)
            for _ in range(2):
                connection.request("GET", "/live")
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.read()), (200, b'{"status":"ok"}'))
            connection.close()
            with self.assertRaises((http.client.HTTPException, OSError)):
                server.get("/live")  # in the clear
            self.assertEqual(server.end()[0], 0)
            run = weft("serve", MODEL, "--ssl-certfile", key, "--port", 0)
            self.assertEqual(run.returncode, 2)

    def test_an_answer_is_verified_with_what_it_was_served_with(self):
        template = Path(__file__).parents[1] / "text/data/chat_templates/qwen3.jinja"
        told = ("--chat-template", template, "--tool-call-parser", "pythonic",
                "--reasoning-parser", "deepseek_r1")
        server = Server(self, *told)
        # The schema names z first, which a receipt has to keep.
        tool = {"name": "f", "parameters": {
            "type": "object", "properties": {"z": {"type": "boolean"}, "a": {"type": "boolean"}},
            "required": ["z", "a"]}}
        request = {"messages": [{"role": "user", "content": "Call f."}], "seed": 3,
                   "max_tokens": 48, "return_token_ids": True, "tool_choice": "required",
                   "tools": [{"type": "function", "function": tool}]}
        status, response = server.get("/v1/chat/completions", method="POST",
                                      body=json.dumps(request))
        self.assertEqual(status, 200, response)
        # As curl saves them: one body after the other, of a stream its events.
        others = []
        for path, body in (("chat/completions", {**request, "stream": True}),
                           ("completions", {"prompt": ["a", "b"], "seed": 1, "stream": True,
                                            "logprobs": 1, "stream_options":
                                            {"include_usage": True}}),
                           ("responses", {"input": "Hi", "seed": 2, "max_output_tokens": 9}),
                           ("responses", {"input": "Hi", "seed": 2, "max_output_tokens": 9,
                                          "stream": True})):
            others.append((body, *server.get(f"/v1/{path}", method="POST", body=json.dumps(body))))
        self.assertEqual(server.end()[0], 0)
        for body, code, answer in others:
            self.assertEqual(code, 200, answer)
            with tempfile.NamedTemporaryFile("wb") as file:
                file.write(json.dumps(body).encode() + b"\n" +
                           answer.encode())
                file.flush()
                run = weft("verify", file.name, MODEL, "--tp", 3, "--quiet", *told)
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
                self.assertIn("verified: all", run.stdout)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"request": request, "response": json.loads(response)}, file)
            file.flush()
            same = weft("verify", file.name, MODEL, "--tp", 2, "--quiet", *told)
            self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
            self.assertIn("verified: all", same.stdout)
            other = weft("verify", file.name, MODEL, "--quiet")
            self.assertEqual(other.returncode, 1, other.stdout + other.stderr)
            self.assertIn("--tool-call-parser", other.stdout)

    def test_operators_pause_resume_and_drain(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/admin"
            both = weft("serve", MODEL, "--admin-uds", path, "--admin-port", 1)
            self.assertEqual(both.returncode, 2, both.stderr)
            self.assertIn("--admin-port and --admin-uds", both.stderr)
            server = Server(self, "--admin-uds", path)
            self.assertIn(f"--unix-socket {path}", server.output)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

            def admin(method, target):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(path)
                    client.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
                                   "Connection: close\r\nContent-Length: 0\r\n\r\n".encode())
                    return b"".join(iter(lambda: client.recv(65536), b"")).decode()

            for _ in range(5):
                self.assertIn('"paused":true', admin("POST", "/pause"))
                self.assertEqual(server.get("/ready")[0], 503)
                self.assertIn('"paused":false', admin("POST", "/resume"))
                self.assertEqual(server.get("/ready")[0], 200)
            self.assertIn("traceEvents", admin("GET", "/trace?seconds=5"))
            self.assertIn('"draining":true', admin("POST", "/drain"))
            self.assertEqual(server.process.wait(TIMEOUT_S), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
