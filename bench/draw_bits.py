#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/bits.svg from docs/bits.tsv: for each model a plot of the KL divergence over the bytes, with the recipes of
llama-quantize and organ's files of the same bytes. `bench/compare_recipes.py --draw` calls it."""
import math
import pathlib

TITLES = {"smollm2": "SmolLM2-135M", "gemma3": "Gemma 3 270M", "trained": "24 layers of 512 x 1536"}
COLOURS = {"llama-quantize": "#8c959f", "organ": "#0b5cb8"}
GAP, LEFT, TOP, HEIGHT = 58, 56, 88, 330
GREY = "#59636e"


def width_of(rows):
    """A model with more recipes gets a wider plot."""
    return 170 + 40 * len({row["work"] for row in rows})


def text(x, y, words, size=12, anchor="start", weight="normal", colour="#1f2328"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
            f"{words}</text>")


def ticks(low, high):
    """Returns 1, 2 and 5 times powers of ten between two positive numbers."""
    found = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [value for value in found if low <= value <= high]


def megabyte_ticks(low, high, most):
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if (high - low) / step <= most)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def overlap(a, b):
    """Returns the area that two boxes (left, top, right, bottom) share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def labels(points, obstacles, left, right):
    """Returns the names of points as text, each where it covers least of the obstacles, of the names before it and of the places
    beside other points, whose names it could be."""
    lines, taken = [], list(obstacles)
    for x, y, name in points:
        width = 6.3 * len(name)
        places = [(x + side * (7 + width / 2), y + drop) for drop in (-5, 4, 13) for side in (1, -1)] + [(x, y - 9), (x, y + 17)]
        boxes = [(at - width / 2, base - 9, at + width / 2, base + 1) for at, base in places]
        beside = [(a - 16, b - 16, a + 16, b + 16) for a, b, other in points if other != name]
        costs = [sum(overlap(box, other) for other in taken + beside) + 1000 * (box[0] < left or box[2] > right) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        lines.append(text(*places[best], name, 10, "middle", colour=GREY))
    return lines


def panel(left, width, model, rows):
    """Returns the lines of one model's plot. Its KL axis is logarithmic."""
    points = {program: sorted((int(row["bytes"]) / 1e6, float(row["kl"]), row["work"]) for row in rows if row["program"] == program)
              for program in COLOURS}
    sizes = [x for line in points.values() for x, _, _ in line]
    losses = [y for line in points.values() for _, y, _ in line]
    margin = max(0.08 * (max(sizes) - min(sizes)), 0.004 * max(sizes))
    low, high, least, most = min(sizes) - margin, max(sizes) + margin, min(losses) / 1.25, max(losses) * 1.25

    def x_of(x):
        return left + width * (x - low) / (high - low)

    def y_of(y):
        return TOP + HEIGHT * (math.log(most) - math.log(y)) / (math.log(most) - math.log(least))
    lines = [text(left, TOP - 14, TITLES[model], 13, weight="600"),
             f'<rect x="{left}" y="{TOP}" width="{width}" height="{HEIGHT}" fill="none" stroke="#d1d9e0"/>']
    for value in ticks(least, most):
        lines += [f'<line x1="{left}" x2="{left + width}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}" stroke="#eaeef2"/>',
                  text(left - 6, y_of(value) + 4, f"{value:g}", 11, "end", colour=GREY)]
    for value in megabyte_ticks(low, high, width // 55):
        lines.append(text(x_of(value), TOP + HEIGHT + 16, f"{value} MB", 11, "middle", colour=GREY))
    drawn = {program: [(x_of(x), y_of(y), name) for x, y, name in line] for program, line in points.items()}
    for program, line in drawn.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in line)
        lines.append(f'<polyline fill="none" stroke="{COLOURS[program]}" points="{path}"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[program]}"/>' for x, y, _ in line]
    obstacles = [(x - 5, y - 5, x + 5, y + 5) for line in drawn.values() for x, y, _ in line]
    for line in drawn.values():
        for (x, y, _), (next_x, next_y, _) in zip(line, line[1:]):
            steps = [(x + (next_x - x) * k / 40, y + (next_y - y) * k / 40) for k in range(41)]
            obstacles += [(a - 1, b - 1, a + 1, b + 1) for a, b in steps]
    return lines + labels(drawn["llama-quantize"], obstacles, left, left + width)


def draw(rows, path):
    """Draws the recipes; rows of pure types are left out."""
    rows = [row for row in rows if not row["work"].startswith("pure")]
    rows = {model: [row for row in rows if row["model"] == model] for model in TITLES}
    models = [model for model in TITLES if set(COLOURS) <= {row["program"] for row in rows[model]}]
    width, height = LEFT - GAP + 14 + sum(width_of(rows[model]) + GAP for model in models), TOP + HEIGHT + 32
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="system-ui, sans-serif">', f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             text(12, 24, "KL divergence from the donor over the bytes of the file: lower is better", 15, weight="600")]
    for k, (program, title) in enumerate((("organ", "organ, --scheme mixed"), ("llama-quantize", "recipes of llama-quantize"))):
        lines += [f'<circle cx="{18 + 190 * k}" cy="41" r="4" fill="{COLOURS[program]}"/>', text(28 + 190 * k, 45, title, 12)]
    left = LEFT
    for model in models:
        lines += panel(left, width_of(rows[model]), model, rows[model])
        left += width_of(rows[model]) + GAP
    pathlib.Path(path).write_text("\n".join(lines + ["</svg>"]) + "\n", encoding="utf-8")
