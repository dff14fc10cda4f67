#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs mergekit's own tests with organ as the program that merges, and generated recipes with both programs.

    python3 bench/compare_mergekit_suite.py [--recipes N] [--only TEXT] [--table FILE] MERGEKIT

MERGEKIT is a checkout of mergekit's sources: its tests call mergekit's run_merge, which this script replaces. Each recipe goes to
`organ merge`, into the directory that the test then checks, and to mergekit into another one, and the script compares both: names and
shapes of tensors, values, the sizes in config.json, the number of tokens. The generated recipes combine every method with the forms of a
recipe: slices, gradients, filters, element types, tokenizers. --recipes 0 leaves them out, --only runs those whose name has TEXT.

A row has the recipe's name, the method, the verdict and what differs. Verdicts: `same` (smooth methods: each value within one unit of the
output's type; selecting ones: at most one element of a thousand, or two of a tensor, beyond that; methods that draw numbers: no values),
`both refuse`, `explained` (the table EXPLAINED has the reason), `differs`, `refused` (by organ alone), `accepted` (by organ alone).
Exit status 1: a row of the last three kinds, or a test of mergekit that fails without a row that is explained. Needs torch, transformers, safetensors, pytest and mergekit's
requirements."""
import argparse
import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import safetensors.torch
import torch

import compare_mergekit

UNITS = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10, torch.float32: 2.0**-18, torch.float64: 2.0**-18}
KEEPS_FLOAT32 = ("arcee_fusion", "ramplus_tl")  # mergekit's output of these ignores `dtype`
DRAWS = ("dare_linear", "dare_ties", "della", "della_linear")
# Expression on "name: what differs", and why the difference is right.
EXPLAINED = [
    ("^breadcrumbs.*layernorm.weight", "mergekit removes the whole difference of a tensor of fewer than 1 / gamma elements: [n:-0] is empty"),
    ("^sce, one model|^test_sce_merge", "mergekit stacks the models of a tensor whose differences are all 0"),
    ('^(example )?arcee_fusion.*dtype "float64"', "mergekit does not write float64"),
    ("^test_gpt2_.*<.endoftext.>", "mergekit makes a tokenizer for a model that has none"),
    ("_VLM_merge", "mergekit's output has the towers alone, as it does not find the language model under the names of transformers 5; organ "
     "merges the language model"),
    ("^test_legacy_mode.*different vocabularies", "organ demands `tokenizer` where the models' tokens differ"),
    ("^multislerp.*base_model .* is not among the sources", "mergekit leaves out a base that no slice names"),
]
ROWS = []


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mergekit", type=pathlib.Path)
    parser.add_argument("--organ", default="build/organ", type=lambda name: str(pathlib.Path(name).resolve()))
    parser.add_argument("--recipes", type=int, default=10**6, help="generated recipes, spread over all of them")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", type=pathlib.Path)
    return parser.parse_args()


def language_tensors(folder):
    """The tensors of a language model under their names in transformers 5, without those of towers, which organ does not merge."""
    made = {}
    for name, tensor in compare_mergekit.apart(compare_mergekit.tensors_of(folder)).items():
        name = name.replace("language_model.model.", "model.language_model.").replace("language_model.lm_head.", "lm_head.")
        if "vision_tower." not in name and "multi_modal_projector." not in name:
            made[name] = tensor
    return made


def differences_of_values(ours, theirs, method):
    """The first difference of the tensors of two directories, or None."""
    mine, other = language_tensors(ours), language_tensors(theirs)
    if set(mine) != set(other):
        return f"names: {sorted(set(mine) ^ set(other))[:3]}"
    for name, tensor in other.items():
        if method in KEEPS_FLOAT32:
            tensor = tensor.to(mine[name].dtype)
        if mine[name].shape != tensor.shape or mine[name].dtype != tensor.dtype:
            return f"{name}: {tuple(mine[name].shape)} {mine[name].dtype}, mergekit's {tuple(tensor.shape)} {tensor.dtype}"
        if method in DRAWS:
            continue
        a, b = mine[name].double(), tensor.double()
        limit = UNITS[tensor.dtype] * torch.maximum(b.abs(), 2.0**-6 * b.abs().max())
        beyond = int(((a - b).abs() > 1.01 * limit).sum())
        selects = compare_mergekit.METHODS.get(method, (compare_mergekit.SMOOTH,))[0] != compare_mergekit.SMOOTH
        if beyond > (max(2, tensor.numel() // 1000) if selects else 0):
            return f"{name}: {beyond} of {tensor.numel()} values differ, by {float((a - b).abs().max()):.2g} of {float(b.abs().max()):.2g}"
    return None


def tokens_of(file):
    if not file.exists():
        return {}
    tokenizer = json.loads(file.read_text())
    return tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def differences(ours, theirs, method):
    found = differences_of_values(ours, theirs, method)
    if found:
        return found
    mine, other = (json.loads((folder / "config.json").read_text()) for folder in (ours, theirs))
    for key in ("num_hidden_layers", "n_layer", "vocab_size", "architectures"):
        if mine.get(key) != other.get(key):
            return f"config.json: {key} is {mine.get(key)}, mergekit's {other.get(key)}"
    tokens = [tokens_of(folder / "tokenizer.json") for folder in (ours, theirs)]
    apart = sorted(set(tokens[0].items()) ^ set(tokens[1].items()))
    return f"tokenizer.json: tokens of one alone: {apart[:4]}" if apart else None


def add_row(name, method, verdict, what=""):
    reason = next((reason for pattern, reason in EXPLAINED if re.search(pattern, f"{name}: {what}")), None)
    if reason and verdict in ("differs", "refused", "accepted"):
        verdict, what = "explained", f"{what} ({reason})"
    ROWS.append((name, method, verdict, " ".join(what.split())[:300]))
    print(*ROWS[-1], sep="\t", flush=True)


def merge_both(organ, name, config, ours, peer):
    """Merges `config` with both programs; raises mergekit's error, or ValueError if organ alone refuses."""
    import mergekit.options

    with tempfile.TemporaryDirectory() as folder:
        recipe, theirs = pathlib.Path(folder) / "recipe.yaml", pathlib.Path(folder) / "theirs"
        recipe.write_text(config.to_yaml())
        done = subprocess.run([organ, "merge", str(recipe), "-o", str(ours), "--force", "--quiet"], capture_output=True, text=True)
        if config.dtype != "float64":  # mergekit rounds each step to `dtype`
            config = config.model_copy(update={"dtype": "float32", "out_dtype": config.out_dtype or config.dtype})
        fault = None
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                peer(config, str(theirs), mergekit.options.MergeOptions(quiet=True))
        except Exception as error:  # mergekit has no common class of errors
            fault = error
        if done.returncode and fault:
            add_row(name, config.merge_method, "both refuse", done.stderr)
        elif done.returncode:
            add_row(name, config.merge_method, "refused", done.stderr)
        elif fault:
            add_row(name, config.merge_method, "accepted", f"{type(fault).__name__}: {fault}")
        else:
            what = differences(pathlib.Path(ours), theirs, config.merge_method)
            add_row(name, config.merge_method, "differs" if what else "same", what or "")
        if fault or done.returncode:
            raise fault or ValueError(done.stderr)


class Replacement:
    """A plugin of pytest under which mergekit's tests merge with organ."""

    def __init__(self, organ):
        self.organ, self.test, self.failed = organ, "", []

    def pytest_collection_finish(self):
        import mergekit.merge
        import tests.common

        peer = mergekit.merge.run_merge

        def run_merge(config, out_path, options):
            merge_both(self.organ, self.test, config, out_path, peer)

        tests.common.run_merge = run_merge

    def pytest_runtest_setup(self, item):
        self.test = item.name

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}")


def run_tests(options):
    import pytest

    plugin = Replacement(options.organ)
    chosen = ["-k", options.only] if options.only else []
    with contextlib.chdir(options.mergekit):
        pytest.main(["-q", "-p", "no:cacheprovider", "--no-header", "--capture=fd", *chosen, "tests/test_basic_merges.py",
                     "tests/test_tokenizer.py", "tests/test_chat_template.py"], plugins=[plugin])
    verdicts = {}
    for name, _, verdict, _ in ROWS:
        verdicts.setdefault(name, set()).add(verdict)
    unexplained = [line for line in plugin.failed if not verdicts.get(re.search(r"::(\w+): ", line)[1], set()) & {"explained"}]
    for line in plugin.failed:
        print("test of mergekit fails:" if line in unexplained else "test of mergekit fails, as explained:", line)
    return unexplained


def make_models(folder, tests):
    """A base, three tunes of it with noise, one with two more tokens, one with padding."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=4)
    base = LlamaForCausalLM(config)
    models = {}
    for number, name in enumerate(("base", "one", "two", "three", "chat", "padded")):
        config.vocab_size = {"chat": 66}.get(name, 64)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for key, values in model.state_dict().items():
                source = base.state_dict()[key]
                share = 0.03 * number * source.std() if source.std() > 0 else 0.01
                values[:len(source)] = source + torch.randn(source.shape) * share
        models[name] = str(folder / name)
        model.save_pretrained(models[name])
        added = {"chat": ["<|im_start|>", "<|im_end|>"], "padded": ["<UNUSED_0>", "<UNUSED_1>"]}.get(name, [])
        tests.make_tokenizer(64, added).save_pretrained(models[name])
    return models


def method_recipe(method, models):
    kind, made = compare_mergekit.recipe_of(method, [models["base"], models["one"], models["two"]])
    return made


GRADIENT, BY_PART = [0.1, 0.9, 0.4], [{"filter": "self_attn", "value": [0.2, 0.8]}, {"filter": "mlp", "value": 0.3}, {"value": 0.6}]


def with_values(recipe, value):
    """The recipe with `value` in place of every number below 1 of its parameters."""
    def changed(parameters):
        return {key: value if isinstance(old, float) and key in ("weight", "density", "t", "scale") and old > 0.001 else old
                for key, old in parameters.items()}
    made = json.loads(json.dumps(recipe))
    for holder in [made, *made["models"]]:
        if holder.get("parameters"):
            holder["parameters"] = changed(holder["parameters"])
    return made


def in_slices(recipe, cuts):
    made = {key: value for key, value in recipe.items() if key != "models"}
    base = recipe.get("base_model")
    listed = [{"model": base}] if base and all(model["model"] != base for model in recipe["models"]) else []
    made["slices"] = [{"sources": [dict(model, layer_range=list(cut)) for model in listed + recipe["models"]]} for cut in cuts]
    return made


def forms_of(recipe, models):
    yield "plain", recipe
    yield "gradients", with_values(recipe, GRADIENT)
    yield "filters", with_values(recipe, BY_PART)
    yield "two slices", in_slices(recipe, [(0, 2), (2, 4)])
    yield "slices with gradients", in_slices(with_values(recipe, GRADIENT), [(0, 3), (3, 4)])
    yield "repeated layers", in_slices(recipe, [(0, 3), (1, 4)])
    yield "fewer layers", in_slices(recipe, [(0, 1), (3, 4)])
    yield "float16", recipe | {"out_dtype": "float16"}
    yield "float32", recipe | {"out_dtype": "float32"}
    yield "dtype alone", {key: value for key, value in recipe.items() if key != "out_dtype"}
    if len(recipe["models"]) == 2 and recipe["merge_method"] not in ("slerp", "nuslerp", "nearswap", "arcee_fusion"):
        yield "three models", recipe | {"models": recipe["models"] + [dict(recipe["models"][1], model=models["three"])]}
        yield "one model", recipe | {"models": recipe["models"][:1]}
    if "base_model" in recipe and recipe["merge_method"] != "slerp":
        yield "base among the models", recipe | {"models": [{"model": models["base"]}] + recipe["models"]}
        yield "base last", recipe | {"models": recipe["models"] + [{"model": models["base"]}]}
    for flag, key in itertools.product((True, False), ("normalize", "int8_mask", "rescale")):
        if recipe["merge_method"] in ("ties", "linear", "task_arithmetic", "dare_ties", "breadcrumbs_ties", "della") and (key != "rescale" or not flag):
            yield f"{key} {flag}".lower(), recipe | {"parameters": recipe.get("parameters", {}) | {key: flag}}


def token_recipes(models):
    pairs = {"chat": ("one", "chat"), "padded": ("one", "padded"), "chat and padded": ("chat", "padded"), "chat first": ("chat", "two")}
    sources = {"base": "base", "union": "union", "model": models["chat"]}
    for (method, parameters), (pair, names), (word, source) in itertools.product(
            (("linear", {}), ("slerp", {"t": 0.4}), ("ties", {"density": 0.5}), ("task_arithmetic", {})), pairs.items(), sources.items()):
        if word == "model" and "chat" not in names:
            continue
        listed = ("base", *names) if method == "linear" else names
        recipe = {"merge_method": method, "base_model": models[names[0] if method == "slerp" else "base"], "dtype": "float32", "parameters": parameters,
                  "models": [{"model": models[name], "parameters": {"weight": 0.5}} for name in listed]}
        yield f"{method}, tokenizer_source {word}, {pair}", recipe | {"tokenizer_source": source}
        for form, tokens in (("", {}), (" padded to 16", {"pad_to_multiple_of": 16}),
                             (" with a token", {"tokens": {"_tok_10": {"source": models[names[1]], "force": True}}})):
            yield f"{method}, tokenizer {word}{form}, {pair}", recipe | {"tokenizer": {"source": source} | tokens}
    for template in ("auto", "alpaca", "chatml", "llama3", "mistral", "exaone", "{{ messages[0]['content'] }}"):
        yield f"chat_template {template}", {"merge_method": "linear", "dtype": "float32", "chat_template": template,
                                            "models": [{"model": models[name], "parameters": {"weight": 0.5}} for name in ("one", "two")]}


def generated(models):
    methods = list(compare_mergekit.METHODS)
    for method in methods:
        recipe = method_recipe(method, models)
        for form, made in forms_of(recipe, models):
            yield f"{method}, {form}", made
    yield from token_recipes(models)
    for name in compare_mergekit.EXAMPLES:
        yield f"example {name}", compare_mergekit.example_of(name, [pathlib.Path(models[key]) for key in ("base", "one", "two", "three")])[1]


def run_recipes(options):
    import mergekit.config
    import mergekit.merge
    import tests.test_tokenizer

    folder = pathlib.Path(tempfile.mkdtemp(prefix="compare-mergekit-suite."))
    every = [row for row in generated(make_models(folder, tests.test_tokenizer)) if options.only in row[0]]
    step = max(1, len(every) // options.recipes) if options.recipes else len(every) + 1
    for name, recipe in every[::step] if options.recipes else []:
        try:
            config = mergekit.config.MergeConfiguration.model_validate(recipe)
        except Exception as error:  # a form that mergekit's configuration does not have
            add_row(name, recipe["merge_method"], "no recipe", str(error))
            continue
        with contextlib.suppress(Exception):
            merge_both(options.organ, name, config, folder / "ours", mergekit.merge.run_merge)
    shutil.rmtree(folder)


def main():
    options = arguments()
    sys.path.insert(0, str(options.mergekit.resolve()))
    failed = run_tests(options)
    run_recipes(options)
    if options.table:
        options.table.write_text("".join("\t".join(row) + "\n" for row in [("recipe", "method", "verdict", "what"), *ROWS]))
    verdicts = [row[2] for row in ROWS]
    print(", ".join(f"{verdicts.count(word)} {word}" for word in sorted(set(verdicts))) + f"; {len(failed)} tests of mergekit fail")
    return bool(failed) or any(word in ("differs", "refused", "accepted") for word in verdicts)


if __name__ == "__main__":
    sys.exit(main())
