#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the layers of merged and cut models, as transformers builds them, with the layers that they were made of.

    bench/compare_layers.py [--organ build/organ] [--only NAME,NAME] [--table FILE]

For each folder of fixtures/architectures the script makes a model with random weights, and a second one whose
config.json lacks the lists that transformers derives from other settings. organ repeats layers of each model (`organ
merge`, passthrough: 0..L + 1..L and 0..1 + 0..L) and drops layers (`organ layers`). A third copy has a sliding window in some layers, a fourth is converted to GGUF first, where
the output is compared with the conversion back. Either organ refuses, or
transformers must load the output without missing or unused tensors, and parameters, buffers and attributes of each
layer (window, rotation, experts, ...) must equal those of its source. The script prints a row for each output and
exits 1 if one is wrong. It needs torch and transformers 5.24."""
import argparse, collections, json, math, os, re, shutil, struct, subprocess, sys, tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import numpy as np
import torch
import transformers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = os.path.join(ROOT, "fixtures", "architectures")
TEXTS = ("text_config", "language_config", "llm_config")
# members that transformers derives if they are absent
DERIVED = ("layer_types", "mlp_layer_types", "no_rope_layers", "moe_layers", "indexer_types", "layer_rope_theta",
           "num_attention_heads_per_layer", "activation_sparsity_pattern", "attention_layers")
PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers", "layers_num_experts",
             "indexer_types", "attention_layers", "num_attention_heads_per_layer", "layer_rope_theta",
             "activation_sparsity_pattern", "intermediate_size")
SKIPPED = {"layer_idx", "layer_id", "training", "name", "kv_shared_layer_index", "store_full_length_kv"}


def text_of(config):
    return next((config[k] for k in TEXTS if isinstance(config.get(k), dict)), config)


def layers_of(config):
    text = text_of(config)
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if isinstance(text.get(key), int):
            return text[key]
    return len(text.get("layers_block_type") or text.get("hybrid_override_pattern") or ())


def write_tensors(path, shapes):
    rng = np.random.default_rng(1)
    header, offset, parts = {}, 0, []
    for name, shape in shapes:
        shape = [] if name.endswith(("act_fn.beta", "act_fn.eps")) else shape
        norm = name.endswith("norm.weight") or ("layernorm" in name and name.endswith("weight"))
        mxfp4 = name.endswith(("_blocks", "_scales"))
        values = (rng.integers(118, 127, shape).astype(np.uint8) if mxfp4 else
                  (0.1 * rng.standard_normal(shape) + (1 if norm else 0)).astype(np.float32)).tobytes()
        header[name] = {"dtype": "U8" if mxfp4 else "F32", "shape": shape, "data_offsets": [offset, offset + len(values)]}
        offset += len(values)
        parts.append(values)
    head = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + b"".join(parts))


def fixture_config(name):
    text = open(os.path.join(FOLDERS, name, "config.json")).read()
    return json.loads(text, object_hook=lambda o: math.inf if o == {"__float__": "Infinity"} else o)


def make_fixture(name, to):
    os.makedirs(to)
    rows = [line.rstrip("\n").split("\t") for line in open(os.path.join(FOLDERS, name, "model.tsv"))]
    write_tensors(os.path.join(to, "model.safetensors"),
                  [(r[1], [int(x) for x in r[2].split("x")]) for r in rows if r[0] == "tensor"])
    config = fixture_config(name)
    json.dump(config, open(os.path.join(to, "config.json"), "w"), indent=1)
    return config


def class_of(config):
    return getattr(transformers, (config.get("architectures") or [""])[0], transformers.AutoModelForCausalLM)


def load(folder, config):
    model, info = class_of(config).from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                                   attn_implementation="eager", local_files_only=True)
    bad = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]) + sorted(map(str, info["mismatched_keys"]))
    computed = {name for name, _ in model.named_buffers()} # MiniMax computes buffers that it also saves
    return model.eval(), [name for name in bad if name not in computed or "e_score" in name or "expert_bias" in name]


def make_derived(name, to, windows=False):
    """A model of the folder's class without the lists, made by transformers; None if there is nothing to derive."""
    config = fixture_config(name)
    text = text_of(config)
    removed = [k for k in DERIVED if isinstance(text.get(k), list)]
    for key in removed:
        del text[key]
    if not removed:
        return None
    if windows:
        if "use_sliding_window" not in text and "max_window_layers" not in text:
            return None
        text.update(use_sliding_window=True, sliding_window=16, max_window_layers=2)
    os.makedirs(to)
    json.dump(config, open(os.path.join(to, "config.json"), "w"), indent=1)
    torch.manual_seed(1)
    model = class_of(config)._from_config(transformers.AutoConfig.from_pretrained(to), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(to)
    json.dump(config, open(os.path.join(to, "config.json"), "w"), indent=1)
    return config


def stack_of(model, count):
    found = [m for n, m in model.named_modules()
             if isinstance(m, torch.nn.ModuleList) and not re.search("vis|audio|expert|mtp", n) and len(m) == count]
    return max(found, key=lambda m: sum(p.numel() for p in m.parameters())) if found else None


def attributes(layer):
    found = {}
    for path, module in layer.named_modules():
        for key, value in vars(module).items():
            if key.startswith("_") or key in SKIPPED or "cache" in key:
                continue
            if isinstance(value, (bool, int, float, str, type(None))):
                found[path + "." + key] = value
    return found


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b


def differences(one, other):
    found = []
    for what, a, b in (("parameters", dict(one.named_parameters()), dict(other.named_parameters())),
                       ("buffers", dict(one.named_buffers()), dict(other.named_buffers()))):
        if set(a) != set(b):
            found.append(f"{what}: {sorted(set(a) ^ set(b))[0]}")
        found += [f"{what}: {k}" for k in sorted(set(a) & set(b)) if a[k].shape != b[k].shape or not torch.equal(a[k], b[k])]
    a, b = attributes(one), attributes(other)
    found += [f"{k}: {a.get(k)} became {b.get(k)}" for k in sorted(set(a) | set(b)) if not same(a.get(k), b.get(k))]
    return found


def text_config(model):
    return model.config.get_text_config()


def compare(donor, made, order, factor):
    count = len(order) * factor
    a, b = stack_of(donor, layers := donor.organ_layers), stack_of(made, count)
    if a is None or b is None:
        return [f"no stack of {count} layers"]
    found = []
    for n, s in enumerate(order):
        found += [f"layer {n} of {s}: {d}" for d in differences(a[s], b[n])]
    before, after = text_config(donor), text_config(made)
    for key in PER_LAYER:
        one, other = getattr(before, key, None), getattr(after, key, None)
        if isinstance(one, (list, tuple)) and len(one) == layers:
            if not isinstance(other, (list, tuple)) or [one[s] for s in order] != list(other):
                found.append(f"{key}: {other}")
    one, other = getattr(before, "kv_sharing_modes", None), getattr(after, "kv_sharing_modes", None)
    if one and [one[s] == "reuse" for s in order] != [m == "reuse" for m in other]:
        found.append(f"kv_sharing_modes: {other}")
    return found + ([] if found or not runs(donor) or runs(made) else ["the forward pass fails"])


def runs(model):
    try:
        with torch.no_grad():
            model(input_ids=torch.arange(12)[None] % 100 + 3, use_cache=False)
        return True
    except Exception:
        return False


def run(*command):
    done = subprocess.run(["nice", "-n", "5", *command], capture_output=True, text=True)
    lines = [l for l in (done.stdout + done.stderr).splitlines() if l.strip()]
    return done.returncode, next((l for l in lines if "rror" in l or "organ:" in l), lines[-1] if lines else "")


def recipes(layers):
    yield "0..L 1..L", [*range(layers), *range(1, layers)], [(0, layers), (1, layers)]
    yield "0..1 0..L", [0, *range(layers)], [(0, 1), (0, layers)]
    for dropped in sorted({0, 1, layers - 1}):
        yield f"drop {dropped}", [l for l in range(layers) if l != dropped], dropped


def make_converted(organ, work):
    """The model is converted to GGUF, m.gguf, and back; returns why not."""
    for source, to, form in (("m", "m.gguf", "gguf"), ("m.gguf", "back", "safetensors")):
        rc, text = run(organ, "convert", os.path.join(work, source), "-o", os.path.join(work, to), "--to", form)
        if rc:
            return text
    shutil.rmtree(os.path.join(work, "m"))
    os.rename(os.path.join(work, "back"), os.path.join(work, "m"))


def cut_converted(organ, work, dropped, out):
    """Drops a layer of m.gguf and converts the output to safetensors."""
    cut = os.path.join(work, "cut.gguf")
    rc, text = run(organ, "layers", os.path.join(work, "m.gguf"), "--drop", f"{dropped}-{dropped}", "-o", cut, "--force")
    return (rc, text) if rc else run(organ, "convert", cut, "-o", out, "--to", "safetensors")


def try_one(organ, work, name, config, kind):
    layers = layers_of(config)
    source = "m"
    if kind == "GGUF":
        why = make_converted(organ, work)
        if why:
            return [(name, kind, "-", "left out", "not converted: " + why.replace(work, ""))]
        source = "m.gguf"
        config = json.load(open(os.path.join(work, "m", "config.json")))
    donor, bad = load(os.path.join(work, "m"), config)
    if bad:
        return [(name, kind, "-", "left out", f"transformers lacks {bad[0]} of the model itself")]
    donor.organ_layers = layers
    rows = []
    for label, order, what in recipes(layers):
        out = os.path.join(work, "out")
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(what, list):
            recipe = os.path.join(work, "recipe.yaml")
            with open(recipe, "w") as file:
                file.write("merge_method: passthrough\nslices:\n" + "".join(
                    f"- sources:\n  - model: {work}/{source}\n    layer_range: [{a}, {b}]\n" for a, b in what))
            rc, text = run(organ, "merge", recipe, "-o", out)
        elif source != "m":
            rc, text = cut_converted(organ, work, what, out)
        else:
            rc, text = run(organ, "layers", os.path.join(work, "m"), "--drop", f"{what}-{what}", "-o", out)
        if rc:
            rows.append((name, kind, label, "refused", text.replace(work, "")))
            continue
        try:
            made, bad = load(out, config)
            found = [f"missing or unused: {len(bad)}, {bad[0]}"] if bad else compare(donor, made, order, 1)
        except Exception as fault:
            found = ["transformers: " + str(fault).strip().splitlines()[0][:140]]
        rows.append((name, kind, label, "wrong" if found else "written", f"{len(found)}: {found[0]}" if found else ""))
    return rows


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--organ", default=os.path.join(ROOT, "build", "organ"))
    options.add_argument("--only", default="")
    options.add_argument("--kind", help="as it is, derived, windows or GGUF")
    options.add_argument("--table")
    o = options.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    names = [n for n in sorted(os.listdir(FOLDERS)) if os.path.isdir(os.path.join(FOLDERS, n))]
    counts = collections.Counter()
    table = open(o.table, "w") if o.table else None
    for name in names:
        if o.only and name not in o.only.split(","):
            continue
        for kind, make in (("as it is", make_fixture), ("derived", make_derived),
                           ("windows", lambda name, to: make_derived(name, to, True)), ("GGUF", make_fixture)):
            if o.kind and kind != o.kind:
                continue
            with tempfile.TemporaryDirectory() as work:
                try:
                    config = make(name, os.path.join(work, "m"))
                    rows = try_one(o.organ, work, name, config, kind) if config else []
                except Exception as fault:
                    rows = [(name, kind, "-", "left out", str(fault).strip().splitlines()[0][:140])]
            for row in rows:
                counts[row[3]] += 1
                print("\t".join(row), flush=True)
                if table:
                    print("\t".join(row), file=table, flush=True)
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
