#!/usr/bin/env python3
"""Draws what `weft bench kernels --json` measured under its roofs, as SVG.

    build/weft bench kernels --threads 1 --tokens 1,4,16,64,512 --json > kernels.json
    bench/kernels/roofline.py kernels.json > docs/roofline.svg

Along: operations for each byte of weights that is read (log); up: operations a second (log). The
slope is the read rate, the level lines are the peaks, all measured in the same process. A filled
point is the column-parallel matrices of a layer, a hollow one the row-parallel.
"""
import json
import math
import sys

# Bytes of a weight, scales included (the file's; a panel takes as many).
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "Q4_0": 18 / 32, "Q4_1": 20 / 32, "Q5_0": 22 / 32,
         "Q5_1": 24 / 32, "Q8_0": 34 / 32, "Q4_K": 144 / 256, "Q5_K": 176 / 256,
         "Q6_K": 210 / 256}
COLOURS = ["#2563eb", "#059669", "#d97706", "#7c3aed", "#dc2626", "#0f172a", "#0891b2", "#be185d"]
WIDTH, HEIGHT = 760, 470
LEFT, RIGHT, TOP, BOTTOM = 66, 120, 44, 54


class Axis:
    """A logarithmic axis from `low` to `high` over pixels [begin, end]."""

    def __init__(self, low, high, begin, end):
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def __call__(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self):
        first = math.ceil(math.log2(self.low) / 2)
        last = math.floor(math.log2(self.high) / 2)
        return [4.0 ** i for i in range(first, last + 1)]


def text(x, y, words, anchor="middle", size=12, colour="#334155", turn=""):
    turn = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{colour}"{turn}>{words}</text>')


def line(x1, y1, x2, y2, colour, width=1.0, dash=""):
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{dash}/>')


def number(value):
    return f"{value:g}" if value >= 1 else f"1/{1 / value:g}"


def draw_axes(x, y):
    parts = []
    for tick in x.ticks():
        parts.append(line(x(tick), TOP, x(tick), HEIGHT - BOTTOM, "#e2e8f0"))
        parts.append(text(x(tick), HEIGHT - BOTTOM + 18, number(tick)))
    for tick in y.ticks():
        parts.append(line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "#e2e8f0"))
        parts.append(text(LEFT - 8, y(tick) + 4, number(tick), "end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14,
                      "operations for each byte of weights"))
    parts.append(text(18, (TOP + HEIGHT - BOTTOM) / 2, "billion operations a second", turn="-90"))
    return parts


def draw_roofs(measured, x, y):
    parts = []
    rate = measured["read_gb_per_s"]
    for name, peak in (("int8", measured["int8_gops"]), ("BF16", measured["bf16_gflops"])):
        knee = peak / rate
        parts.append(line(x(knee), y(peak), x(x.high), y(peak), "#475569", 1.6))
        parts.append(text(x(x.high) + 6, y(peak) + 4, f"{name} {peak:.0f}", "start"))
    knee = measured["int8_gops"] / rate
    parts.append(line(x(x.low), y(rate * x.low), x(knee), y(rate * knee), "#475569", 1.6))
    slope = math.degrees(math.atan2(y(rate * 4) - y(rate * 2), x(4) - x(2)))
    parts.append(text(x(3.1), y(rate * 3.1) - 8, f"reads {rate:.0f} GB/s", turn=f"{slope:.1f}"))
    return parts


def draw_points(measured, x, y):
    parts = []
    types = list(dict.fromkeys(entry["type"] for entry in measured["linears"]))
    for entry in measured["linears"]:
        colour = COLOURS[types.index(entry["type"]) % len(COLOURS)]
        at = x(2 * entry["tokens"] / BYTES[entry["type"]])
        parts.append(f'<circle cx="{at:.1f}" cy="{y(entry["column_gops"]):.1f}" r="4" '
                     f'fill="{colour}" fill-opacity="0.85"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{y(entry["row_gops"]):.1f}" r="3.6" fill="none" '
                     f'stroke="{colour}" stroke-width="1.4"/>')
    for i, name in enumerate(types):
        row = TOP + 150 + 20 * i
        parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{row - 4}" r="4" '
                     f'fill="{COLOURS[i % len(COLOURS)]}"/>')
        parts.append(text(WIDTH - RIGHT + 26, row, name, "start"))
    return parts


def draw(measured):
    """The picture of one measurement, as text."""
    entries = measured["linears"]
    x = Axis(1.0, max(4 * e["tokens"] / BYTES[e["type"]] for e in entries),
             LEFT, WIDTH - RIGHT)
    y = Axis(32.0, 2 * measured["int8_gops"], HEIGHT - BOTTOM, TOP)
    threads = measured["threads"]
    title = (f"Matrix kernels, a layer of {measured['shape']}, {measured['table']}, "
             f"{threads} thread{'s' if threads > 1 else ''}")
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="system-ui, sans-serif">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             text((LEFT + WIDTH - RIGHT) / 2, 24, title, size=14, colour="#0f172a"),
             *draw_axes(x, y), *draw_roofs(measured, x, y), *draw_points(measured, x, y), "</svg>"]
    return "\n".join(parts) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: roofline.py KERNELS.json > PICTURE.svg (see the top of this file)")
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(draw(json.load(file)))


if __name__ == "__main__":
    main()
