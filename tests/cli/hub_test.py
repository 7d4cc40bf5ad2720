#!/usr/bin/env python3
"""Models by name, against a small hub on loopback: what is fetched, kept, resumed and refused."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from fake_hub import COMMIT, Hub, Repo, git_sha1, sha256
from program import PROGRAM, TIMEOUT_S, environment, weft

TINY = Path(os.environ.get("WEFT_TINY_MODELS", "/nonexistent"))
BIG = random.Random(1).randbytes(40_000_000)  # five requests of 8 MiB
SIDE = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}", "generation_config.json": b"{}"}


def safetensors(**more):
    return Repo({**SIDE, "model.safetensors": BIG[:3_000_000], "README.md": b"# A model",
                 "onnx/model.onnx": b"x", "consolidated.safetensors": b"y", **more})


def ggufs(*names):
    return Repo({"README.md": b"x", **{name: name.encode() * 1000 for name in names}})


class Named(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="weft_hub_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.cache = self.folder / "hub"

    def variables(self, hub, **more):
        # None of what the person at this machine has set.
        none = dict.fromkeys(["HF_TOKEN", "HF_HOME", "HF_TOKEN_PATH", "HF_HUB_OFFLINE",
                              "TRANSFORMERS_OFFLINE", "CURL_CA_BUNDLE", "SSL_CERT_FILE",
                              "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "all_proxy"], "")
        return {**none, "HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9",
                "HF_HUB_CACHE": str(self.cache), **more}

    def pull(self, hub, *names, code=0, **variables):
        run = weft("pull", *names, **self.variables(hub, **variables))
        self.assertEqual(run.returncode, code, run.stderr)
        return run.stderr if code else Path(run.stdout.strip())

    def repo_folder(self, name="u/m"):
        return self.cache / ("models--" + name.replace("/", "--"))

    def assert_nothing_outside(self):
        """The cache holds links into blobs, and beside it there is nothing."""
        self.assertEqual([path.name for path in self.folder.iterdir()], ["hub"])
        for path in self.cache.rglob("*"):
            self.assertTrue(path.resolve().is_relative_to(self.cache.resolve()), path)


class Fetching(Named):
    def test_safetensors_in_the_layout_of_huggingface_hub(self):
        with Hub({"u/m": safetensors()}) as hub:
            path = self.pull(hub, "u/m")
        folder = self.repo_folder()
        self.assertEqual(path, folder / "snapshots" / COMMIT)
        self.assertEqual(sorted(p.name for p in path.iterdir()),
                         sorted([*SIDE, "model.safetensors"]))
        self.assertEqual((folder / "refs" / "main").read_text(), COMMIT)
        weights = path / "model.safetensors"
        self.assertEqual(os.readlink(weights), f"../../blobs/{sha256(BIG[:3_000_000])}")
        self.assertEqual(weights.read_bytes(), BIG[:3_000_000])
        self.assertEqual(os.readlink(path / "config.json"),
                         f"../../blobs/{git_sha1(SIDE['config.json'])}")
        self.assertEqual(list(folder.rglob("*.incomplete")), [])
        self.assertTrue((self.cache / ".locks/models--u--m"
                         / f"{sha256(BIG[:3_000_000])}.lock").exists())
        self.assert_nothing_outside()

    def test_large_files_come_in_ranges_through_several_connections(self):
        together, most = set(), [0]

        def pause(name):
            together.add(threading.get_ident())
            most[0] = max(most[0], len(together))
            time.sleep(0.05)
            together.discard(threading.get_ident())

        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            hub.pause = pause
            path = self.pull(hub, "u/m")
            ranges = {request[3].get("Range") for request in hub.asked(".gguf", "content")}
        self.assertEqual(path.read_bytes(), BIG)
        self.assertEqual(len(ranges), 5)
        self.assertGreater(most[0], 1)

    def test_cut_transfers_go_on(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            hub.cuts["m.Q4_0.gguf"] = [1_000_000, 0, 5, 8_000_000, 123_456]
            hub.statuses["m.Q4_0.gguf"] = [503, 429, 500]
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)

    def test_a_stopped_fetch_is_a_beginning_and_goes_on(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            held = threading.Event()
            hub.cuts["m.Q4_0.gguf"] = [8 << 20, 8 << 20, 3_000_000] + [0] * 100
            hub.pause = lambda name: held.set()
            run = subprocess.Popen([PROGRAM, "pull", "u/m"], stderr=subprocess.PIPE, text=True,
                                   env=environment(**self.variables(hub)))
            self.assertTrue(held.wait(30))
            time.sleep(1)
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=TIMEOUT_S)[1]
            self.assertEqual(run.returncode, 130, said)
            [part] = self.repo_folder().glob("blobs/*.incomplete")
            kept = part.read_bytes()
            self.assertEqual(part.name, sha256(BIG) + ".incomplete")
            self.assertGreater(len(kept), 0)
            self.assertEqual(kept, BIG[:len(kept)])
            hub.cuts.clear()
            hub.requests.clear()
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)
            asked = sum(int(end) + 1 - int(begin) for begin, end in
                        (request[3]["Range"][6:].split("-") for request in hub.asked(".gguf", "content")))
            self.assertEqual(asked, len(BIG) - len(kept))

    def test_what_another_left_half_done_goes_on(self):
        blobs = self.repo_folder() / "blobs"
        blobs.mkdir(parents=True)
        (blobs / (sha256(BIG) + ".incomplete")).write_bytes(BIG[:30_000_000])
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)
            first = min(int(request[3]["Range"][6:].split("-")[0])
                        for request in hub.asked(".gguf", "content"))
        self.assertEqual(first, 30_000_000)

    def test_a_beginning_of_something_else_is_fetched_again(self):
        blobs = self.repo_folder() / "blobs"
        blobs.mkdir(parents=True)
        (blobs / (sha256(BIG) + ".incomplete")).write_bytes(b"z" * 30_000_000)
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)

    def test_a_server_without_ranges(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            hub.has_ranges = False
            hub.cuts["m.Q4_0.gguf"] = [10_000_000]
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)

    def test_signed_addresses_expire(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            hub.expiry = 2
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)

    def test_two_processes_share_one_transfer(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            hub.pause = lambda name: time.sleep(0.1)
            runs = [subprocess.Popen([PROGRAM, "pull", "u/m"], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True,
                                     env=environment(**self.variables(hub))) for _ in range(2)]
            paths = {run.communicate(timeout=TIMEOUT_S)[0].strip() for run in runs}
            asked = len(hub.asked(".gguf", "content"))
        self.assertEqual([run.returncode for run in runs], [0, 0])
        self.assertEqual(len(paths), 1)
        self.assertEqual(Path(paths.pop()).read_bytes(), BIG)
        self.assertEqual(asked, 5)

    def test_a_newer_commit_shares_what_did_not_change(self):
        repo = safetensors()
        with Hub({"u/m": repo}) as hub:
            self.pull(hub, "u/m")
            repo.commit = "f" * 40
            repo.files["config.json"] = b'{"newer": 1}'
            path = self.pull(hub, "u/m")
            self.assertEqual(path.name, "f" * 40)
            self.assertEqual((path / "config.json").read_bytes(), b'{"newer": 1}')
            self.assertEqual(len(hub.asked("model.safetensors", "content", "GET")), 1)

    def test_revisions(self):
        with Hub({"u/m": Repo({"m.Q8_0.gguf": b"x"}, revisions=("main", "v1.5", "refs/pr/3"))}) as hub:
            for revision in ("v1.5", "refs/pr/3", COMMIT):
                self.assertEqual(self.pull(hub, f"u/m@{revision}").read_bytes(), b"x")
            self.assertEqual((self.repo_folder() / "refs/refs/pr/3").read_text(), COMMIT)
            said = self.pull(hub, "u/m@v1.4", code=3)
        self.assertIn("u/m has no revision 'v1.4' (did you mean v1.5?)", said)

    def test_sharded_safetensors_by_their_index(self):
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors",
                                "b": "model-00002-of-00002.safetensors"}}
        repo = Repo({**SIDE, "model.safetensors.index.json": json.dumps(index).encode(),
                     "model-00001-of-00002.safetensors": b"1" * 9,
                     "model-00002-of-00002.safetensors": b"2" * 9,
                     "model-00003-of-00003.safetensors": b"3" * 9})
        with Hub({"u/m": repo}) as hub:
            path = self.pull(hub, "u/m")
        self.assertEqual(sorted(p.name for p in path.glob("*.safetensors")),
                         ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])


class ChoosingGguf(Named):
    def test_the_type_chooses(self):
        repo = ggufs("M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-IQ4_XS.gguf", "mmproj-M-F16.gguf",
                     "Q8_0/M-Q8_0-00001-of-00002.gguf", "Q8_0/M-Q8_0-00002-of-00002.gguf")
        with Hub({"u/m": repo}) as hub:
            self.assertEqual(self.pull(hub, "u/m:q4_k_m").name, "M-Q4_K_M.gguf")
            self.assertEqual(self.pull(hub, "u/m:M-IQ4_XS.gguf").name, "M-IQ4_XS.gguf")
            split = self.pull(hub, "u/m:Q8_0")
            self.assertEqual(split.name, "M-Q8_0-00001-of-00002.gguf")
            self.assertEqual(len(list(split.parent.iterdir())), 2)
            self.assertEqual(os.readlink(split).count("../"), 3)
            for name, part in [("u/m", "holds 4 GGUF models"), ("u/m:Q4_K", "u/m has no 'Q4_K'")]:
                said = self.pull(hub, name, code=3)
                self.assertIn(part, said)
                self.assertIn("IQ4_XS, Q4_K_M, Q4_K_S, Q8_0", said)

    def test_a_split_that_lacks_a_part(self):
        with Hub({"u/m": ggufs("M-Q8_0-00001-of-00003.gguf", "M-Q8_0-00003-of-00003.gguf")}) as hub:
            self.assertIn("lacks parts", self.pull(hub, "u/m:Q8_0", code=3))

    def test_pickled_weights_are_not_fetched(self):
        with Hub({"u/m": Repo({"config.json": b"{}", "pytorch_model.bin": b"x"})}) as hub:
            self.assertIn("pickled", self.pull(hub, "u/m", code=3))


class Refusals(Named):
    def test_wrong_hashes(self):
        for name, other in [("m.Q4_0.gguf", BIG[:-1] + b"?"), ("tokenizer.json", b"[]")]:
            with Hub({"u/m": Repo({**SIDE, "m.Q4_0.gguf": BIG, "model.safetensors": b"w"})}) as hub:
                hub.damaged[name] = other
                said = self.pull(hub, "u/m:Q4_0" if name.endswith("gguf") else "u/m", code=3)
            self.assertIn(f"{name} arrived damaged", said)
            self.assertEqual(list(self.repo_folder().rglob("*.incomplete")), [])
            self.assertFalse((self.repo_folder() / "snapshots" / COMMIT / name).exists())

    def test_gated_repositories_name_the_licence_page(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG[:99]}, gated=True)}) as hub:
            hub.token = "hf_good"
            said = self.pull(hub, "u/m", code=3)
            self.assertIn("no token was given", said)
            self.assertIn(f"accept it at {hub.url}/u/m, then set HF_TOKEN", said)
            self.assertIn("has not accepted it", self.pull(hub, "u/m", code=3, HF_TOKEN="hf_bad"))
            self.pull(hub, "u/m", HF_TOKEN="hf_good")
            file = self.folder / "home" / "token"
            file.parent.mkdir()
            file.write_text("hf_good\n")
            self.pull(hub, "u/m", HF_HOME=str(file.parent))

    def test_the_token_stays_with_the_hub(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG[:99]}, gated=True)}) as hub:
            hub.token = "hf_good"
            self.pull(hub, "u/m", HF_TOKEN="hf_good")
            for server, expected in (("front", True), ("content", False)):
                asked = hub.asked("", server)
                self.assertTrue(asked)
                self.assertEqual({"Authorization" in request[3] for request in asked}, {expected})

    def test_unknown_repositories(self):
        with Hub({"Qwen/Qwen2.5-0.5B-Instruct": safetensors()}) as hub:
            said = self.pull(hub, "Qwen/Qwen2.5-0.5B-Instuct", code=3)
        self.assertIn("did you mean Qwen/Qwen2.5-0.5B-Instruct?", said)
        self.assertIn("no token was given", said)

    def test_a_token_that_was_not_sent_is_said(self):
        repos = {"u/m": Repo({"m.Q4_0.gguf": b"x"}), "u/gated": Repo({}, gated=True)}
        with Hub(repos) as hub:
            hub.refused["m.Q4_0.gguf"] = 401
            plain = {"HF_ENDPOINT": "http://hub.example", "http_proxy": hub.url, "no_proxy": "",
                     "HF_TOKEN": "hf_good"}
            for name in ("u/none", "u/gated", "u/m"):
                said = self.pull(hub, name, code=3, **plain)
                self.assertIn("the token was not sent: the endpoint is not https", said)
                self.assertIn("set HF_ENDPOINT to an address of https", said)
                self.assertNotIn("HF_TOKEN", said)
            asked = hub.asked("")
            self.assertFalse([request for request in asked if "Authorization" in request[3]])
            self.assertIn("the token is not valid", self.pull(hub, "u/m", code=3, HF_TOKEN="hf_x"))

    def test_malicious_names_are_never_written(self):
        evil = ["../evil.gguf", "/tmp/evil-weft.gguf", "a/../../evil.gguf", "..\\evil.gguf"]
        repo = Repo({"m.Q4_0.gguf": b"x"}, listed=[*evil, "m.Q4_0.gguf"])
        with Hub({"u/m": repo}) as hub:
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), b"x")
            index = json.dumps({"weight_map": {"a": "../../../../evil.safetensors"}}).encode()
            hub.repos["u/e"] = Repo({**SIDE, "model.safetensors.index.json": index})
            self.assertIn("malformed", self.pull(hub, "u/e", code=3))
        self.assertFalse(Path("/tmp/evil-weft.gguf").exists())
        self.assert_nothing_outside()

    def test_redirects_to_what_is_no_web_address(self):
        secret = self.folder / "secret"
        secret.write_bytes(b"x")
        with Hub({"u/m": Repo({"m.Q4_0.gguf": b"x"})}) as hub:
            hub.evil_location = f"file://{secret}"
            self.assertIn("redirects to where it must not", self.pull(hub, "u/m", code=3))

    def test_a_hub_that_is_none(self):
        said = self.pull(None, "u/m", code=3)
        self.assertIn("cannot fetch u/m from http://127.0.0.1:9", said)

    def test_full_disks(self):
        def limit():  # as a full disk would: what is written past it fails
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
            run = subprocess.run([PROGRAM, "pull", "u/m"], capture_output=True, text=True,
                                 env=environment(**self.variables(hub)), preexec_fn=limit,
                                 restore_signals=False, timeout=TIMEOUT_S)
            self.assertEqual(run.returncode, 3)
            self.assertIn("the disk is full", run.stderr)
            [part] = self.repo_folder().glob("blobs/*.incomplete")
            self.assertEqual(part.read_bytes(), BIG[:1_000_000])
            self.assertEqual(self.pull(hub, "u/m").read_bytes(), BIG)

    def test_room_is_asked_for_beforehand(self):
        disk = self.folder / "hub"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            self.skipTest("no small disk can be mounted here")
        try:
            with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG})}) as hub:
                self.assertIn("not enough room to fetch u/m", self.pull(hub, "u/m", code=3))
                self.assertEqual(hub.asked(".gguf", "content"), [])
        finally:
            subprocess.run(["umount", str(disk)], check=True)


class Local(Named):
    def inspect(self, hub, name, **variables):
        """What is said of a model that is found, opened, and none."""
        run = weft("inspect", name, **self.variables(hub, **variables))
        self.assertEqual(run.returncode, 3, run.stderr)
        return run.stderr

    def test_a_gguf_that_is_here_is_not_taken_for_the_safetensors(self):
        with Hub({"u/m": safetensors(**{"M-Q4_K_M.gguf": b"x"})}) as hub:
            self.assertIn("M-Q4_K_M.gguf", self.inspect(hub, "u/m:Q4_K_M"))
            self.assertIn("model.safetensors: ", self.inspect(hub, "u/m"))
            snapshot = self.repo_folder() / "snapshots" / COMMIT
            self.assertTrue((snapshot / "model.safetensors").exists())
            asked = len(hub.requests)
            self.assertIn("model.safetensors: ", self.inspect(hub, "u/m"))
            self.assertEqual(len(hub.requests), asked)

    def test_one_of_several_ggufs_is_taken_offline_alone(self):
        names = [f"M-{quant}.gguf" for quant in ("Q4_0", "Q4_K_M", "Q6_K", "Q8_0")]
        with Hub({"u/m": ggufs(*names)}) as hub:
            for fetched in (None, "Q4_0", "Q8_0"):
                if fetched:
                    self.inspect(hub, f"u/m:{fetched}")
                self.assertIn("u/m holds 4 GGUF models", self.inspect(hub, "u/m"))
                if fetched == "Q4_0":
                    said = self.inspect(hub, "u/m", HF_HUB_OFFLINE="1")
                    self.assertIn("u/m is M-Q4_0.gguf, the GGUF model of it that is here", said)

    def test_the_only_gguf_needs_no_network_once_the_hub_said_so(self):
        with Hub({"u/m": ggufs("M-Q4_0.gguf")}) as hub:
            self.assertIn("u/m is M-Q4_0.gguf\n", self.inspect(hub, "u/m"))
        self.assertIn("u/m is M-Q4_0.gguf\n", self.inspect(None, "u/m"))
        # As another program leaves it.
        shutil.rmtree(self.repo_folder() / ".weft")
        self.assertIn("cannot fetch u/m from", self.inspect(None, "u/m"))
        self.assertIn("M-Q4_0.gguf", self.inspect(None, "u/m:Q4_0"))
        self.assertIn("M-Q4_0.gguf", self.inspect(None, "u/m", HF_HUB_OFFLINE="1"))

    def test_what_is_there_needs_no_network(self):
        with Hub({"u/m": Repo({"m.Q4_0.gguf": b"x", "m.Q8_0.gguf": b"y"})}) as hub:
            self.pull(hub, "u/m:Q8_0")
        run = weft("inspect", "u/m:Q8_0", **self.variables(None))
        self.assertIn("m.Q8_0.gguf", run.stderr)  # found, opened, and no model
        said = weft("inspect", "u/m:Q4_0", **self.variables(None, HF_HUB_OFFLINE="1")).stderr
        self.assertIn("HF_HUB_OFFLINE forbids to fetch it", said)

    def test_an_interrupted_model_is_not_taken_for_whole(self):
        with Hub({"u/m": safetensors()}) as hub:
            path = self.pull(hub, "u/m")
            (path / "model.safetensors").resolve().unlink()
            said = weft("inspect", "u/m", **self.variables(None, HF_HUB_OFFLINE="1")).stderr
            self.assertIn("not on this machine in whole", said)

    @unittest.skipUnless(TINY.exists(), "WEFT_TINY_MODELS is not set")
    def test_a_model_is_fetched_and_opened(self):
        gguf = next(TINY.glob("*.Q4_K_M.gguf"))
        folder = next(path.parent for path in TINY.glob("*/model.safetensors*"))
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        both = Repo({**files, gguf.name: gguf.read_bytes()})
        with Hub({"u/g": Repo({gguf.name: gguf.read_bytes()}), "u/s": Repo(files),
                  "u/b": both}) as hub:
            for arguments in (("u/g:Q4_K_M",), ("-hf", "u/g:Q4_K_M"), ("u/s",), ("u/b:Q4_K_M",),
                              ("u/b",)):
                run = weft("inspect", *arguments, "--json", **self.variables(hub))
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertGreater(json.loads(run.stdout)["model"]["num_layers"], 0)

    def test_both_ways_to_name_a_model(self):
        run = weft("inspect", "u/m", "-hf", "u/m", **self.variables(None))
        self.assertEqual(run.returncode, 2)
        self.assertIn("MODEL and --hf-repo are both given", run.stderr)


class Encrypted(Named):
    def test_certificates_are_checked(self):
        key, certificate = self.folder / "key.pem", self.folder / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                        str(key), "-out", str(certificate)], check=True, capture_output=True)
        with Hub({"u/m": Repo({"m.Q4_0.gguf": BIG[:99]})}, (str(certificate), str(key))) as hub:
            said = self.pull(hub, "u/m", code=3)
            self.assertIn("SSL_CERT_FILE", said)
            self.assertEqual(hub.asked(""), [])
            for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
                path = self.pull(hub, "u/m", **{variable: str(certificate)})
                self.assertEqual(path.read_bytes(), BIG[:99])
            # From an encrypted address to a plain one nothing goes.
            hub.evil_location = "http://localhost:9/x"
            shutil.rmtree(self.cache)
            said = self.pull(hub, "u/m", code=3, SSL_CERT_FILE=str(certificate))
            self.assertIn("redirects to where it must not", said)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
