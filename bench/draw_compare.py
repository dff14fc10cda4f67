#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/compare.svg from docs/compare.tsv: for each work the KL divergence, the rise of the perplexity, processor time
and peak memory of organ and of another program. The longer bar of a pair has the full length. `bench/compare_peers.py --draw` calls it."""
import pathlib

# Columns: title, organ's work, the other program and its work. Rows in which organ loses more belong here too.
PAIRS = [
    ("4 bits, groups of 64, GPTQ", "int4-group64, GPTQ", "llm-compressor", "int4-group64, GPTQ"),
    ("4 bits, groups of 64, GPTQ", "int4-group64, GPTQ", "GPTQModel", "int4-group64, GPTQ"),
    ("4 bits, groups of 64", "int4-group64, GPTQ", "AutoRound", "int4-group64, AutoRound"),
    ("3 bits, groups of 64", "int3-group64, GPTQ", "AutoRound", "int3-group64, AutoRound"),
    ("2 bits, groups of 64", "int2-group64, GPTQ", "AutoRound", "int2-group64, AutoRound"),
    ("FP8, a scale a row", "fp8, a scale a row", "llm-compressor", "fp8, a scale a row"),
    ("50 % zeros, SparseGPT", "SparseGPT, 50 %", "llm-compressor", "SparseGPT, 50 %"),
    ("50 % zeros, Wanda", "Wanda, 50 %", "llm-compressor", "Wanda, 50 %"),
    ("50 % zeros, least loss", "physarum-v3, 50 %", "llm-compressor", "SparseGPT, 50 %"),
    ("GGUF Q4_0", "Q4_0", "llama.cpp", "Q4_0"),
    ("GGUF Q4_K with imatrix", "Q4_K, imatrix", "llama.cpp", "Q4_K, imatrix"),
    ("GGUF 4 bits, least loss", "Q4_K, GPTQ", "llama.cpp", "Q4_K_M, imatrix"),
    ("LoRA from two models", "extract, rank 32", "mergekit", "extract, rank 32"),
]
FIGURES = [("kl", "KL divergence", lambda x: "%.3f" % x), ("rise", "rise of perplexity", lambda x: "%.2f %%" % x), ("seconds", "processor time", lambda x: "%.1f s" % x),
           ("peak", "peak memory", lambda x: "%.0f MB" % (x / 1e6))]
COLOURS = {"organ": "#0b5cb8", "other": "#c9ced6"}
WIDTH, LEFT, ROW, TOP, BAR, COLUMN = 1130, 370, 46, 86, 14, 190


def text(x, y, words, size=13, anchor="start", weight="normal", colour="#1f2328"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
            f"{words}</text>")


def pair_lines(y, pair, found):
    """Returns the lines of one pair whose first bar begins at `y`; none if a row is missing or another processor measured it."""
    title, own, program, work = pair
    rows = found.get((own, "organ")), found.get((work, program))
    if None in rows or any(row[name] in ("", "failed") for row in rows for name, _, _ in FIGURES) or rows[0]["cpu"] != rows[1]["cpu"]:
        return []
    other = program if own == work else work if program in work else f"{program}, {work}"
    mine = "organ" if own == work else f"organ, {own}"
    lines = [text(12, y + 18, title, weight="600"), text(LEFT - 10, y + 11, mine, 11, "end"),
             text(LEFT - 10, y + 29, other, 11, "end", colour="#59636e")]
    for k, (name, _, form) in enumerate(FIGURES):
        values = [float(row[name]) for row in rows]
        for n, value in enumerate(values):
            x, width = LEFT + k * COLUMN, max(1.5, (COLUMN - 90) * value / max(values))
            lines.append(f'<rect x="{x}" y="{y + 18 * n}" width="{width:.1f}" height="{BAR}" rx="2" '
                         f'fill="{COLOURS["other" if n else "organ"]}"/>')
            lines.append(text(f"{x + width + 6:.1f}", y + 18 * n + 11, form(value), 12))
    return lines


def draw(rows, path):
    found = {(row["work"], row["program"]): row for row in rows}
    drawn = [pair for pair in PAIRS if pair_lines(0, pair, found)]
    height = TOP + ROW * len(drawn) + 8
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="system-ui, sans-serif">', f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             text(12, 24, "The same work on SmolLM2-135M, one thread: shorter is better", 15, weight="600"),
             text(12, 44, "The model was published in Q4_1 and made BF16 for all programs: 4 bits, most of all Q4_0 and Q4_K, lose less on it "
                  "than on weights never quantised.", 12, colour="#59636e")]
    lines += [text(LEFT + k * COLUMN, 70, title, 12, colour="#59636e") for k, (_, title, _) in enumerate(FIGURES)]
    for k, pair in enumerate(drawn):
        lines += pair_lines(TOP + ROW * k, pair, found)
    pathlib.Path(path).write_text("\n".join(lines + ["</svg>"]) + "\n", encoding="utf-8")
