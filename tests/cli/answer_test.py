#!/usr/bin/env python3
"""Answers of the default model: what is printed where, splits, limits, precedence of options."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, QUESTION, TIMEOUT_S, answer, environment, needs_the_model, weft


@needs_the_model
class WithTheModel(unittest.TestCase):
    def test_answers_without_a_terminal(self):
        run = weft("run", MODEL, "--tp", 2)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout, "The capital of Japan is Tokyo.\n")
        banner = run.stderr.splitlines()
        self.assertIn("tp=2", run.stderr)
        self.assertLessEqual(len(banner), 27)  # 25, the progress line and the prompt

    def test_reads_the_prompt_from_standard_input(self):
        run = weft("run", MODEL, "-q", "-p", "-", stdin=QUESTION)
        self.assertEqual(run.stdout, "The capital of Japan is Tokyo.\n")

    def test_text_on_standard_input_is_the_prompt(self):
        wanted = answer("-p", QUESTION, "-n", 1)["prompt_token_ids"]
        run = weft("run", MODEL, "--json", "-n", 1, stdin=QUESTION + "\n")
        self.assertEqual(json.loads(run.stdout)["prompt_token_ids"], wanted)
        with tempfile.TemporaryFile("w+") as file:
            file.write(QUESTION)
            file.seek(0)
            run = subprocess.run([PROGRAM, "run", MODEL, "--json", "-n", "1"], stdin=file,
                                 capture_output=True, text=True, env=environment())
        self.assertEqual(json.loads(run.stdout)["prompt_token_ids"], wanted)

    def test_standard_input_that_holds_nothing(self):
        command = [PROGRAM, "run", MODEL]
        for name, options in [("/dev/null", {"stdin": subprocess.DEVNULL}),
                              ("closed", {"preexec_fn": lambda: os.close(0)})]:
            with self.subTest(name):
                run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S,
                                     env=environment(), **options)
                self.assertEqual(run.stdout, "The capital of Japan is Tokyo.\n", run.stderr)
        idle, end = os.pipe()  # nobody ever writes
        self.addCleanup(os.close, idle)
        self.addCleanup(os.close, end)
        run = subprocess.run(command, stdin=idle, capture_output=True, text=True,
                             timeout=TIMEOUT_S, env=environment())
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertIn("-p - waits for the prompt", run.stderr)

    def test_every_split_gives_the_same_bits(self):
        options = ["-p", QUESTION, "-n", 12, "--logits-hash", "--logprobs", 2, "--prompt-logprobs",
                   1]
        one = answer(*options)
        self.assertRegex(one["logits_hash"], "^[0-9a-f]{16}$")
        for split in (["--tp", 3], ["--tp", 7], ["--pp", "13,13,4"], ["--tp", 3, "--pp", 2],
                      ["--tp-weights", "2,1,1"], ["--stages", "12@1,14@3,4@2"],
                      ["--threads", 2, "--max-num-batched-tokens", 7]):
            other = answer(*options, *split)
            for key in ("text", "token_ids", "logits_hash", "logprobs", "prompt_logprobs"):
                self.assertEqual(one[key], other[key], f"{key} with {split}")

    def test_json_has_its_keys_and_standard_output_nothing_else(self):
        run = weft("run", MODEL, "-p", QUESTION, "--json", "--stats", "--logprobs", 3,
                   "--prompt-logprobs", 3)
        self.assertEqual(run.stdout.count("\n"), 1)
        found = json.loads(run.stdout)
        for key in ("text", "token_ids", "prompt_tokens", "generated_tokens", "logits_hash",
                    "finish_reason", "prompt_tokens_per_s", "generation_tokens_per_s",
                    "read_gb_per_s", "load_s", "topology", "isa", "logprobs", "prompt_logprobs",
                    "ranks", "prompt_token_ids"):
            self.assertIn(key, found)
        self.assertEqual(found["finish_reason"], "stop")
        self.assertEqual(found["prompt_tokens"], len(found["prompt_token_ids"]))
        self.assertEqual(found["generated_tokens"], len(found["token_ids"]))
        self.assertEqual(len(found["logprobs"]), found["generated_tokens"])
        self.assertEqual(len(found["prompt_logprobs"]), found["prompt_tokens"])
        self.assertIsNone(found["prompt_logprobs"][0])
        for position, chosen in zip(found["logprobs"], found["token_ids"]):
            self.assertIn(chosen, [pair["id"] for pair in position])
            values = [pair["logprob"] for pair in position[:3]]
            self.assertEqual(values, sorted(values, reverse=True))
        self.assertIn("all-reduce", run.stderr)

    def test_ids_give_what_their_text_gave(self):
        by_text = answer("-p", QUESTION, "-n", 4, "--logits-hash")
        ids = ",".join(map(str, by_text["prompt_token_ids"]))
        by_ids = answer("--prompt-ids", ids, "-n", 4, "--logits-hash")
        self.assertEqual(by_text["logits_hash"], by_ids["logits_hash"])

    def test_max_tokens_ignore_eos_and_stop(self):
        self.assertEqual(answer("-p", QUESTION, "-n", 3)["finish_reason"], "length")
        long = answer("-p", QUESTION, "-n", 20, "--ignore-eos")
        self.assertEqual((long["generated_tokens"], long["finish_reason"]), (20, "length"))
        stopped = answer("-p", QUESTION, "--stop", " Tokyo")
        self.assertEqual(stopped["text"], "The capital of Japan is")
        self.assertEqual(stopped["finish_reason"], "stop")

    def test_the_same_seed_gives_the_same_answer(self):
        options = ["-p", "Tell me a story.", "-n", 24, "--temperature", 1]
        first = answer(*options, "--seed", 7)
        self.assertEqual(first["token_ids"], answer(*options, "--seed", 7, "--tp", 3)["token_ids"])
        others = [answer(*options, "--seed", seed)["token_ids"] for seed in (8, 9)]
        self.assertTrue(any(other != first["token_ids"] for other in others))

    def test_flag_before_environment_before_file(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "weft" / "config.toml"
            config.parent.mkdir()
            config.write_text("tp = 2\n[run]\nmax-tokens = 1\n")
            ask = ["-p", QUESTION]
            by_file = answer(*ask, XDG_CONFIG_HOME=folder)
            self.assertEqual((by_file["topology"], by_file["generated_tokens"]), ("tp=2", 1))
            variables = {"XDG_CONFIG_HOME": folder, "WEFT_TENSOR_PARALLEL_SIZE": "3"}
            self.assertEqual(answer(*ask, **variables)["topology"], "tp=3")
            self.assertEqual(answer(*ask, "-tp", 5, **variables)["topology"], "tp=5")

    def test_splits_that_cannot_be_end_with_2(self):
        for split in (["--pp", "31,1"], ["--pp", 99], ["--tp", 3, "--tp-weights", "1,1"],
                      ["--stages", "30@1", "--tp", 2], ["--stages", "30"], ["--tp-weights", "1,x"]):
            for command in ("run", "inspect"):
                run = weft(command, MODEL, *split)
                self.assertEqual(run.returncode, 2, f"{command} {split}: {run.stderr}")

    def test_more_ranks_than_devices_names_both(self):
        run = weft("run", MODEL, "--tp", 5, "--devices", 0)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertRegex(run.stderr, r"\b5\b")
        self.assertRegex(run.stderr, r"\b1\b")

    def test_a_prompt_that_is_too_long_ends_with_2(self):
        run = weft("run", MODEL, "--max-model-len", 8, "-p", QUESTION)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertRegex(run.stderr, r"\b8\b")
        self.assertIn("raise --max-model-len", run.stderr)

    def test_bad_prompts_are_refused_before_weights_are_read(self):
        too_many = ",".join(["1"] * 8193)  # the model's own context is 8192
        for ids, part in [("1,x", "holds 'x'"), ("-1", "holds '-1'"), ("49152", "0 to 49151"),
                          (too_many, "a longer context")]:
            run = weft("run", MODEL, f"--prompt-ids={ids}")
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(part, run.stderr)
            self.assertNotIn("--max-model-len", run.stderr)
            self.assertNotIn("load", run.stderr)

    def test_a_cache_that_cannot_be_had_ends_with_4(self):
        run = weft("run", MODEL, "--kv-cache-memory-bytes", "10k", "-p", QUESTION)
        self.assertEqual(run.returncode, 4, run.stderr)

    def test_a_cut_off_file_ends_with_3(self):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.gguf"
            part.write_bytes(MODEL.read_bytes()[:50_000_000])
            run = weft("run", part, "-p", QUESTION)
            self.assertEqual(run.returncode, 3, run.stderr)
            self.assertIn("part.gguf", run.stderr)

    def test_ranks_hold_and_send_what_inspect_says(self):
        for split in (["--tp", 2], ["--tp", 7, "--pp", 3], ["--tp-weights", "2,1,1"]):
            shown = weft("inspect", MODEL, "--json", *split)
            planned = json.loads(shown.stdout)["split"]["ranks"]
            found = answer("-p", QUESTION, "-n", 16, "--ignore-eos", *split)
            self.assertEqual(len(planned), len(found["ranks"]))
            # The last generated token is never put into the model again.
            tokens = found["prompt_tokens"] + found["generated_tokens"] - 1
            for plan, rank in zip(planned, found["ranks"]):
                self.assertAlmostEqual(plan["weight_bytes"], rank["weight_bytes"],
                                       delta=0.02 * plan["weight_bytes"])
                self.assertEqual(plan["logits_bytes"], rank["logits_bytes"])
                # Of an open context inspect counts the model's own, which memory may cut.
                self.assertAlmostEqual(plan["step_bytes"], rank["step_bytes"],
                                       delta=0.02 * plan["step_bytes"])
                reduced = plan["reduce_bytes_per_token"] * tokens
                self.assertAlmostEqual(reduced, rank["reduce_bytes"], delta=0.02 * reduced)

    def test_inspect_sizes_the_cache_as_run_does(self):
        options = ["--max-model-len", 1000, "--tp", 2, "--kv-cache-dtype", "bf16"]
        shown = json.loads(weft("inspect", MODEL, "--json", *options).stdout)["split"]["ranks"]
        found = answer("-p", QUESTION, "-n", 1, *options)["ranks"]
        self.assertEqual([rank["kv_bytes"] for rank in shown],
                         [rank["kv_bytes"] for rank in found])

    def test_an_empty_prompt_is_one(self):
        empty = answer("-p", "", "-n", 1)
        self.assertLess(empty["prompt_tokens"], answer("-p", QUESTION, "-n", 1)["prompt_tokens"])
        run = weft("run", MODEL, "-p", "", "--no-chat-template")
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("the prompt is empty", run.stderr)

    def test_a_pool_shows_times_of_no_rank(self):
        found = answer("-p", QUESTION, "-n", 4, "--tp", 3, "--placement", "pooled")
        self.assertGreater(found["pool"]["compute_s"], 0)
        for rank in found["ranks"]:
            self.assertIsNone(rank["compute_s"])
            self.assertGreater(rank["reduce_bytes"], 0)

    def test_inspect_prints_its_table(self):
        run = weft("inspect", MODEL, "--tp", 7, "--pp", 3)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("30 layers, hidden 576, 9 heads and 3 KV heads of 64", run.stdout)
        self.assertIn("weights", run.stdout)
        self.assertNotIn("blk.0.attn_q.weight", run.stdout)
        self.assertIn("blk.0.attn_q.weight", weft("inspect", MODEL, "--tensors").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
