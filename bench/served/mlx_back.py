#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens in transformers what organ writes from directories of mlx-lm.

  mlx_back.py [--out FILE] [--keep DIRECTORY] [KIND...]   all kinds of models that mlx-lm and transformers have, or KINDs

Makes a small random model of each kind in transformers, saves it, loads it with mlx-lm and saves it as mlx_lm.convert
does: in FP32, and quantised to 8 bits in groups of 32. organ merges the FP32 directory with itself and dequantises the
other one. transformers opens both outputs. Prints a table: kind, verdict, relative difference of the logits of the FP32 copy
from those of the model, greatest relative difference of the values of a tensor of the dequantised model from those
of the copy. Verdicts:
  right         no tensor is missing, unexpected or of another shape, and the logits are those of the model
  tower left    the same, but the vision tower is missing, which mlx-lm does not keep
  not in mlx-lm mlx-lm does not load the model, with its reason
  no class      transformers has the configuration of the kind, but no model that computes logits of tokens
  refused       organ ends with an error, which follows
  wrong         transformers finds other tensors, or computes other logits
Ends with 1 if a kind is wrong.

Needs torch, transformers, safetensors and mlx-lm with mlx (CPU), and the built program (ORGAN, or build/organ).
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
HERE = os.path.dirname(os.path.abspath(__file__))
ORGAN = os.environ.get("ORGAN") or os.path.join(HERE, "..", "..", "build", "organ")
sys.path.insert(0, os.path.join(HERE, "..", "..", "fixtures"))

EXACT, NEAR = 2e-5, 0.02 # differences of logits of FP32 copies, and of the values of a tensor of 8 bits
TOWERS = re.compile(r"vision|visual|audio|multi_modal|projector|image_newline|embed_vision|patch_merge")
# Settings without parts that mlx-lm lacks.
PLAIN = {"afmoe": dict(attention_bias=False), "apertus": dict(attention_bias=False),
         "deepseek_v2": dict(attention_bias=False), "glm4_moe_lite": dict(attention_bias=False),
         "phi": dict(qk_layernorm=False), "gemma4_text": dict(enable_moe_block=True), "laguna": dict(gating=True),
         "gptj": dict(n_inner=None), "gpt2": dict(n_inner=None), "gpt_neox": dict(intermediate_size=256),
         "llama4_text": dict(num_experts_per_tok=1), "recurrent_gemma": dict(num_key_value_heads=1),
         "mellum": dict(mlp_layer_types=["sparse"] * 4), "bailing_hybrid": dict(layer_group_size=2, num_key_value_heads=4),
         "kimi_linear": dict(q_lora_rank=None, attention_bias=False), "llama4_text alone": dict(moe_layers=[], tie_word_embeddings=True), "longcat_flash": dict(zero_expert_num=0),
         "nanochat": dict(attention_bias=False), "gemma3n_text": dict(num_kv_shared_layers=0),
         "qwen2_vl_text": dict(rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3])), "mimo_v2_flash": dict(add_full_attention_sink_bias=False)}
# Sizes of towers, as far as a configuration class has them.
TOWER = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, depth=1, num_heads=2, num_attention_heads=2,
             num_key_value_heads=2, embed_dim=16, head_dim=8, image_size=32, patch_size=8, out_hidden_size=64)
# Names in the files that mlx-lm expects: patterns and what replaces them; None: mlx-lm does not expect the tensor.
NAMES = {"gpt2": [(r"^transformer\.", "")], "minimax": [(r"(slope_rate|_decay)$", None)],
         "kimi_k25": [(r"language_model\.model\.blocks\.", "language_model.model.layers."),
                      (r"^model\.mm_projector", "mm_projector")],
         "kimi_linear": [(r"block_sparse_moe\.((gate|up|down)_proj)", r"mlp.\1")],
         "bailing_hybrid": [(r"(layers\.[02]\.attention)\.dense", r"\1.o_proj")], # of linear attention
         "muse_glimmer": [(r"^model\.vision_", None)],
         "olmo_hybrid": [(r"attention_layer_norm", "input_layernorm"),
                         (r"feedforward_layer_norm", "post_attention_layernorm")],
         "nanochat": [(r"^model\.layers", "transformer.h"), (r"^model\.embed_tokens", "transformer.wte"),
                      (r"self_attn\.(.)_proj", r"attn.c_\1"), (r"attn\.c_o", "attn.c_proj"),
                      (r"mlp\.fc1", "mlp.c_fc"), (r"mlp\.fc2", "mlp.c_proj")]}
# Members of config.json that published files have, and those of transformers lack.
MEMBERS = {
    "mamba2": lambda c: dict(intermediate_size=c["num_heads"] * c["head_dim"]),
    "gpt_bigcode": lambda c: dict(attention_bias=True, mlp_bias=True),
    "exaone": lambda c: dict(num_layers=c["num_hidden_layers"], layer_norm_epsilon=c["rms_norm_eps"]),
    "solar_open": lambda c: dict(first_k_dense_replace=0, intermediate_size=c["moe_intermediate_size"]),
    "kimi_linear": lambda c: dict(first_k_dense_replace=1, linear_attn_config=dict(
        num_heads=c["linear_num_heads"], head_dim=c["linear_head_dim"], short_conv_kernel_size=c["linear_conv_kernel_dim"],
        kda_layers=[k + 1 for k, kind in enumerate(c["layer_types"]) if kind == "linear_attention"],
        full_attn_layers=[k + 1 for k, kind in enumerate(c["layer_types"]) if kind != "linear_attention"])),
    "mimo_v2_flash": lambda c: dict(
        hybrid_layer_pattern=[int(kind != "full_attention") for kind in c["layer_types"]],
        moe_layer_freq=[int(kind == "sparse") for kind in c["mlp_layer_types"]], add_swa_attention_sink_bias=True,
        add_full_attention_sink_bias=False, sliding_window_size=c["sliding_window"], layernorm_epsilon=c["rms_norm_eps"],
        swa_rope_theta=1e4, swa_num_attention_heads=c["num_attention_heads"], swa_head_dim=c["head_dim"],
        swa_num_key_value_heads=c["swa_num_key_value_heads"] if "swa_num_key_value_heads" in c else c["num_attention_heads"], swa_v_head_dim=c["v_head_dim"], rope_theta=5e6,
        partial_rotary_factor=0.334, n_shared_experts=None),
    "exaone4": lambda c: dict(sliding_window_pattern="".join("LG"[kind == "full_attention"] for kind in c["layer_types"])),
    "gemma3n": lambda c: dict(text_config={**c["text_config"], "rope_local_base_freq": 1e4, "rope_theta": 1e6}),
    "gemma4_unified": lambda c: dict(text_config={**c["text_config"], "hidden_size_per_layer_input": 0}),
    "bailing_hybrid": lambda c: dict(head_dim=c["linear_head_dim"], architectures=["BailingMoeV3ForCausalLM"], num_experts_per_tok=c["num_experts_per_token"],
                                     n_group=c["num_expert_group"], moe_shared_expert_intermediate_size=c["moe_intermediate_size"]),
    "gemma3": lambda c: dict(vocab_size=c["text_config"]["vocab_size"])}


# Kinds whose experts mlx-lm expects as the modules of transformers have them, not as its files.
MODULES = ("qwen3_5_moe",)
# What mlx-lm requires and transformers leaves out: constants, or functions of the other settings.
REQUIRED = {"n_ctx": lambda c: c.get("n_positions"), "rotary_emb_base": lambda c: c.get("rope_theta"),
            "rotary_pct": lambda c: c.get("partial_rotary_factor"), "block_dim": lambda c: c.get("hidden_size"),
            "rotary_dim": lambda c: c.get("head_dim", 0), "shared_intermediate_size": 0, "norm_topk_prob": True,
            "tie_word_embeddings": False, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 1,
            "attention_method": "MLA", "zero_expert_type": "identity", "mla_scale_q_lora": True,
            "mla_scale_kv_lora": True, "mlp_bias": False, "post_norm": True, "qk_norm": True, "rope_theta": 1e4}


class NotLoaded(Exception):
    pass


class NoClass(Exception):
    pass


class Refused(Exception):
    pass


def kinds():
    """Returns the model types of mlx-lm that transformers has."""
    import mlx_lm.models
    from mlx_lm.utils import MODEL_REMAPPING
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    folder = os.path.dirname(mlx_lm.models.__file__)
    own = {name[:-3] for name in os.listdir(folder) if name.endswith(".py")} | set(MODEL_REMAPPING)
    return sorted({name.replace("-", "_") for name in own} & set(CONFIG_MAPPING_NAMES))


def randomised(model):
    import torch
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "moe_statics" in name: # mlx-lm leaves these out
                value.zero_()
            elif value.dim() > 1:
                value.copy_(torch.randn_like(value) * (0.5 if "embed" in name else value.shape[-1] ** -0.5))
            else:
                value.add_(torch.randn_like(value) * 0.1)
        for name, value in model.named_buffers():
            if value.is_floating_point() and "correction" in name and "moe_statics" not in name:
                value.add_(torch.randn_like(value) * 0.1)
    return model.eval()


def class_of(kind):
    import transformers
    import make_arch
    from transformers.models.auto.modeling_auto import (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as texts,
                                                        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as images)
    if kind in make_arch.NESTED or kind in texts or kind == "mistral4":
        return make_arch.class_of(kind)
    if kind not in images:
        raise NoClass("AutoModelForCausalLM and AutoModelForImageTextToText have no class of it")
    return transformers.AutoModelForImageTextToText


def configuration(kind):
    """Returns that of make_arch, or, of a model with towers that make_arch has not, all its parts made small."""
    import make_arch
    from transformers import CONFIG_MAPPING
    known = CONFIG_MAPPING[kind]()
    parts = {name: getattr(known, name, None) for name in getattr(type(known), "sub_configs", {})}
    if kind in make_arch.NESTED or not parts.get("text_config"):
        return make_arch.configuration(kind)
    small = {}
    for name, part in parts.items():
        if name == "text_config":
            small[name] = make_arch.configuration(part.model_type)
        elif part is not None:
            known = part.to_dict()
            lists = {key: known[key][:1] for key in ("patch_sizes", "hidden_sizes", "depths") if key in known}
            small[name] = type(part)(**{key: value for key, value in TOWER.items() if key in known}, **lists)
    return CONFIG_MAPPING[kind](**small)


def opened(kind, folder):
    """Returns the model that transformers opens, and the names that it misses, does not expect or cannot fit."""
    import torch
    model, info = class_of(kind).from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                                           attn_implementation="eager")
    names = [f"{key[:-5]} {name if isinstance(name, str) else name[0]}"
             for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in sorted(map(str, info[key]))]
    return model.eval(), names


def logits_of(model):
    import torch
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(3, vocabulary, (1, 24), generator=torch.Generator().manual_seed(1))
    text = model.language_model if model.config.model_type == "llama4" else model # its output class lacks a member
    with torch.no_grad():
        return text(input_ids=ids, use_cache=False).logits.double()


def write_tensors(kind, source, folder):
    import torch
    from safetensors.torch import load_file, save_file
    tensors = {}
    for file in glob.glob(source + "/*.safetensors"):
        tensors.update(load_file(file))
    for pattern, to in NAMES.get(kind, []):
        tensors = {re.sub(pattern, to or "", name): value for name, value in tensors.items()
                   if to is not None or not re.search(pattern, name)}
    for name, value in tensors.items():
        if kind == "qwen3_vl_moe" and re.search(r"experts\.(gate_up|down)_proj$", name): # of published files
            tensors[name] = value.transpose(1, 2).contiguous()
    if kind == "olmo_hybrid": # transformers 5.24 saves a third of the channels for each of q, k and v
        for name in [name for name in tensors if name.endswith("q_conv1d.weight")]:
            names = [name.replace("q_conv1d", f"{part}_conv1d") for part in "qkv"]
            rows = [len(tensors[part.replace("_conv1d", "_proj")]) for part in names]
            joined = torch.cat([tensors[part] for part in names]).split(rows)
            tensors.update({part: value.contiguous() for part, value in zip(names, joined)})
    save_file(tensors, folder + "/model.safetensors", metadata={"format": "pt"})
    return any(name.endswith("lm_head.weight") for name in tensors)


def write_for_mlx(kind, source, folder, whole, aliases):
    """Copies the model with a config.json that states the defaults of transformers, which mlx-lm needs."""
    os.makedirs(folder)
    has_head = write_tensors(kind, source, folder)
    with open(source + "/config.json") as file:
        saved = json.load(file)
    def filled(own, all_of):
        merged = {**{k: v for k, v in all_of.items() if v is not None}, **own}
        for name, other in aliases.items():
            if other in merged:
                merged.setdefault(name, merged[other])
        if "mlp_layer_types" in merged:
            merged.setdefault("is_moe_layer", [kind == "sparse" for kind in merged["mlp_layer_types"]])
        for name, other in (("num_experts", "num_local_experts"), ("num_local_experts", "num_experts")):
            if other in merged:
                merged.setdefault(name, merged[other])
        if "num_attention_heads" in merged and "hidden_size" in merged:
            merged.setdefault("head_dim", merged["hidden_size"] // merged["num_attention_heads"])
        if "linear_attention" in (merged.get("layer_types") or []):
            merged["full_attention_interval"] = (merged["layer_types"] + ["full_attention"]).index("full_attention") + 1
        rope = merged.get("rope_parameters") or {}
        if isinstance(rope.get("rope_theta"), (int, float)):
            merged.setdefault("rope_theta", rope["rope_theta"])
            if rope.get("rope_type", "default") != "default":
                merged.setdefault("rope_scaling", {"type": rope["rope_type"], **rope})
            merged.setdefault("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0))
        return merged
    config = filled(saved, whole)
    for part in filter(None, (config, config.get("text_config"))):
        for name, value in REQUIRED.items():
            value = value(part) if callable(value) else value
            if value is not None:
                part.setdefault(name, value)
        if part.get("model_type") == "granitemoehybrid": # as published files say it
            part["layer_types"] = [{"linear_attention": "mamba", "full_attention": "attention"}.get(kind, kind)
                                   for kind in part["layer_types"]]
    if "text_config" in saved:
        config["text_config"] = filled(saved["text_config"], whole["text_config"])
        config["text_config"]["tie_word_embeddings"] = not has_head
        config.setdefault("vocab_size", config["text_config"]["vocab_size"])
    rope = config.get("rope_parameters") or {}
    if not any(isinstance(value, dict) for value in rope.values()): # else transformers would take it for all layers
        config.setdefault("rope_scaling", None)
    config.update(MEMBERS.get(kind, lambda c: {})(config))
    with open(folder + "/config.json", "w") as file:
        json.dump(config, file)


def saved_by_mlx(source, folder, bits):
    from pathlib import Path
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model
    model, config = load_model(Path(source))
    if bits:
        model, config = quantize_model(model, config, group_size=32, bits=bits)
    save_model(folder, model)
    save_config(config, Path(folder) / "config.json")


def organ(*words):
    done = subprocess.run([ORGAN, *words, "-q"], capture_output=True, text=True)
    if done.returncode:
        raise Refused((done.stderr.strip().split("\n") or [""])[-1])


def restore_config(kind, source, folder):
    """Takes out the MEMBERS. mlx-lm leaves out the sizes of towers, too: those that transformers then takes would need
    gigabytes."""
    with open(source + "/config.json") as file:
        whole = json.load(file)
    with open(folder + "/config.json") as file:
        config = json.load(file)
    if kind in MEMBERS:
        config = whole
    config.update({key: value for key, value in whole.items() if key in ("vision_config", "audio_config") and key not in config})
    os.chmod(folder + "/config.json", 0o644)
    with open(folder + "/config.json", "w") as file:
        json.dump(config, file)


def one_line(error):
    return re.sub(r"\s+", " ", str(error)).replace("|", "/")[:160]


def make(kind, work):
    """Makes the model and what mlx-lm saves of it, and the logits of transformers."""
    import make_arch
    import torch
    source, for_mlx = work + "/source", work + "/for-mlx"
    torch.manual_seed(0)
    for name, settings in PLAIN.items():
        name, *alone = name.split(" ")
        if not alone or name == kind:
            make_arch.SPECIAL[name] = {**make_arch.SPECIAL.get(name, {}), **settings}
    config = configuration(kind)
    if kind == "kimi_k25": # mlx-lm needs a head
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    made = class_of(kind)
    made = getattr(made, "from_config", None) or made._from_config
    model = randomised(made(config).float())
    whole = model.config.to_dict()
    model.save_pretrained(source, save_original_format=kind not in MODULES)
    first, names = opened(kind, source)
    if names:
        raise NotLoaded("transformers: " + ", ".join(names[:4]))
    torch.save(logits_of(first), work + "/logits")
    write_for_mlx(kind, source, for_mlx, whole, getattr(model.config, "attribute_map", {}))
    try:
        saved_by_mlx(for_mlx, work + "/mlx", 0)
    except (Exception, SystemExit) as error: # the file of OLMo ends the program if ai2-olmo is missing
        raise NotLoaded(f"{type(error).__name__}: {error}") from error
    try:
        saved_by_mlx(for_mlx, work + "/mlx8", 8)
    except Exception as error: # the widths are no multiples of a group
        shutil.rmtree(work + "/mlx8", ignore_errors=True)
    shutil.copytree(work + "/mlx", work + "/copy")


def judged(kind, work):
    """Returns verdict, two differences and the reason."""
    import torch
    torch.set_num_threads(1)
    if not os.path.exists(work + "/copy"):
        make(kind, work)
    before = torch.load(work + "/logits")
    found, different, towers = [], [], False
    for words, folder, most in ((("merge", work + "/mlx", work + "/copy", "--method", "linear", "--dtype", "f32"),
                                 work + "/merged", EXACT),
                                (("dequantize", work + "/mlx8", "--dtype", "f32"), work + "/plain", NEAR)):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(words[1]):
            found.append((None, ""))
            continue
        organ(*words, "-o", folder)
        restore_config(kind, work + "/source", folder)
        after, names = opened(kind, folder)
        rest = [name for name in names if not TOWERS.search(name)]
        towers = towers or len(rest) < len(names)
        if rest:
            return "wrong", None, None, f"{words[0]}: " + ", ".join(rest[:4])
        if words[0] == "merge":
            exact = {name: value.double() for name, value in after.state_dict().items() if value.dim() > 1}
            found.append((float((logits_of(after) - before).norm() / before.norm()), ""))
        else:
            values = after.state_dict()
            found.append(max((float((values[name] - value).norm() / value.norm()), name)
                             for name, value in exact.items() if not TOWERS.search(name)))
        if not found[-1][0] <= most:
            different.append(f"{words[0]} {found[-1][1]}")
    return ("wrong" if different else "tower left" if towers else "right"), *(figure for figure, _ in found), ", ".join(different)


def cells(kind, work):
    try:
        return judged(kind, work)
    except NoClass as error:
        return "no class", None, None, str(error)
    except NotLoaded as error:
        return "not in mlx-lm", None, None, str(error).replace(work, "")
    except Refused as error:
        return "refused", None, None, str(error).replace(work, "")
    except Exception as error:
        return "wrong", None, None, f"{type(error).__name__}: {error}".replace(work, "")


def print_row(kind, keep, out):
    with tempfile.TemporaryDirectory() as work:
        if keep:
            work = os.path.join(keep, kind)
            if not os.path.exists(work + "/copy"):
                shutil.rmtree(work, ignore_errors=True)
            os.makedirs(work, exist_ok=True)
        verdict, exact, near, why = cells(kind, work)
    figures = "|".join("" if x is None else f"{x:.1e}" for x in (exact, near))
    print(f"|{kind}|{verdict}|{figures}|{one_line(why)}|", file=out, flush=True)
    return verdict == "wrong"


def is_wrong(kind, keep, out):
    """Each kind has a process of its own: what mlx-lm or transformers does with one of them changes no other row."""
    child = os.fork()
    if child == 0:
        os._exit(print_row(kind, keep, out))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 1):
        print(f"|{kind}|wrong|||ends with {status}|", file=out, flush=True)
    return status != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--keep")
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_args()
    import mlx_lm.utils, safetensors, torch, transformers # once for all children
    out = open(options.out, "w") if options.out else sys.stdout
    print("|kind|verdict|FP32|8 bits|reason|\n|---|---|--:|--:|---|", file=out, flush=True)
    wrong = sum([is_wrong(kind, options.keep, out) for kind in options.kinds or kinds()])
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
