#!/usr/bin/env python3
"""weft bench serve against a small server: what is sent, when, and the figures that come of it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fake_server import Server, self_signed
from program import PROGRAM, environment, weft

TINY = Path(os.environ.get("WEFT_TINY_MODELS", "/nonexistent")) / "qwen2.Q4_K_M.gguf"


class BenchServe(unittest.TestCase):
    def bench(self, server, *arguments, code=0, **variables):
        run = weft("bench", "serve", "--base-url", server.url, "--json", *arguments,
                   **{"OPENAI_API_KEY": "", **variables})
        self.assertEqual(run.returncode, code, run.stderr)
        return json.loads(run.stdout) if run.stdout else run.stderr

    def test_random_ids_are_sent_and_counted(self):
        with Server() as server:
            figures = self.bench(server, "--num-prompts", 8, "--random-input-len", 30,
                                 "--random-output-len", 6, "--ignore-eos", "--seed", 3)
        sent = server.requests[1:]  # after the one that tries the server out
        self.assertEqual(len(sent), 8)
        for body in sent:
            self.assertEqual((len(body["prompt"]), body["max_tokens"], body["path"]),
                             (30, 6, "/v1/completions"))
            self.assertTrue(body["stream"] and body["ignore_eos"])
            self.assertEqual(body["model"], "fake/model")
        self.assertEqual((figures["completed"], figures["failed"]), (8, 0))
        self.assertEqual((figures["total_input_tokens"], figures["total_output_tokens"]), (240, 48))
        self.assertGreaterEqual(figures["mean_ttft_ms"], 20)
        self.assertGreaterEqual(figures["median_tpot_ms"], 5)
        self.assertGreaterEqual(figures["p99_e2el_ms"], 45)
        self.assertGreater(figures["client_cpu_share"], 0)
        self.assertAlmostEqual(figures["output_throughput"], 48 / figures["duration"], 6)

    def test_chat_in_pieces_of_any_size(self):
        for piece in (1, 3, 4096):
            with Server(first_s=0.001, each_s=0.001) as server, \
                    tempfile.TemporaryDirectory() as folder:
                server.piece = piece
                self.bench(server, "--backend", "openai-chat", "--num-prompts", 2,
                           "--random-output-len", 4, "--random-input-len", 5, "--save-detailed",
                           "--result-dir", folder, "--result-filename", "r.json")
                saved = json.loads((Path(folder) / "r.json").read_text())
                self.assertEqual(server.requests[0]["path"], "/v1/chat/completions")
            self.assertEqual(saved["generated_texts"], ["Wörter and more 文字"] * 2)
            self.assertEqual(saved["output_lens"], [4, 4])
            self.assertEqual([len(gaps) for gaps in saved["itls"]], [3, 3])
            self.assertEqual(saved["input_lens"], [11, 11])

    def test_no_more_at_once_than_asked(self):
        with Server() as server:
            figures = self.bench(server, "--num-prompts", 12, "--max-concurrency", 3,
                                 "--random-output-len", 3, "--num-warmups", 2)
            self.assertEqual(server.most_at_once, 3)
            self.assertEqual(len(server.requests), 1 + 2 + 12)
        self.assertEqual(figures["max_concurrency"], 3)

    def test_arrivals_keep_to_the_rate(self):
        with Server(first_s=0, each_s=0) as server:
            figures = self.bench(server, "--num-prompts", 20, "--request-rate", 40,
                                 "--burstiness", 100, "--random-output-len", 1)
            times = [body["at"] for body in server.requests[1:]]
        self.assertAlmostEqual(times[-1] - times[0], 0.5, delta=0.2)
        self.assertEqual(figures["request_rate"], 40)

    def test_a_rate_that_grows(self):
        with Server(first_s=0, each_s=0) as server:
            figures = self.bench(server, "--num-prompts", 30, "--ramp-up-strategy", "linear",
                                 "--ramp-up-start-rps", 20, "--ramp-up-end-rps", 200,
                                 "--burstiness", 1000, "--random-output-len", 1)
            times = [body["at"] for body in server.requests[1:]]
            self.assertGreater(times[14] - times[0], 1.5 * (times[29] - times[15]))
            self.assertEqual((figures["ramp_up_strategy"], figures["ramp_up_start_rps"],
                              figures["ramp_up_end_rps"]), ("linear", 20, 200))
            asked = len(server.requests)
            for arguments in (("--ramp-up-start-rps", 1),
                              ("--ramp-up-strategy", "linear", "--ramp-up-end-rps", 2),
                              ("--ramp-up-strategy", "exponential", "--ramp-up-start-rps", 3,
                               "--ramp-up-end-rps", 2),
                              ("--ramp-up-strategy", "linear", "--ramp-up-start-rps", 1,
                               "--ramp-up-end-rps", 2, "--request-rate", 9)):
                self.assertIn("ramp", self.bench(server, *arguments, code=2))
            self.assertEqual(len(server.requests), asked)

    def test_fields_and_headers_of_the_users_own(self):
        sampling = ("--temperature", 0.7, "--top-p", 0.9, "--top-k", 40, "--min-p", 0.05,
                    "--repetition-penalty", 1.1, "--presence-penalty", -0.5,
                    "--frequency-penalty", 0.25, "--logprobs", 2)
        with Server(first_s=0, each_s=0) as server:
            self.bench(server, "--num-prompts", 2, "--random-output-len", 1, *sampling,
                       "--extra-body", '{"min_tokens": 8, "top_k": 41}', "--header", "X-Team=a=b",
                       "--header", "X-Other=c", "--request-id-prefix", "load-")
            for body, headers in zip(server.requests, server.headers):
                wanted = {"temperature": 0.7, "top_p": 0.9, "top_k": 41, "min_p": 0.05,
                          "repetition_penalty": 1.1, "presence_penalty": -0.5,
                          "frequency_penalty": 0.25, "logprobs": 2, "min_tokens": 8}
                self.assertEqual({**body, **wanted}, body)
                self.assertEqual((headers["X-Team"], headers["X-Other"]), ("a=b", "c"))
            self.assertEqual([headers["X-Request-Id"] for headers in server.headers[1:]],
                             ["load-0", "load-1"])
            server.requests.clear()
            self.bench(server, "--num-prompts", 1, "--random-output-len", 1, "--backend",
                       "openai-chat", "--logprobs", 2)
            body = server.requests[0]
            self.assertEqual((body["logprobs"], body["top_logprobs"]), (True, 2))
            self.assertFalse({"top_p", "top_k", "min_p", "repetition_penalty"} & set(body))
            server.requests.clear()
            for option, value in (("--extra-body", "[1]"), ("--header", "X-Team"),
                                  ("--header", "X-Team=a\r\nX-Other: b"), ("--header", "a b=c"),
                                  ("--request-id-prefix", "a\nb"), ("--metadata", "=x")):
                self.assertIn(option, self.bench(server, option, value, code=2))
            self.assertEqual(server.requests, [])

    def test_what_a_record_says_of_itself(self):
        with Server(first_s=0, each_s=0) as server, tempfile.TemporaryDirectory() as folder:
            arguments = ("--num-prompts", 1, "--random-output-len", 1, "--label", "night",
                         "--metadata", "machine=m1", "--metadata", "note=a=b", "--save-result",
                         "--result-dir", folder)
            self.bench(server, *arguments)
            (path,) = Path(folder).iterdir()
            self.assertTrue(path.name.startswith("night-infqps-model-"), path.name)
            saved = json.loads(path.read_text())
            self.assertEqual((saved["label"], saved["machine"], saved["note"]),
                             ("night", "m1", "a=b"))
            for _ in range(2):
                self.bench(server, *arguments, "--result-filename", "all.jsonl", "--append-result")
            lines = (Path(folder) / "all.jsonl").read_text().splitlines()
            self.assertEqual([json.loads(line)["label"] for line in lines], ["night"] * 2)

    def test_options_of_vllm_that_say_nothing_here(self):
        with Server(first_s=0, each_s=0) as server:
            self.bench(server, "--num-prompts", 1, "--random-output-len", 1, "--trust-remote-code",
                       "--disable-tqdm", "--tokenizer-mode", "auto")
            for arguments, word in ((("--tokenizer", "x"), "/tokenize"), (("--no-stream",), "stream"),
                                    (("--served-model-name", "x"), "--model"),
                                    (("--profile",), "--admin-port")):
                self.assertIn(word, self.bench(server, *arguments, code=2))

    def test_failures_are_counted_with_their_reasons(self):
        with Server(first_s=0.001, each_s=0) as server:
            server.statuses = [200, 429, 503, 429]
            figures = self.bench(server, "--num-prompts", 6, "--random-output-len", 2,
                                 "--max-concurrency", 1)
            self.assertEqual((figures["completed"], figures["failed"]), (3, 3))
            self.assertEqual(figures["errors_by_reason"],
                             {"HTTP 429: too busy": 2, "HTTP 503: too busy": 1})
            server.cut = True
            said = self.bench(server, "--num-prompts", 1, code=5)
            self.assertIn("ended without [DONE]", said)

    def test_goodput_counts_what_keeps_to_its_targets(self):
        with Server() as server:
            arguments = ("--num-prompts", 4, "--random-output-len", 4)
            good = self.bench(server, *arguments, "--goodput", "ttft:5000", "--goodput", "tpot:5000")
            bad = self.bench(server, *arguments, "--goodput", "ttft:1")
        self.assertAlmostEqual(good["request_goodput"], good["request_throughput"], 6)
        self.assertEqual(bad["request_goodput"], 0)

    def test_without_usage_pieces_are_counted(self):
        with Server(usage=False) as server:
            figures = self.bench(server, "--num-prompts", 2, "--random-input-len", 9,
                                 "--random-output-len", 5)
        self.assertEqual((figures["total_input_tokens"], figures["total_output_tokens"]), (18, 10))

    def test_tokens_without_text_are_tokens(self):
        for backend in ("openai", "openai-chat"):
            for last_ends in (False, True):
                with Server(first_s=0.001, each_s=0.001) as server, \
                        tempfile.TemporaryDirectory() as folder:
                    server.words, server.last_ends = ["", "", "x"], last_ends
                    for count in (1, 5):
                        self.bench(server, "--backend", backend, "--num-prompts", 1,
                                   "--random-output-len", count, "--save-detailed",
                                   "--result-dir", folder, "--result-filename", "r.json")
                        saved = json.loads((Path(folder) / "r.json").read_text())
                        case = (backend, last_ends, count)
                        self.assertEqual(len(saved["itls"][0]), count - 1, case)
                        self.assertEqual(saved["output_lens"], [count], case)

    def test_conversations_of_sharegpt(self):
        talk = [{"conversations": [{"from": "human", "value": f"what would you say of {i}"},
                                   {"from": "gpt", "value": "one two three four five"},
                                   {"from": "human", "value": "and"}]} for i in range(4)]
        talk.append({"conversations": [{"value": "too short"}, {"value": "a b c d e f"}]})
        with tempfile.TemporaryDirectory() as folder, \
                Server(first_s=0.001, each_s=0.001, usage=False) as server:
            path = Path(folder) / "talk.json"
            path.write_text(json.dumps(talk))
            arguments = ("--dataset-name", "sharegpt", "--dataset-path", path, "--num-prompts", 6)
            figures = self.bench(server, *arguments)
            sent = server.requests[1:]
            self.assertEqual(len({body["prompt"] for body in sent}), 4)
            self.assertEqual({body["max_tokens"] for body in sent}, {5})
            self.assertEqual((figures["total_input_tokens"], figures["total_output_tokens"]),
                             (36, 30))
            server.counts_tokens = False  # 23 bytes are taken for 6 tokens
            figures = self.bench(server, *arguments, "--sharegpt-output-len", 2)
            self.assertEqual((figures["total_input_tokens"], figures["total_output_tokens"]),
                             (36, 12))
            path.write_text("{}")
            run = weft("bench", "serve", "--base-url", server.url, *arguments)
            self.assertEqual(run.returncode, 2)
            self.assertIn("no ShareGPT file", run.stderr)

    def test_keys(self):
        with Server(key="sk-1") as server:
            said = self.bench(server, "--num-prompts", 1, code=2)
            self.assertIn("wants a key", said)
            self.assertIn("Incorrect API key", said)
            self.assertIn("--api-key", said)
            said = self.bench(server, "--num-prompts", 1, "--api-key", "sk-2", code=2)
            self.assertIn("refuses the key", said)
            self.assertNotIn("sk-2", said)
            for given in ({"OPENAI_API_KEY": "sk-1"}, {}):
                arguments = () if given else ("--api-key", "sk-1")
                self.bench(server, "--num-prompts", 1, "--random-output-len", 1, *arguments, **given)

    def test_custom_prompts_and_no_server(self):
        with tempfile.TemporaryDirectory() as folder, Server() as server:
            path = Path(folder) / "p.jsonl"
            path.write_text('{"prompt": "One", "output_tokens": 2}\n'
                            '{"prompt": "Two", "output_tokens": 3}\n')
            figures = self.bench(server, "--dataset-name", "custom", "--dataset-path", path,
                                 "--custom-output-len", -1, "--num-prompts", 4)
            self.assertEqual(figures["total_output_tokens"], 10)
            self.assertEqual(sorted(body["prompt"] for body in server.requests[1:]),
                             ["One", "One", "Two", "Two"])
            url = server.url
        run = weft("bench", "serve", "--base-url", url, "--model", "m", "--num-prompts", 1)
        self.assertEqual(run.returncode, 5)
        self.assertIn(f"no server answers at {url}", run.stderr)

    def test_refusals_say_what_they_are(self):
        """With the server's words, and the option that mends it; none is called silence."""
        cases = [(400, None, 2, "refuses the request", None),
                 (400, "context_length_exceeded", 2, "refuses the request", "--random-input-len"),
                 (403, None, 2, "wants a key", "--api-key"),
                 (403, "host_not_allowed", 2, "refuses the request", None),
                 (404, "model_not_found", 2, "does not know", "--model"),
                 (429, None, 75, "is busy", "--max-concurrency"),
                 (503, None, 75, "is busy", "--request-rate"),
                 (500, None, 5, "failed", None)]
        with Server(first_s=0, each_s=0) as server:
            for status, code, exit_code, what, mend in cases:
                for before in ((), (200,)):  # the request that tries the server out, and the rest
                    server.statuses, server.code = [*before, status], code
                    run = weft("bench", "serve", "--base-url", server.url, "--num-prompts", 1,
                               "--random-output-len", 1, OPENAI_API_KEY="")
                    self.assertEqual(run.returncode, exit_code, run.stderr)
                    said = run.stderr
                    self.assertIn(f"HTTP {status}: too busy", said)
                    self.assertIn(f"{server.url} {what}", said)
                    self.assertNotIn("no server answers", said)
                    self.assertNotIn("--max-model-len", said)
                    self.assertIn(mend or "", said)
                    if mend is None:
                        self.assertNotIn("to mend", said)

    def test_no_error_is_no_failure(self):
        with Server(first_s=0, each_s=0) as server:
            server.more_of_events = {"error": None}
            figures = self.bench(server, "--num-prompts", 2, "--random-output-len", 3)
            self.assertEqual((figures["completed"], figures["failed"]), (2, 0))
            server.more_of_events = {"error": {"message": "lost \x1b[2J"}}
            said = self.bench(server, "--num-prompts", 1, "--random-output-len", 3, code=5)
            self.assertIn("lost \ufffd[2J", said)

    def test_a_model_without_a_name(self):
        with Server(first_s=0, each_s=0) as server:
            for models in ([7], [None], []):
                server.models = models
                said = self.bench(server, "--num-prompts", 1, code=5)
                self.assertIn("/v1/models names no model; --model names one", said)

    def test_ctrl_c_ends_it_while_a_server_is_silent(self):
        with tempfile.TemporaryDirectory() as folder:
            talk = Path(folder) / "talk.json"
            talk.write_text(json.dumps([{"conversations": [{"value": "what would you say"},
                                                           {"value": "one two three four"}]}]))
            for silent in ("/v1/models", "/tokenize", "/v1/completions"):
                with Server(first_s=0, each_s=0) as server:
                    server.silent = silent
                    run = subprocess.Popen(
                        [PROGRAM, "bench", "serve", "--base-url", server.url, "--json",
                         "--dataset-name", "sharegpt", "--dataset-path", str(talk),
                         "--num-prompts", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True, env=environment())
                    self.assertTrue(server.asked_in_vain.wait(30), silent)
                    run.send_signal(signal.SIGINT)
                    try:
                        out, err = run.communicate(timeout=20)
                    finally:
                        run.kill()
                    self.assertEqual((run.returncode, out, err), (130, "", ""), silent)

    def test_only_what_may_pass_is_waited_for(self):
        with Server(first_s=0, each_s=0) as server:
            server.statuses = [503, 429]
            self.bench(server, "--num-prompts", 1, "--random-output-len", 1,
                       "--ready-check-timeout-sec", 60)
            self.assertEqual(len(server.requests), 4)
            server.statuses = [400, 400]
            self.bench(server, "--num-prompts", 1, "--ready-check-timeout-sec", 60, code=2)
            self.assertEqual(len(server.requests), 5)

    def test_certificates_are_checked(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate = self_signed(folder)
            with Server(first_s=0, each_s=0, certificate=certificate) as server:
                asked = ("--num-prompts", 1, "--random-output-len", 1)
                said = self.bench(server, *asked, code=5)
                self.assertIn("is not trusted", said)
                self.assertIn("--ca-file", said)
                figures = self.bench(server, *asked, "--ca-file", certificate[0])
                self.assertEqual(figures["completed"], 1)
                self.bench(server, *asked, SSL_CERT_FILE=certificate[0], CURL_CA_BUNDLE="")


@unittest.skipUnless(TINY.exists(), "WEFT_TINY_MODELS names no folder with the tiny models")
class AgainstWeftServe(unittest.TestCase):
    """A model of random weights: most of its tokens are no text."""

    def setUp(self):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", str(TINY), "--port", "0", "--tp", "2", "--max-num-seqs", "4",
             "--no-access-log"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=environment())
        self.addCleanup(self.process.stderr.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        said = ""
        for line in self.process.stderr:
            said += line
            if line.startswith("try "):
                break
        self.url = re.search(r" at (http://[^ ]*)/v1", said)[1]

    def test_every_token_is_counted_and_timed(self):
        with tempfile.TemporaryDirectory() as folder:
            talk = Path(folder) / "talk.json"
            talk.write_text(json.dumps(
                [{"conversations": [{"value": f"say something of the number {i}"},
                                    {"value": "with a few words"}]} for i in range(3)]))
            for arguments, output_len in (
                    (("--random-input-len", 20, "--random-output-len", 12,
                      "--random-vocab-size", 250), 12),
                    (("--backend", "openai-chat", "--random-input-len", 4,
                      "--random-output-len", 9), 9),
                    (("--dataset-name", "sharegpt", "--dataset-path", talk,
                      "--sharegpt-output-len", 5), 5)):
                run = weft("bench", "serve", "--base-url", self.url, "--num-prompts", 8,
                           "--ignore-eos", "--max-concurrency", 5, "--save-detailed",
                           "--result-dir", folder, "--result-filename", "r.json", *arguments)
                self.assertEqual(run.returncode, 0, run.stderr)
                saved = json.loads((Path(folder) / "r.json").read_text())
                self.assertEqual((saved["completed"], saved["failed"]), (8, 0), saved)
                self.assertEqual(saved["output_lens"], [output_len] * 8)
                for gaps in saved["itls"]:
                    # A step may bring two tokens in one chunk only with speculation.
                    self.assertEqual(len(gaps), output_len - 1, arguments)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
