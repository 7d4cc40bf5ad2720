#!/usr/bin/env python3
"""Connections that do nothing, and clients that hardly read: what each costs the server.

    bench/serving/connections.py MODEL [--idle 5000] [--slow 2000] [--long 500]

Idle connections ask for /health every 45 seconds and otherwise stay (keep-alive; the server closes
those that say nothing for 75). Slow ones ask for a stream of
some 50 KiB and read 256 bytes every 5 seconds, through a socket that holds 4 KiB: their answers are
made and wait in the server. Told is how much its memory grew by connection; meanwhile a client that
reads streams on, and its longest gap is told. The answers of slow clients are compared whole at the
end, byte by byte of their number and end.

Then, at a server of their own, clients whose answers are far longer than the 64 KiB that each may
have waiting: they read 4 KiB every 2 seconds. What they hold beyond 64 KiB each is bounded for all
of them (`weft serve --limits`): told is what the server grew by, how many were dropped for it, and
that the others' answers came whole."""

import asyncio
import os
import random
import re
import socket
import sys
import time
from pathlib import Path

import measuring

KIB = 1024
SHARE_KIB, WAITING_MIB = 64, 256  # "slow reader" and "waiting" of weft serve --limits


async def connect(port, receive_bytes=None):
    """A connection, and its socket while nobody reads it."""
    raw = socket.socket()
    if receive_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", port))
    return raw


async def idle(port):
    raw = await connect(port)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = await loop.sock_recv(raw, 4096)
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        raise RuntimeError(answer.decode())
    return raw


class SlowClient:
    def __init__(self, raw):
        self.raw, self.received, self.is_over = raw, bytearray(), False

    @classmethod
    async def begin(cls, port, number, tokens):
        raw = await connect(port, 4 * KIB)
        body = {"prompt": measuring.random_ids(random.Random(number), 8), "max_tokens": tokens,
                "ignore_eos": True, "temperature": 0, "stream": True, "logprobs": 5,
                "return_token_ids": True}
        data = measuring.request_bytes("/v1/completions", body)
        await asyncio.get_running_loop().sock_sendall(raw, data)
        return cls(raw)

    def read(self, most):
        try:
            data = self.raw.recv(most)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        self.is_over = not data

    @property
    def is_whole(self):
        return self.received.endswith(b"0\r\n\r\n") and b"data: [DONE]" in self.received

    def num_chunks(self):
        return len(re.findall(rb'"choices":\[\{', self.received))


async def trickle(clients, stop, most=256, seconds=5):
    while not stop.is_set():
        for begin in range(0, len(clients), 100):
            for client in clients[begin:begin + 100]:
                if not client.is_over:
                    client.read(most)
            await asyncio.sleep(seconds * 100 / max(100, len(clients)))
        await asyncio.sleep(0)


async def drain(clients, seconds):
    """All of them read what there is, to their ends."""
    until = time.monotonic() + seconds
    open_ones = list(clients)
    for client in clients:  # 4 KiB at a time take long for 1 MiB
        client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * KIB)
    while open_ones and time.monotonic() < until:
        for client in open_ones:
            client.read(256 * KIB)
        open_ones = [c for c in open_ones if not c.is_over and not c.is_whole]
        await asyncio.sleep(0.05)


async def measure(server, args):
    figures = {}
    idle_before = server.memory_bytes()
    idle_ones = []
    for begin in range(0, args.idle, 200):
        count = min(200, args.idle - begin)
        idle_ones += await asyncio.gather(*(idle(server.port) for _ in range(count)))
    figures["idle"] = per_connection(server, idle_before, len(idle_ones))

    slow_ones, stop = [], asyncio.Event()
    staying = asyncio.create_task(stay(idle_ones, stop))
    fast = asyncio.create_task(stream_on(server.port, args))
    slow_before = server.memory_bytes()
    for begin in range(0, args.slow, 50):
        slow_ones += await asyncio.gather(*(SlowClient.begin(server.port, begin + i, args.tokens)
                                            for i in range(min(50, args.slow - begin))))
    trickling = asyncio.create_task(trickle(slow_ones, stop))
    still_made = await until_made(server, args.patience, running=1)
    figures["slow"] = per_connection(server, slow_before, len(slow_ones))
    figures["slow"]["still_made"] = still_made
    figures["kernel_mib"] = kernel_mib()  # of both ends of all connections
    figures["open"] = num_open(server)
    args.stop_streaming = True
    fast_answers = await fast
    stop.set()
    await trickling
    staying_ones = await staying
    figures["slow"]["left_early"] = sum(c.is_over for c in slow_ones)
    await drain(slow_ones, 120)
    whole = [c for c in slow_ones if c.is_whole]
    figures["slow"]["whole"] = len(whole)
    figures["slow"]["bytes"] = round(sum(len(c.received) for c in whole) / max(1, len(whole)))
    figures["slow"]["short"] = sum(c.num_chunks() != args.tokens for c in whole)
    alive = await asyncio.gather(*(still_alive(raw) for raw in idle_ones))
    figures["idle"]["answer_again"] = min(sum(alive), staying_ones)
    figures["running_answer"] = {
        "answers": len(fast_answers), "failed": sum(not a.is_whole for a in fast_answers),
        "tokens": sum(a.tokens for a in fast_answers),
        "gap_ms": measuring.milliseconds(measuring.gaps_of(fast_answers))}
    for raw in idle_ones + [c.raw for c in slow_ones]:
        raw.close()
    return figures


async def until_made(server, patience, running=0):
    until = time.monotonic() + patience
    status = server.status()
    while (status["running"] > running or status["waiting"] > 0) and time.monotonic() < until:
        await asyncio.sleep(1)
        status = server.status()
    await asyncio.sleep(2)
    return max(0, status["running"] - running) + status["waiting"]


async def measure_long(server, args):
    clients, stop, before = [], asyncio.Event(), server.memory_bytes()
    for begin in range(0, args.long, 50):
        clients += await asyncio.gather(*(SlowClient.begin(server.port, begin + i, args.long_tokens)
                                          for i in range(min(50, args.long - begin))))
    trickling = asyncio.create_task(trickle(clients, stop, 4 * KIB, seconds=2))
    still_made = await until_made(server, args.patience)
    figures = per_connection(server, before, len(clients))
    figures["still_made"] = still_made
    stop.set()
    await trickling
    figures["bound_mib"] = round(args.long * SHARE_KIB / KIB + WAITING_MIB, 1)
    await drain(clients, 300)
    whole = [c for c in clients if c.is_whole]
    figures["whole"], figures["dropped"] = len(whole), len(clients) - len(whole)
    figures["bytes"] = round(sum(len(c.received) for c in whole) / max(1, len(whole)))
    figures["short"] = sum(c.num_chunks() != args.long_tokens for c in whole)
    for client in clients:
        client.raw.close()
    return figures


async def stream_on(port, args):
    answers = []
    args.stop_streaming = False
    while not args.stop_streaming:
        answers.append(await measuring.ask(port, {"prompt": [300, 301], "max_tokens": 100,
                                                  "ignore_eos": True, "priority": -1}))
    return answers


async def still_alive(raw):
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(raw, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return b" 200 " in await asyncio.wait_for(loop.sock_recv(raw, 4096), 30)
    except (OSError, asyncio.TimeoutError):
        return False


async def stay(idle_ones, stop):
    """Asks from time to time, as a pool of connections does, until `stop`; how many answered all."""
    alive = [True] * len(idle_ones)
    asked = time.monotonic()
    while not stop.is_set():
        await asyncio.sleep(0.5)
        if time.monotonic() - asked < 45:
            continue
        asked = time.monotonic()
        for begin in range(0, len(idle_ones), 200):
            part = idle_ones[begin:begin + 200]
            for i, answers in enumerate(await asyncio.gather(*(still_alive(raw) for raw in part))):
                alive[begin + i] &= answers
    return sum(alive)


def per_connection(server, before, count):
    grown = server.memory_bytes() - before
    return {"connections": count, "grown_mib": round(grown / KIB / KIB, 1),
            "kib_each": round(grown / KIB / max(1, count), 2)}


def kernel_mib():
    """What the system holds in TCP sockets, of which a server sees nothing."""
    text = Path("/proc/net/sockstat").read_text()
    return round(int(re.search(r"TCP:.* mem (\d+)", text)[1]) * os.sysconf("SC_PAGE_SIZE") / KIB / KIB,
                 1)


def num_open(server):
    return sum(os.readlink(f"/proc/{server.process.pid}/fd/{fd}").startswith("socket:")
               for fd in os.listdir(f"/proc/{server.process.pid}/fd"))


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--slow", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=64, help="of a slow client's answer")
    parser.add_argument("--long", type=int, default=500, help="slow clients of long answers")
    parser.add_argument("--long-tokens", type=int, default=1500, help="of such an answer")
    parser.add_argument("--patience", type=float, default=600, help="seconds until all are made")
    args = parser.parse_args()
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", 64,
                          "--max-num-queued-reqs", args.slow + 64, "--max-model-len", 512) as server:
        # What the first answers take once is no connection's.
        asyncio.run(warm_up(server))
        figures = asyncio.run(measure(server, args))
        figures["left"] = {key: server.wait_until_idle()[key] for key in ("running", "waiting")}
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", 64,
                          "--max-num-queued-reqs", args.long, "--max-model-len", 2048) as server:
        asyncio.run(warm_up(server))
        figures["long"] = asyncio.run(measure_long(server, args))
    slow, idle_figures, long = figures["slow"], figures["idle"], figures["long"]
    # Memory that the allocator keeps, and what is made within half a second.
    most_mib = round(1.1 * long["bound_mib"], 1)
    # Whose answers fit beside one another, however their memory grows, are all held.
    all_fit = 2 * args.long * long["bytes"] <= WAITING_MIB * KIB * KIB
    return measuring.record(args, "connections", figures, {
        "idle_kib_each": (idle_figures["kib_each"], "<=", 64),
        "slow_kib_each": (slow["kib_each"], "<=", 64),
        "idle_answer_again": (idle_figures["answer_again"], ">=", args.idle),
        "slow_whole": (slow["whole"], ">=", args.slow),
        "slow_short": (slow["short"], "<=", 0),
        "long_mib": (long["grown_mib"], "<=", most_mib),
        "long_whole": (long["whole"], ">=", args.long if all_fit else 1),
        "long_short": (long["short"], "<=", 0),
        "running_answers_failed": (figures["running_answer"]["failed"], "<=", 0)})


async def warm_up(server):
    """Until every block of the cache was used once: the system gives their memory as they are."""
    draw = random.Random(0)
    for _ in range(20):
        bodies = [{"prompt": measuring.random_ids(draw, 440), "max_tokens": 64, "ignore_eos": True,
                   "logprobs": 5, "return_token_ids": True} for _ in range(64)]
        await asyncio.gather(*(measuring.ask(server.port, body) for body in bodies))
        status = server.status()
        if status["cached_blocks"] >= 0.98 * status["blocks"]:
            return


if __name__ == "__main__":
    sys.exit(main())
