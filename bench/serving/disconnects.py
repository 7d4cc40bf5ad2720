#!/usr/bin/env python3
"""Clients that leave at any moment: nothing of theirs may stay behind.

    bench/serving/disconnects.py MODEL [--count 50000]

A client leaves within its header, within its body, right after it (while its request is read, waits
or is computed), or after some chunks of its stream; half of them with a reset. There are more at a
time than answers may run, so that some wait. Afterwards the number of free blocks, the answer to one
question and the number of descriptors have to be what they were before; memory is told."""

import asyncio
import os
import random
import socket
import struct
import sys
import time

import measuring

PHASES = ("header", "body", "sent", "stream", "answered")


async def leave(port, draw, phase, counts):
    # Who waits for the end of a long answer measures the engine, not the server.
    tokens = 4 if phase == "answered" else draw.choice((4, 40, 400))
    streams = phase == "stream" or draw.random() < 0.5
    body = {"prompt": measuring.random_ids(draw, draw.choice((4, 60, 400))), "max_tokens": tokens,
            "ignore_eos": True, "stream": streams, "n": draw.choice((1, 1, 1, 2))}
    data = measuring.request_bytes("/v1/completions", body)
    head = data.index(b"\r\n\r\n") + 4
    cut = {"header": draw.randrange(0, head), "body": draw.randrange(head, len(data))}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data[:cut.get(phase, len(data))])
        await writer.drain()
        if phase in cut and draw.random() < 0.5:
            await asyncio.sleep(draw.random() * 0.02)
        elif phase == "sent":
            await asyncio.sleep(draw.random() ** 3 * 0.5)
        elif phase == "stream":
            for _ in range(draw.randrange(1, 12)):
                data = await asyncio.wait_for(reader.read(2048), 60)
                if not data or data.endswith(b"0\r\n\r\n") or b"Content-Length" in data:
                    break  # it was answered whole, or refused
        elif phase == "answered":
            first = await asyncio.wait_for(reader.read(64), 120)
            counts["answered with 200" if b" 200 " in first else "refused"] += 1
    except (OSError, asyncio.TimeoutError) as error:
        counts[f"{phase}: {type(error).__name__}"] = counts.get(
            f"{phase}: {type(error).__name__}", 0) + 1
    finally:
        if draw.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                       struct.pack("ii", 1, 0))
        writer.close()


async def load(port, count, at_a_time, counts):
    numbers = iter(range(count))

    async def worker():
        for number in numbers:
            draw = random.Random(number)
            phase = draw.choices(PHASES, (3, 3, 6, 3, 1))[0]
            counts[phase] += 1
            try:
                await leave(port, draw, phase, counts)
            except OSError as error:
                counts[f"connect: {type(error).__name__}"] = counts.get(
                    f"connect: {type(error).__name__}", 0) + 1
            if number % 5000 == 4999:
                print(f"{number + 1} have left", file=sys.stderr, flush=True)

    await asyncio.gather(*(worker() for _ in range(at_a_time)))


def question(port):
    """The ids of one answer; the same before and after."""
    import http.client
    import json
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps(
        {"prompt": [500, 501, 502], "max_tokens": 48, "ignore_eos": True, "temperature": 1,
         "seed": 7, "return_token_ids": True}), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())["choices"][0]["token_ids"]


def state(server):
    status = server.wait_until_idle()
    status = server.forget_prefixes()
    time.sleep(4)  # what was refused is read for 2 s more, then its connection is closed
    status = server.status()
    time.sleep(1)  # the connection that asked is closed, too
    descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    return {**{key: status[key] for key in ("running", "waiting", "blocks", "free_blocks",
                                            "cached_blocks")},
            "descriptors": descriptors, "memory_mib": round(server.memory_bytes() / 2**20, 1)}


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--at-a-time", type=int, default=128)
    args = parser.parse_args()
    counts = dict.fromkeys((*PHASES, "refused", "answered with 200"), 0)
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", 16,
                          "--max-num-queued-reqs", 64, "--max-model-len", 2048) as server:
        asyncio.run(load(server.port, min(500, args.count), args.at_a_time, dict(counts)))
        answer = question(server.port)
        before = state(server)
        begin = time.monotonic()
        asyncio.run(load(server.port, args.count, args.at_a_time, counts))
        took = time.monotonic() - begin
        after = state(server)
        same = question(server.port) == answer
    figures = {"disconnects": args.count, "seconds": round(took, 1), "phases": counts,
               "before": before, "after": after, "same_answer": same}
    return measuring.record(args, "disconnects", figures, {
        "free_blocks_lost": (before["free_blocks"] - after["free_blocks"], "<=", 0),
        "descriptors_left": (after["descriptors"] - before["descriptors"], "<=", 0),
        "answers_left": (after["running"] + after["waiting"], "<=", 0),
        "same_answer": (int(same), ">=", 1)})


if __name__ == "__main__":
    sys.exit(main())
