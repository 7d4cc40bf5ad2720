"""What the measurements beside this file share: a `weft serve` of their own, clients on plain
sockets (one event loop, no package to install), and a record with machine and commit."""

import argparse
import asyncio
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments(doc, model_help="a model file"):
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=model_help)
    parser.add_argument("--weft", type=Path, default=ROOT / "build/weft")
    parser.add_argument("--ranks", type=int, default=os.cpu_count(), help="of --tp")
    parser.add_argument("--json", type=Path, help="also write the record here")
    return parser


class Server:
    """`weft serve` at free ports, until the end of a `with`."""

    def __init__(self, weft, model, *options):
        self.command = [str(weft), "serve", str(model), "--port", "0", "--no-access-log",
                        "--log-level", "warn", *map(str, options)]

    def __enter__(self):
        allow_descriptors()
        admin = free_port()
        self.process = subprocess.Popen([*self.command, "--admin-port", str(admin)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = ""
        for line in self.process.stderr:
            said += line
            if line.startswith("try "):
                break
        found = re.search(r" at http://127\.0\.0\.1:(\d+)/v1", said)
        if not found:
            raise RuntimeError(f"weft serve did not start: {said}")
        self.port, self.admin = int(found[1]), admin
        # A pipe that nobody reads would hold up a server that has much to say.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def status(self):
        return json.loads(get(self.admin, "/status"))

    def wait_until_idle(self, seconds=120):
        """The status once nothing runs and nothing waits."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if status["running"] == 0 and status["waiting"] == 0:
                return status
            if time.monotonic() > deadline:
                raise RuntimeError(f"never idle: {status}")
            time.sleep(0.1)

    def forget_prefixes(self):
        return json.loads(get(self.admin, "/reset_prefix_cache", "POST"))

    def memory_bytes(self):
        """Resident, without what is mapped from files."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * sum(int(re.search(rf"{name}:\s+(\d+)", text)[1])
                          for name in ("RssAnon", "RssShmem"))

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def allow_descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port():
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(port, path, method="GET"):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text}")
        return text
    finally:
        connection.close()


def request_bytes(path, body):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


class Answer:
    """One streamed answer: when it was asked for, and when each chunk with a choice came."""

    def __init__(self):
        self.sent = time.monotonic()
        self.status = 0
        self.ended = 0.0
        self.chunks = []  # seconds of time.monotonic()
        self.tokens = 0   # of the usage
        self.error = ""

    @property
    def is_whole(self):
        return self.status == 200 and not self.error


async def ask(port, body, path="/v1/completions"):
    """Asks and reads to the end. body: stream and usage are added."""
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    answer = Answer()
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer.sent = time.monotonic()
        writer.write(request_bytes(path, body))
        await read_answer(reader, answer)
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        answer.error = f"{type(error).__name__}: {error}"
    finally:
        answer.ended = time.monotonic()
        if writer is not None:
            writer.close()
    return answer


async def read_answer(reader, answer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    answer.status = int(head.split(" ", 2)[1])
    found = re.search(r"content-length: (\d+)", head, re.I)
    if found:  # no stream: an error
        text = (await reader.readexactly(int(found[1]))).decode()
        answer.error = f"{answer.status}: {text[:200]}"
        return
    done = False
    rest = b""
    while not done:
        data = await reader.read(65536)
        now = time.monotonic()
        if not data:
            answer.error = "the stream ended without [DONE]"
            return
        rest += data
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                done = True
            elif b'"choices":[{' in line:
                answer.chunks.append(now)
            else:
                event = json.loads(line[6:])
                if "error" in event:
                    answer.error = str(event["error"])
                elif event.get("usage"):
                    answer.tokens = event["usage"]["completion_tokens"]


def random_ids(random, count, most=1000):
    """A prompt of its own: ids above the special tokens and bytes, which every model here has."""
    return [random.randrange(256, most) for _ in range(count)]


def percentile(values, percent):
    """As numpy's: between the two nearest."""
    values = sorted(values)
    if not values:
        return None
    place = (len(values) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def milliseconds(values):
    """Percentiles of seconds."""
    return {f"p{p}": None if not values else round(1e3 * percentile(values, p), 3)
            for p in (50, 90, 99, 100)}


def gaps_of(answers):
    return [b - a for answer in answers for a, b in zip(answer.chunks, answer.chunks[1:])]


def own_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def record(args, what, figures, aims=None):
    """Prints and keeps the figures; exit code 1 where an aim is missed.
    aims: {name: (figure, "<=" or ">=", bound)}."""
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    model_name = next((line.split(":", 1)[1].strip()
                       for line in Path("/proc/cpuinfo").read_text().splitlines()
                       if line.startswith("model name")), platform.machine())
    judged = {}
    for name, (value, relation, bound) in (aims or {}).items():
        holds = value is not None and (value <= bound if relation == "<=" else value >= bound)
        judged[name] = {"value": value, "aim": f"{relation} {bound}", "holds": holds}
    out = {"what": what, "date": time.strftime("%Y-%m-%d"), "commit": commit,
           "machine": {"processor": model_name, "cpus": len(os.sched_getaffinity(0)),
                       "load_average": os.getloadavg()[0]},
           "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
           "model": args.model.name, "aims": judged, **figures}
    text = json.dumps(out, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0 if all(aim["holds"] for aim in judged.values()) else 1
