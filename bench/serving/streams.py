#!/usr/bin/env python3
"""Clients that stream without a pause: failures, time to first token, gaps.

    bench/serving/streams.py MODEL [--clients 64] [--seconds 300]

Each client asks for the next answer when it has the last one: prompts of 16 to 256 tokens, answers
of 32 to 256. The clients share the cores with the server and tell how much of them they took."""

import asyncio
import random
import sys
import time

import measuring


async def client(port, number, until, answers):
    draw = random.Random(number)
    while time.monotonic() < until:
        body = {"prompt": measuring.random_ids(draw, draw.randint(16, 256)), "ignore_eos": True,
                "max_tokens": draw.randint(32, 256), "temperature": 0.8, "seed": number}
        answers.append(await measuring.ask(port, body))


async def load(port, clients, seconds):
    answers = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, i, until, answers) for i in range(clients)))
    return answers


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args()
    with measuring.Server(args.weft, args.model, "--tp", args.ranks) as server:
        asyncio.run(load(server.port, args.clients, 3))  # warms up
        cpu, own = server.cpu_seconds(), measuring.own_cpu_seconds()
        begin = time.monotonic()
        answers = asyncio.run(load(server.port, args.clients, args.seconds))
        took = time.monotonic() - begin
        cpu, own = server.cpu_seconds() - cpu, measuring.own_cpu_seconds() - own
        idle = server.wait_until_idle()
    whole = [a for a in answers if a.is_whole]
    failed = [a.error for a in answers if not a.is_whole]
    figures = {"clients": args.clients, "seconds": round(took, 1), "answers": len(answers),
               "failed": len(failed), "reasons": sorted(set(failed))[:5],
               "output_tokens_per_s": round(sum(a.tokens for a in whole) / took, 1),
               "ttft_ms": measuring.milliseconds([a.chunks[0] - a.sent for a in whole]),
               "gap_ms": measuring.milliseconds(measuring.gaps_of(whole)),
               "server_cpus": round(cpu / took, 2), "clients_cpus": round(own / took, 2),
               "left": {key: idle[key] for key in ("running", "waiting")}}
    return measuring.record(args, "streams", figures, {"failed": (len(failed), "<=", 0)})


if __name__ == "__main__":
    sys.exit(main())
