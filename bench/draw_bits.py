#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/bits.svg from docs/bits.tsv: for each model a plot of the KL divergence over the bytes, with the recipes of
llama-quantize and organ's files of the same bytes. `bench/compare_recipes.py --draw` calls it."""
import math
import pathlib

TITLES = {"smollm2": "SmolLM2-135M", "trained": "24 layers of 512 x 1536"}
COLOURS = {"organ": "#0b5cb8", "llama-quantize": "#8c959f"}
PANEL, GAP, LEFT, TOP, HEIGHT = 330, 70, 62, 88, 330


def text(x, y, words, size=12, anchor="start", weight="normal", colour="#1f2328"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
            f"{words}</text>")


def ticks(low, high):
    """Returns 1, 2 and 5 times powers of ten between two positive numbers."""
    found = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [value for value in found if low <= value <= high]


def megabyte_ticks(low, high):
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if (high - low) / step <= 6)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def panel(left, model, rows):
    """Returns the lines of one model's plot. Its KL axis is logarithmic."""
    points = {program: sorted((int(row["bytes"]) / 1e6, float(row["kl"]), row["work"]) for row in rows if row["program"] == program)
              for program in COLOURS}
    sizes = [x for line in points.values() for x, _, _ in line]
    losses = [y for line in points.values() for _, y, _ in line]
    margin = 0.08 * (max(sizes) - min(sizes)) or 1
    low, high, least, most = min(sizes) - margin, max(sizes) + margin, min(losses) / 1.25, max(losses) * 1.25

    def x_of(x):
        return left + PANEL * (x - low) / (high - low)

    def y_of(y):
        return TOP + HEIGHT * (math.log(most) - math.log(y)) / (math.log(most) - math.log(least))
    lines = [text(left, TOP - 14, TITLES[model], 13, weight="600"),
             f'<rect x="{left}" y="{TOP}" width="{PANEL}" height="{HEIGHT}" fill="none" stroke="#d1d9e0"/>']
    for value in ticks(least, most):
        lines += [f'<line x1="{left}" x2="{left + PANEL}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}" stroke="#eaeef2"/>',
                  text(left - 6, y_of(value) + 4, f"{value:g}", 11, "end", colour="#59636e")]
    for value in megabyte_ticks(low, high):
        lines.append(text(x_of(value), TOP + HEIGHT + 16, f"{value} MB", 11, "middle", colour="#59636e"))
    for program, line in points.items():
        if program == "organ":
            lines.append('<polyline fill="none" stroke="%s" points="%s"/>' %
                         (COLOURS[program], " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y, _ in line)))
        lines += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4" fill="{COLOURS[program]}"/>' for x, y, _ in line]
    for x, y, name in points["llama-quantize"]:
        right = x_of(x) > left + 0.8 * PANEL  # there the name stands to the left of its point
        lines.append(text(x_of(x) + (-8 if right else 6), y_of(y) - 5, name, 10, "end" if right else "start", colour="#59636e"))
    return lines


def draw(rows, path):
    """Draws the recipes; rows of pure types are left out."""
    rows = [row for row in rows if not row["work"].startswith("pure")]
    models = [model for model in TITLES if {row["program"] for row in rows if row["model"] == model} == set(COLOURS)]
    width, height = LEFT + (PANEL + GAP) * len(models), TOP + HEIGHT + 32
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="system-ui, sans-serif">', f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             text(12, 24, "KL divergence from the donor over the bytes of the file: lower is better", 15, weight="600")]
    for k, (program, title) in enumerate((("organ", "organ, --scheme mixed"), ("llama-quantize", "recipes of llama-quantize"))):
        lines += [f'<circle cx="{18 + 190 * k}" cy="41" r="4" fill="{COLOURS[program]}"/>', text(28 + 190 * k, 45, title, 12)]
    for k, model in enumerate(models):
        lines += panel(LEFT + (PANEL + GAP) * k, model, [row for row in rows if row["model"] == model])
    pathlib.Path(path).write_text("\n".join(lines + ["</svg>"]) + "\n", encoding="utf-8")
