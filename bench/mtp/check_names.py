#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares config.json of a quantised model with the names that vLLM and SGLang give to the modules of its block for multi-token prediction (MTP).

  check_names.py names VLLM SGLANG              prints the table of names (tests/surgery/encoding/block_names.tsv)
  check_names.py check VLLM SGLANG DIRECTORY    prints how each server loads each module of the model in DIRECTORY; ends with 1 if a module that is
                                                stored unquantised is loaded as quantised, or with another scheme than that of its weights

VLLM and SGLANG are the directories `vllm` and `sglang` of the sources (or of an unpacked wheel: pip download --no-deps vllm==0.33.0 sglang==0.5.23).
The script runs the matching functions of both programs without importing them, so that it needs no torch. Prefixes and fused modules are in the table
below; each row names the pieces of source from which they follow, and the script ends with 2 if a piece is no longer there.
"""
import __future__
import ast
import json
import re
import sys
import types
import typing
from fnmatch import fnmatch
from pathlib import Path

GQA = ["self_attn.qkv_proj", "self_attn.o_proj"]
DENSE = ["mlp.gate_up_proj", "mlp.down_proj"]
SHARED = ["mlp.experts", "mlp.shared_experts.gate_up_proj", "mlp.shared_experts.down_proj"]
QWEN = ["mlp.experts", "mlp.shared_expert.gate_up_proj", "mlp.shared_expert.down_proj"]
MLA = ["self_attn.{fused}", "self_attn.q_b_proj", "self_attn.kv_b_proj", "self_attn.o_proj"]
SERVERS = ("vllm", "sglang")
FUSED_MLA = {"vllm": "fused_qkv_a_proj", "sglang": "fused_qkv_a_proj_with_mqa"}
NUMBERED = ['f"{prefix}.layers.{idx}"', 'maybe_prefix(prefix, "model")']
USUAL = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
MTP = ['f"{prefix}.layers.{idx}"', 'maybe_prefix(prefix, "mtp")', 'prefix=f"{prefix}.fc"']
DECODER = ['add_prefix("decoder", prefix)', 'add_prefix("model", prefix)']

# model_type: for each server the file, the class with packed_modules_mapping, pieces of source, the prefix of the block's modules ({n}: the number of
# layers of the model), and the projection if the server builds it from the quantisation settings; then the modules of the block.
ROWS = {
    "glm4_moe": (("glm4_moe_mtp", "Glm4MoeMTP", NUMBERED, "model.layers.{n}.", None),
                 ("glm4_moe_nextn", "Glm4MoeForCausalLMNextN", DECODER, "model.decoder.", None), GQA + SHARED),
    "glm4_moe_lite": (("glm4_moe_lite_mtp", "Glm4MoeLiteMTP", ['f"{prefix}.layers.{idx}"', 'maybe_prefix(prefix, "model")'], "model.layers.{n}.", None),
                      ("glm4_moe_lite_nextn", "Glm4MoeLiteForCausalLMNextN", DECODER, "model.decoder.", None), MLA + SHARED),
    "deepseek_v3": (("deepseek_mtp", "DeepSeekMTP", NUMBERED, "model.layers.{n}.", None),
                    ("deepseek_nextn", "DeepseekV3ForCausalLMNextN", ['layer_name = "decoder"', "add_prefix(layer_name, prefix)"], "model.decoder.", None),
                    MLA + SHARED),
    "hy_v3": (("hy_v3_mtp", "HYV3MTP", NUMBERED, "model.layers.{n}.", None),
              ("hunyuan_v3_nextn", "HYV3ForCausalLMNextN", ['f"{prefix}.decoder"', 'prefix="model"'], "model.decoder.", None), GQA + SHARED),
    "qwen3_next": (("qwen3_next_mtp", "Qwen3NextMTP", MTP, "mtp.layers.0.", "mtp.fc"),
                   ("qwen3_next_mtp", "Qwen3NextForCausalLMMTP", ["num_hidden_layers = 1", 'add_prefix("model", prefix)'], "model.layers.0.", None), GQA + QWEN),
    "qwen3_5_text": (("qwen3_5_mtp", "Qwen3_5MTP", MTP, "mtp.layers.0.", "mtp.fc"),
                     ("qwen3_5_mtp", "Qwen3_5ForCausalLMMTP", ['add_prefix("mtp", prefix)'], "mtp.layers.0.", None), GQA + DENSE),
    "exaone_moe": (("exaone_moe_mtp", "ExaoneMoeMTP", MTP, "mtp.layers.0.", "mtp.fc"),
                   ("exaone_moe_mtp", "ExaoneMoEForCausalLMMTP", ['add_prefix("model", prefix)'], "model.layers.0.", None), GQA + SHARED),
    "mimo_v2_flash": (("mimo_v2_mtp", "MiMoV2MTP", ['maybe_prefix(prefix, "mtp.layers")', 'f"{prefix}.self_attn"'], "model.mtp.layers.0.", None),
                      ("mimo_v2_nextn", "MiMoV2MTP", DECODER, "model.decoder.", None), GQA + DENSE),
    "mimo": (("mimo_mtp", "MiMoMTP", NUMBERED, "model.layers.{n}.", None),
             ("mimo_mtp", "MiMoMTP", ["            prefix,\n            quant_config,", 'prefix: str = ""'], "", None), GQA + DENSE),
    "ernie4_5_moe": (("ernie_mtp", "ErnieMTP", NUMBERED, "model.layers.{n}.", None),
                     ("ernie4_eagle", "Ernie4_5_MoeForCausalLMMTP", ['add_prefix("mtp_block", prefix)'], "model.mtp_block.", None), GQA + DENSE),
    "nemotron_h-moe": (("nemotron_h_mtp", "NemotronHMTP", ['f"{prefix}.layers.{i}"', 'maybe_prefix(prefix, "mtp")', 'f"{prefix}.eh_proj"'], "mtp.layers.",
                        "mtp.layers.0.eh_proj"),
                       ("nemotron_h_mtp", "NemotronHForCausalLMMTP", ['f"{prefix}.layers.{i}"', 'add_prefix("mtp", prefix)'], "mtp.layers.",
                        "mtp.layers.0.eh_proj"),
                       ["0.mixer.qkv_proj", "0.mixer.o_proj", "1.mixer.experts", "1.mixer.shared_experts.up_proj", "1.mixer.shared_experts.down_proj"]),
}


def fail(text):
    print(f"check_names.py: {text}", file=sys.stderr)
    raise SystemExit(2)


class Server:
    """The sources of vLLM or SGLang: their matching functions, and the mapping of fused modules of a class."""

    def __init__(self, name, root):
        self.name, self.root = name, Path(root)
        models = ("model_executor/models" if name == "vllm" else "srt/models")
        quantization = self.root / ("model_executor/layers/quantization" if name == "vllm" else "srt/layers/quantization")
        self.models = self.root / models
        files = [quantization / "compressed_tensors/utils.py"]
        files += [quantization / "utils/config_utils.py", quantization / "utils/quant_utils.py"] if name == "vllm" else [quantization / "utils.py"]
        self.functions = {**vars(typing), "_FALLBACK_FUSED_SHARDS": USUAL, "re": re, "fnmatch": fnmatch, "MappingProxyType": types.MappingProxyType, "Module": object}
        for file in files:
            if not file.is_file():
                fail(f"{file} is missing: name the directory `{name}` of the sources")
            tree = ast.parse(file.read_text())
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and ("match" in node.name or node.name in ("should_ignore_layer", "is_layer_skipped"))]
            exec(compile(tree, str(file), "exec", flags=__future__.annotations.compiler_flag), self.functions)  # pylint: disable=exec-used

    def source(self, file):
        path = self.models / f"{file}.py"
        if not path.is_file():
            fail(f"{path} is missing")
        return path.read_text()

    def packed(self, file, class_name):
        """packed_modules_mapping of the class; of another class if it is taken from there; {} if the class has none."""
        for node in ast.parse(self.source(file)).body:
            if not isinstance(node, ast.ClassDef) or node.name != class_name:
                continue
            for item in node.body:
                if isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == "packed_modules_mapping":
                    if isinstance(item.value, ast.Attribute):
                        return self.packed({"Qwen3_5ForCausalLM": "qwen3_5"}[item.value.value.id], item.value.value.id)
                    return ast.literal_eval(item.value)
            return {**USUAL, "fused_qkv_a_proj": ["q_a_proj", "kv_a_proj_with_mqa"]} if self.name == "vllm" else {}  # vLLM keeps that of the model itself
        return fail(f"{file}.py of {self.name} has no class {class_name}")

    def loads(self, config, module, packed):
        """The name of the group by which the server loads the module; None: unquantised; a text after "error": it stops."""
        if "config_groups" not in config:
            return self.loads_fp8(config["modules_to_not_convert"], module, packed)
        targets = {target: name for name, group in config["config_groups"].items() for target in group["targets"]}
        experts = module.endswith(".experts")
        if experts and "Linear" in targets:
            targets["RoutedExperts" if self.name == "vllm" else "FusedMoE"] = targets["Linear"]
        kind = type("RoutedExperts" if self.name == "vllm" else "FusedMoE", (), {})() if experts else type("MergedColumnParallelLinear", (), {})()
        names = [f"{module}.0.{part}" for part in ("gate_proj", "up_proj", "down_proj")] if experts else [module]
        found = set()
        for name in names:
            try:
                if self.functions["should_ignore_layer"](name, ignore=config["ignore"], fused_mapping=packed):
                    found.add(None)
                    continue
                target = self.functions["find_matched_target"](name, kind, list(targets), packed)
                found.add(targets[target] if target else None)
            except ValueError as error:
                return f"error: {error}"
        return found.pop() if len(found) == 1 else f"error: the experts have several schemes: {found}"


    def loads_fp8(self, ignored, module, packed):
        """The same for quant_method fp8, which has one scheme. SGLang compares names with and without "model."."""
        if self.name == "sglang":
            bare = [name.removeprefix("model.") for name in ignored]
            ignored = bare + ["model." + name for name in bare]
        try:
            return None if self.functions["is_layer_skipped"](module, ignored, packed) else "fp8"
        except ValueError as error:
            return f"error: {error}"


def rows_of(servers):
    """Rows: model_type, server, part of the model, module, and the modules that it joins."""
    for model_type, (*loaders, modules) in ROWS.items():
        for server, (file, class_name, pieces, prefix, projection) in zip(SERVERS, loaders):
            source = servers[server].source(file)
            for piece in pieces:
                if piece not in source:
                    fail(f"{file}.py of {server} has no longer {piece!r}: see how it names modules, and correct the row {model_type}")
            packed = servers[server].packed(file, class_name)
            part = "first" if prefix == "model.layers.0." else "block"
            for module in modules:
                name = prefix + module.format(fused=FUSED_MLA[server])
                yield model_type, server, part, name, packed, prefix
            if projection:
                yield model_type, server, "projection", projection, packed, prefix
            if model_type != "nemotron_h-moe":
                packed = {**USUAL, FUSED_MLA[server]: ["q_a_proj", "kv_a_proj_with_mqa"]}  # of the model itself
                for layer in ("3",) if model_type.startswith("qwen") else ("0", "3"):
                    for module in modules[:2]:
                        yield model_type, server, "trunk", f"model.layers.{layer}." + module.format(fused=FUSED_MLA[server]), packed, prefix


def print_names(servers):
    print("# made by bench/mtp/check_names.py names: modules of vLLM 0.33.0 and SGLang 0.5.23; {n} is the number of layers of the model")
    print("model_type\tserver\tpart\tmodule\tjoined")
    for model_type, server, part, name, packed, _ in rows_of(servers):
        print(model_type, server, part, name, ",".join(packed.get(name.rsplit(".", 1)[-1], [])) or "-", sep="\t")


PARTS = {**USUAL, "fused_qkv_a_proj": ["q_a_proj"], "fused_qkv_a_proj_with_mqa": ["q_a_proj"], "experts": ["experts.0.down_proj"]}


def modules_of(directory):
    """Names of the modules of the files: all, and those that have a scale."""
    names, scaled = set(), set()
    for file in sorted(Path(directory).glob("*.safetensors")):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        names |= {name.rsplit(".", 1)[0] for name in header}
        scaled |= {name.rsplit(".", 1)[0] for name in header if name.endswith((".weight_scale", ".weight_scale_inv", ".weight_packed"))}
    return names, scaled


def has_module(names, module, prefix):
    """Whether a module of the block that the server builds is one of the files', which have their own names and no fused modules."""
    *before, last = module.removeprefix(prefix).split(".")
    return any(name.endswith(".".join(before + [part])) for name in names for part in PARTS.get(last, [last]))


def check(servers, directory):
    config = json.loads((Path(directory) / "config.json").read_text())
    model_type = config["model_type"]
    rows = [row for row in ROWS if row == model_type or row == model_type + "-moe"]
    settings = config["quantization_config"]
    if not rows or settings.get("quant_method") not in ("compressed-tensors", "fp8"):
        fail(f"{directory}: no row for model_type '{model_type}' with quant_method '{settings.get('quant_method')}'")
    layers = config.get("num_hidden_layers") or len(config.get("layers_block_type", []))
    present, stored = modules_of(directory)
    in_block = {name for name in present if "mtp" in name or f"layers.{layers}." in name}
    of_block = in_block & stored
    of_trunk = stored - of_block
    bad = 0
    for row_type, server, part, name, packed, prefix in rows_of(servers):
        if row_type not in rows or (part == "block" and not has_module(in_block, name, prefix)):
            continue
        name = name.format(n=layers)
        group = servers[server].loads(settings, name, packed)
        expected = bool(of_trunk) if part == "trunk" else bool(of_block) and part != "projection"
        differs = str(group).startswith("error") or (group is not None) != expected
        if part != "trunk" and expected and not differs:
            own = len({json.dumps(g["weights"], sort_keys=True) for g in settings.get("config_groups", {}).values()}) > 1
            trunk = servers[server].loads(settings, "model.layers.0." + "self_attn.o_proj", packed)
            differs = own and group == trunk  # a projection is not expected to have a group
        word = "differs" if differs else "same"
        if differs and part == "first":
            word = "like the model's layer 0"
        bad += differs and part != "first"
        print(model_type, server, part, name, group or "unquantised", word, sep="\t")
    return bad


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in ("names", "check") or (sys.argv[1] == "check") != (len(sys.argv) == 5):
        fail("usage: check_names.py names VLLM SGLANG | check VLLM SGLANG DIRECTORY")
    servers = {name: Server(name, root) for name, root in zip(SERVERS, sys.argv[2:4])}
    if sys.argv[1] == "names":
        print_names(servers)
        return 0
    return 1 if check(servers, sys.argv[4]) else 0


if __name__ == "__main__":
    sys.exit(main())
