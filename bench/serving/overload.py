#!/usr/bin/env python3
"""Ten times more than can be answered: what is still answered well, and how fast the rest is refused.

    bench/serving/overload.py MODEL [--times 10] [--seconds 60]

First the peak: as many clients as answers run at a time, each asking again at once. Then requests
arrive as a Poisson process at `times` the peak's rate, whether or not others were answered. Counted
are whole answers and their tokens within the window, and what a refused client waited from its first
byte to the refusal, the time that the load generator itself needs included."""

import argparse
import asyncio
import random
import sys
import time

import measuring


def body_of(draw, args):
    return {"prompt": measuring.random_ids(draw, args.input_len), "max_tokens": args.output_len,
            "ignore_eos": True, "temperature": 0}


async def peak(port, args):
    until = time.monotonic() + args.seconds
    answers = []

    async def client(number):
        draw = random.Random(number)
        while time.monotonic() < until:
            answers.append(await measuring.ask(port, body_of(draw, args)))

    await asyncio.gather(*(client(i) for i in range(args.running)))
    return answers, until


async def flood(port, args, rate):
    draw = random.Random(1)
    begin = time.monotonic()
    until = begin + args.seconds
    tasks, at = [], begin
    while (at := at + draw.expovariate(rate)) < until:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        tasks.append(asyncio.create_task(measuring.ask(port, body_of(draw, args))))
    answers = await asyncio.gather(*tasks)
    return answers, begin, until


def rate_of(answers, begin, until):
    """Tokens a second of whole answers; an answer counts by its share of chunks within the window."""
    tokens = 0.0
    for answer in answers:
        if answer.is_whole:
            inside = sum(begin <= at <= until for at in answer.chunks)
            tokens += answer.tokens * inside / len(answer.chunks)
    return tokens / (until - begin)


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--running", type=int, default=32, help="answers at a time (--max-num-seqs)")
    parser.add_argument("--waiting", type=int, default=32, help="that may wait beside them")
    parser.add_argument("--input-len", type=int, default=64)
    parser.add_argument("--output-len", type=int, default=64)
    args = parser.parse_args()
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", args.running,
                          "--max-num-queued-reqs", args.waiting) as server:
        asyncio.run(peak(server.port, argparse.Namespace(**{**vars(args), "seconds": 2})))
        begin = time.monotonic()
        answers, until = asyncio.run(peak(server.port, args))
        at_peak = rate_of(answers, begin, until)
        requests_per_s = at_peak / args.output_len
        server.wait_until_idle()
        answers, begin, until = asyncio.run(flood(server.port, args, args.times * requests_per_s))
        server.wait_until_idle()
    whole = [a for a in answers if a.is_whole]
    refused = [a for a in answers if a.status in (429, 503)]
    other = [a.error for a in answers if not a.is_whole and a.status not in (429, 503)]
    goodput = rate_of(answers, begin, until)
    figures = {"peak_tokens_per_s": round(at_peak, 1),
               "offered_requests_per_s": round(args.times * requests_per_s, 2),
               "goodput_tokens_per_s": round(goodput, 1), "answered": len(whole),
               "refused": len(refused), "failed": len(other), "reasons": sorted(set(other))[:5],
               "ttft_ms": measuring.milliseconds([a.chunks[0] - a.sent for a in whole]),
               "gap_ms": measuring.milliseconds(measuring.gaps_of(whole)),
               "refusal_ms": measuring.milliseconds([a.ended - a.sent for a in refused])}
    p99 = figures["refusal_ms"]["p99"]
    return measuring.record(args, "overload", figures,
                            {"goodput_of_peak": (round(goodput / at_peak, 3), ">=", 0.9),
                             "refusal_p99_ms": (p99, "<=", 20), "failed": (len(other), "<=", 0)})


if __name__ == "__main__":
    sys.exit(main())
