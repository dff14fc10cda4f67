#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the figures of docs/kernels.tsv.

    docs/make_kernels.py bounds                    cycles per 16 elements that llvm-mca computes for the inner loops in build/kernels/avx512_*.o
    docs/make_kernels.py measured KERNELS.json     the measurements of `ninja bench-kernels` on this CPU (`ninja kernels-measured` runs both)
    docs/make_kernels.py loop ISA FUNCTION         prints the instructions of one inner loop

Each keeps the columns of the other. Needs binutils and LLVM's llvm-mca ($LLVM_MCA selects a version other than the newest). If the inner
loop of a kernel is not found, or llvm-mca rejects it, the program ends with 1.
"""
import glob, itertools, json, os, re, shutil, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "docs", "kernels.tsv")
# The models of llvm-mca for each ISA.
MODELS = {
    "avx512": ["skylake-avx512", "icelake-server", "znver4"],
    "avx2": ["icelake-server", "znver3", "znver4"],
}
SHOWN = "avx512"  # the ISA of docs/kernels.tsv; `ninja bench-kernels` prints all
UNROLLED = 400  # iterations that llvm-mca simulates; the difference to twice as many gives the cycles of one

# For each kernel: its name in the benchmark, its function, the way to count the elements of its loop (vectors stored,
# loaded or divided, and bytes per element in them; or the elements themselves), and a regular expression for one of its
# instructions. A kernel of several loops has a row for each; their cycles are added.
CODES = "e4m3 e5m2 e4m3fnuz e5m2fnuz i8 u8 e2m1 u4".split()
NIBBLES = ["e2m1", "u4"]
BLOCKS = "q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq2_0 mxfp4 nvfp4 q1_0 q2_0".split()


def kernels(isa):
    for name, stored in (("bf16_to_f32", 4), ("f16_to_f32", 4), ("f32_to_bf16", 2), ("f32_to_f16", 2)):
        yield name, name, ("store", stored), None
    for code in CODES:
        yield f"{code} to f32", f"decode_{code}_f32", ("store", 4), None
    for code in NIBBLES if isa != "avx512" else NIBBLES + ["i8", "u8"]:
        for real in ("bf16", "f16"):
            yield f"{code} to {real}", f"decode_{code}_{real}", ("store", 2), None
    for real, size in (("f32", 4), ("bf16", 2), ("f16", 2)):
        yield f"levels to {real}", f"decode_levels_{real}", ("store", size), None
    for block in BLOCKS:
        yield f"{block} to f32", f"dequantize_{block}", ("store", 4), r"mulps"
    for name, size in (("zeros_16", 2), ("zeros_32", 4), ("amax", 4), ("all_finite", 4)):
        yield name, name, ("load", size), None
    yield "subtract", "subtract", ("store", 4), None
    yield "count_magnitudes", "count_magnitudes", ("load", 4), r"vpmovdw"
    yield "count_magnitudes", "count_codes", ("elements", 4), r"shr\s+\$0x30"  # four codes of one word
    yield "find_magnitudes", "find_magnitudes", ("load", 4), None
    yield "keep_magnitudes", "keep_magnitudes", ("load", 4), r"vpminud"
    yield "philox_uniform", "philox_uniform", ("elements", 6.4), r"vpmuludq"  # 64 numbers take ten rounds
    yield "square_sums", "square_sums", ("elements", 16), r"vrndscalepd"
    yield "absolute_sums", "absolute_sums", ("elements", 8), r"vinsertf32x8"
    yield "merge_differences", "merge_differences", ("load", 4), r"vmulps"
    yield "physarum_bf16", "physarum_bf16", ("divide", 4), r"fmadd"
    if isa == "avx512":
        yield "physarum_bf16, mixed", "physarum_bf16_mixed", ("divide", 4), r"rcp14"


def fail(text):
    sys.exit(f"make_kernels.py: {text}")


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


# ---- inner loops ----
WIDTH = {"zmm": 64, "ymm": 32, "xmm": 16}


def disassemblies(object_file, function):
    """Yields the instructions, with their addresses, of the functions that may have a kernel's loop: the compiler inlines some."""
    pattern, prefix = object_file
    bodies = [prefix + function, prefix + function + "_past", function]
    if re.match(r"physarum_bf16(_mixed)?$", function):
        bodies = ["grow_mixed" if function.endswith("mixed") else "grow_by_square"]
    for name, file in ((name, file) for name in bodies for file in sorted(glob.glob(pattern))):
        _, text, _ = run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={name}", file)
        lines = re.findall(r"^ +([0-9a-f]+):\t(.*)$", text, re.M)
        if lines:
            yield [(int(at, 16), re.sub(r"\s+[#<].*$|\s*//.*$", "", rest).strip()) for at, rest in lines]


PATHS = 4096  # paths through one loop that are followed


def paths(lines, start, jumps):
    """Yields lists of lines from the line `start` back to it; a path visits no line twice, and leaves the loop nowhere."""
    waiting, found = [(start, [])], 0
    while waiting and found < PATHS:
        k, path = waiting.pop()
        while k not in path and k < len(lines) and not re.match(r"(ret|call)\b", lines[k][1]):
            path = path + [k]
            target = jumps.get(k)
            if target is not None and not re.match(r"(jmp|b)\s", lines[k][1]) and k + 1 != start:
                waiting.append((k + 1, path))
            k = k + 1 if target is None else target
        if k == start and path:
            found += 1
            yield path


def loops(lines):
    """Yields the texts of each path from the target of a backward jump to itself."""
    at = {address: k for k, (address, _) in enumerate(lines)}
    jumps = {}
    for k, (_, text) in enumerate(lines):
        jump = re.match(r"(?:j[a-z]+|b\.[a-z]+|b|cbnz|cbz|tbnz|tbz)\s+(?:.*,\s*)?([0-9a-f]+)$", text)
        if jump and int(jump.group(1), 16) in at:
            jumps[k] = at[int(jump.group(1), 16)]
    for start in sorted({target for k, target in jumps.items() if target <= k}):
        for path in paths(lines, start, jumps):
            yield [lines[k][1] for k in path]


def moved(text, way):
    """Returns the bytes of vectors that an instruction loads, stores or divides."""
    if way == "divide":
        divides = re.match(r"(?:v(?:div|rcp14)ps\s+.*%([yz]mm)|fdiv\s+v\d+\.4s)", text)
        return 0 if not divides else WIDTH[divides.group(1)] if divides.group(1) else 16
    if re.search(r"%rip|%rsp|-0x[0-9a-f]+\(%rbp|\[sp", text):
        return 0  # a constant, or a spilled register
    plain = re.match(r"\{?(?:evex\}\s*)?(v\w+)\s+(.*)$", text)
    if plain:
        operands = re.split(r",(?![^(]*\))", plain.group(2))
        memory = [k for k, operand in enumerate(operands) if "(" in operand]
        if not memory or plain.group(1).startswith("vbroadcast") or "{1to" in text:
            return 0
        stores = memory[0] == len(operands) - 1
        widths = [WIDTH[w] for w in re.findall(r"%([xyz]mm)\d+", plain.group(2))]
        half = {"vpmovdw": 2, "vpmovdb": 4, "vcvtps2ph": 2, "vpmovzxwd": 2, "vpmovsxbd": 4, "vpmovzxbd": 4, "vcvtph2ps": 2, "vpmovsxbw": 2,
                "vpmovzxbw": 2, "vcvtps2pd": 2, "vextracti128": 2, "vextractf128": 2, "vextracti64x4": 2, "vextracti32x8": 2}
        narrower = half.get(plain.group(1), 1)
        return max(widths) // narrower if stores == (way == "store") and widths else 0
    return 0


def inner_loop(object_file, function, way, size, having):
    """Returns the path through a loop with the fewest instructions per element, and its number of elements."""
    best = None
    for texts in itertools.chain.from_iterable(map(loops, disassemblies(object_file, function))):
        elements = size if way == "elements" else sum(moved(text, way) for text in texts) / size
        if way != "elements" and elements < 16:
            continue
        if having and not any(re.search(having, text) for text in texts):
            continue
        if best is None or len(texts) / elements < len(best[0]) / best[1]:
            best = texts, elements
    if best is None:
        fail(f"{function} in {object_file}: no loop of vectors found")
    if way != "elements" and (best[1] % 16 != 0 or best[1] > 4096):
        fail(f"{function} in {object_file}: a loop of {best[1]} elements")
    return best


# ---- llvm-mca ----
def llvm_mca():
    named = os.environ.get("LLVM_MCA")
    newest = [f"llvm-mca-{version}" for version in range(40, 13, -1)]
    for name in [named] if named else newest + ["llvm-mca"]:
        if shutil.which(name):
            return name
    fail("no llvm-mca: it is in Debian's llvm")


def simulate(mca, model, texts, iterations):
    ways = [text for text in texts if not re.match(r"jmp\s", text)]  # llvm-mca takes the lines in their order
    body = "\n".join(re.sub(r"^(j[a-z]+)\s+[0-9a-f]+$", r"\1 1b", text) for text in ways)
    code, text, error = run(mca, "-mtriple=x86_64", f"-mcpu={model}", f"-iterations={iterations}", "-", stdin=f"1:\n{body}\n")
    if code != 0 or "not a recognized" in error:
        return None, error.strip().split("\n")[0]
    return text, ""


UNITS = [
    (r"(?:ICX|SKX|SPR)Port(\d+)", r"port \1"),
    (r"(?:ICX|SKX|SPR)FPDivider", "divider"),
    (r"Zn\dFPP?(\d).*", r"FP pipe \1"),
    (r"Zn\dALU.*", "integer units"),
    (r"Zn\dAGU.*", "address units"),
]


def bound(mca, model, texts):
    """Returns the cycles of one iteration and their bottleneck."""
    first, why = simulate(mca, model, texts, UNROLLED)
    if first is None:
        return None, why
    second, _ = simulate(mca, model, texts, 2 * UNROLLED)
    cycles = [int(re.search(r"^Total Cycles:\s+(\d+)", text, re.M).group(1)) for text in (first, second)]
    took = (cycles[1] - cycles[0]) / UNROLLED
    width = int(re.search(r"^Dispatch Width:\s+(\d+)", first, re.M).group(1))
    uops = int(re.search(r"^Total uOps:\s+(\d+)", first, re.M).group(1)) / UNROLLED
    names = dict(re.findall(r"^(\[[\d.]+\])\s+- (\S+)", first, re.M))
    table = re.search(r"^Resource pressure per iteration:\n(.*)\n(.*)$", first, re.M)
    pressure = dict(zip(table.group(1).split(), table.group(2).split()))
    unit, most = max(((names[k], float(v)) for k, v in pressure.items() if v != "-"), key=lambda pair: pair[1])
    if most >= 0.9 * took:
        limit = unit
    elif uops / width >= 0.9 * took:
        limit = "dispatch"
    else:
        limit = "latency, " + unit if most < 0.5 * took else unit
    for pattern, plain in UNITS:
        limit = re.sub(pattern, plain, limit)
    return took, limit


# ---- objects ----
def object_of(isa):
    """Returns the pattern of the objects of an ISA and the beginning of its kernels' names."""
    return os.path.join(ROOT, f"build/kernels/{isa}_*.o"), f"organ_{isa}_"


# ---- the table and the page ----
EMPTY = "–"
COLUMNS = ["kernel", "bound", "unit", "model", "measured", "cold"]


def read_rows():
    """Returns the cells of each kernel's row in docs/kernels.tsv after its name."""
    with open(TABLE, encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    return {row[0]: row[1:] for row in rows[1:]}


def write_rows(rows):
    with open(TABLE, "w", encoding="utf-8") as stream:
        for row in [COLUMNS, *([name, *cells] for name, cells in rows.items())]:
            print(*row, sep="\t", file=stream)


def bounds_of(mca):
    """Yields each kernel's least cycles per 16 elements, and the unit that limits the longest of its loops."""
    for name, parts in itertools.groupby(kernels(SHOWN), lambda row: row[0]):
        bodies = [inner_loop(object_of(SHOWN), function, *counted, having) for _, function, counted, having in parts]
        found = []
        for model in MODELS[SHOWN]:
            cycles = []
            for texts, elements in bodies:
                took, limit = bound(mca, model, texts)
                if took is None:
                    fail(f"{name}, {SHOWN}, {model}: {limit}")
                cycles.append((took * 16 / elements, limit))
            found.append((sum(took for took, _ in cycles), max(cycles)[1], model))
        yield name, min(found)


def write_bounds():
    before, after = read_rows(), {}
    for name, (least, limit, model) in bounds_of(llvm_mca()):
        after[name] = [f"{least:.2f}", limit, model, *before.get(name, [EMPTY] * 5)[3:]]
    write_rows(after)


def write_measured(file):
    with open(file, encoding="utf-8") as stream:
        results = json.load(stream)["results"]
    found = {(row["isa"].split("-")[0], row["kernel"] + row["isa"].partition("-")[2], row["cold"]): row for row in results}
    rows = read_rows()
    for name, cells in rows.items():
        warm, cold = (found.get((SHOWN, name.replace(", mixed", "mixed"), way)) for way in (False, True))
        if warm and cold:
            cells[3] = f"{16 / warm['elements_per_cycle']:.2f}"
            cells[4] = f"{cold['ratio_to_memcpy']:.2f}" if cold["ratio_to_memcpy"] else EMPTY
    write_rows(rows)


def show_loop(isa, wanted):
    for name, function, (way, size), having in kernels(isa):
        if function == wanted:
            texts, elements = inner_loop(object_of(isa), function, way, size, having)
            print(f"# {name}: {elements:.0f} elements, {len(texts)} instructions", *texts, sep="\n")


def main(words):
    if len(words) == 3 and words[0] == "loop":
        return show_loop(words[1], words[2])
    if words == ["bounds"]:
        write_bounds()
    elif len(words) == 2 and words[0] == "measured":
        write_measured(words[1])
    else:
        fail("unknown arguments; the first lines of this file describe them")


if __name__ == "__main__":
    main(sys.argv[1:])
