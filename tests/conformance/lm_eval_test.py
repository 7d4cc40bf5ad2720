#!/usr/bin/env python3
"""lm-eval scores a small task through the server; its loglikelihoods are those that `weft run
--file` gives for the same tokens offline, to the last bit that JSON carries."""

import json
import os
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import lm_eval
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

import server

TASK = {
    "task": "weft_facts", "dataset_path": "json", "output_type": "multiple_choice",
    "dataset_kwargs": {"data_files": {
        "test": str(Path(__file__).parent / "lm_eval" / "facts.jsonl")}},
    "test_split": "test", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}], "metadata": {"version": 1}}


class Recording(LocalCompletionsAPI):
    """What was asked of each pair of context and continuation, as ids."""

    asked = {}

    def _loglikelihood_tokens(self, requests, **kwargs):
        requests = list(requests)
        self.asked.update({key: (context, rest) for key, context, rest in requests})
        return super()._loglikelihood_tokens(requests, **kwargs)


def offline(prompts):
    """Of each prompt and position: the logprobs of its id and of the likeliest one."""
    with tempfile.TemporaryDirectory() as folder:
        lines, answers = Path(folder) / "lines.jsonl", Path(folder) / "answers.jsonl"
        lines.write_text("".join(
            json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": {
                "model": "smollm2", "prompt": ids, "max_tokens": 1, "temperature": 0,
                "prompt_logprobs": 1}}) + "\n" for i, ids in enumerate(prompts)))
        subprocess.run([server.PROGRAM, "run", str(server.MODEL), "--file", str(lines), "-o",
                        str(answers), "--tp", "1", "--quiet"], check=True, env=server.VARIABLES,
                       stdin=subprocess.DEVNULL)
        found = {}
        for line in answers.read_text().splitlines():
            answer = json.loads(line)
            choice = answer["response"]["body"]["choices"][0]
            found[int(answer["custom_id"])] = choice["prompt_logprobs"]
        return [found[i] for i in range(len(prompts))]


class LmEval(unittest.TestCase):
    def test_a_task_is_scored_as_offline(self):
        url, process = server.start("--tp", "2")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        model = Recording(model="smollm2", base_url=f"{url}/v1/completions", num_concurrent=4,
                          max_retries=1, batch_size=3)
        self.assertEqual(model.tokenizer_backend, "remote")  # found out by itself
        self.assertEqual(model.tokenizer.eos_token, "<|im_end|>")
        results = lm_eval.simple_evaluate(model=model, tasks=[TASK], task_manager=TaskManager(),
                                          bootstrap_iters=0)
        samples = results["samples"]["weft_facts"]
        scored = {}
        for sample in samples:
            for arguments, response in zip(sample["arguments"], sample["filtered_resps"]):
                scored[tuple(arguments)] = response
        self.assertEqual(len(scored), 36)
        self.assertEqual(set(scored), set(model.asked))
        # Knowing nothing would be right one time in three.
        self.assertGreater(results["results"]["weft_facts"]["acc,none"], 0.6)

        keys = sorted(scored)
        told = offline([model.asked[key][0] + model.asked[key][1] for key in keys])
        for key, positions in zip(keys, told):
            context, rest = model.asked[key]
            entries = positions[len(context):len(context) + len(rest)]
            chosen = [entry[str(token)]["logprob"] for entry, token in zip(entries, rest)]
            best = [max(one["logprob"] for one in entry.values()) for entry in entries]
            with self.subTest(key=key):
                self.assertEqual(tuple(scored[key]), (sum(chosen), chosen == best))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    unittest.main(verbosity=2)
