# SPDX-License-Identifier: MIT
"""Times the forward pass of small models that differ in their kind of attention, and compares the speed per active
weight with that of the Llama kind. Weights are random BF16 numbers; the names of tensors are those of transformers.
Needs torch, transformers, numpy and `ninja build/bench/forward`.

    python bench/compare_kinds.py DIR [ROUNDS [KIND...]]      DIR takes the models (4.1 GB), made on the first run

A row has the active weights (those that a token is multiplied by), tokens per second of processor time in the best
round, the product of both, and its ratio to that of the first row.
"""
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "fixtures"))
from plan_real_configs import shapes_of  # noqa: E402
from real_configs import entry  # noqa: E402

SMOKE = bool(os.environ.get("BENCH_SMOKE"))  # tiny models, to try the script; kinds with other widths than these do not fit
CONTEXT, WINDOWS, THREADS = (64, 1, 1) if SMOKE else (512, 4, 2)
SIZES = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=16, vocab_size=8192,
             max_position_embeddings=4096, rms_norm_eps=1e-6, tie_word_embeddings=False, attention_bias=False,
             pad_token_id=None, bos_token_id=None, eos_token_id=None)
if SMOKE:
    SIZES.update(hidden_size=64, intermediate_size=128, vocab_size=512)
GQA = dict(SIZES, num_key_value_heads=4, head_dim=64)
MLA = dict(SIZES, num_key_value_heads=16, kv_lora_rank=256, q_lora_rank=512, qk_nope_head_dim=64, qk_rope_head_dim=32,
           v_head_dim=64, first_k_dense_replace=4, moe_intermediate_size=512, n_routed_experts=8, num_experts_per_tok=2,
           n_shared_experts=1, n_group=1, topk_group=1, routed_scaling_factor=1.0, norm_topk_prob=True)
# Two experts are as wide as the dense feed-forward, so that a token is multiplied by as many weights as with Llama.
EXPERTS = dict(GQA, num_experts_per_tok=2, moe_intermediate_size=2048, norm_topk_prob=True)
SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"
HALF = [SLIDING, FULL] * 2
ROPE = dict(rope_type="default", rope_theta=10000.0)
KINDS = {
    "Llama": entry("LlamaForCausalLM", "llama", **GQA),
    "Qwen 3: norms of q and k": entry("Qwen3ForCausalLM", "qwen3", **GQA),
    "OLMo 2: norms of whole q and k": entry("Olmo2ForCausalLM", "olmo2", **GQA),
    "Cohere 2: parallel, windows": entry("Cohere2ForCausalLM", "cohere2", **dict(
        GQA, layer_norm_eps=1e-5, logit_scale=0.25, sliding_window=128, layer_types=HALF)),
    "Gemma 3: windows, sandwich norms": entry("Gemma3ForCausalLM", "gemma3_text", **dict(
        GQA, sliding_window=128, layer_types=HALF, query_pre_attn_scalar=64)),
    "Gemma 4: two widths of heads": entry("Gemma4ForCausalLM", "gemma4_text", **dict(
        GQA, sliding_window=128, layer_types=HALF, global_head_dim=128, hidden_size_per_layer_input=0,
        num_kv_shared_layers=0, enable_moe_block=False, attention_k_eq_v=False, vocab_size_per_layer_input=8192)),
    "GLM-4: half rotation, biases": entry("Glm4ForCausalLM", "glm4", **dict(GQA, attention_bias=True)),
    "Ministral 3: scaled queries": entry("Ministral3ForCausalLM", "ministral3", **dict(
        GQA, rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=16.0, original_max_position_embeddings=256,
                                  llama_4_scaling_beta=0.1))),
    "MLA (DeepSeek V3)": entry("DeepseekV3ForCausalLM", "deepseek_v3", **MLA),
    "MLA with an indexer, 256 keys (V3.2)": entry("DeepseekV32ForCausalLM", "deepseek_v32", **dict(
        MLA, index_topk=256, index_n_heads=8, index_head_dim=64, mlp_layer_types=["dense"] * 4)),
    "gpt-oss: sinks, windows, 2 of 8 experts": entry("GptOssForCausalLM", "gpt_oss", **dict(
        GQA, attention_bias=True, intermediate_size=2048, num_experts_per_tok=2, num_local_experts=8,
        sliding_window=128, layer_types=HALF, swiglu_limit=7.0, rope_parameters=ROPE)),
    "Qwen 3 mixture, 2 of 8 experts": entry("Qwen3MoeForCausalLM", "qwen3_moe", **dict(EXPERTS, num_experts=8)),
    "MiMo: K wider than V, sinks, 2 of 8": entry("MiMoV2FlashForCausalLM", "mimo_v2_flash", **dict(
        EXPERTS, n_routed_experts=8, head_dim=96, v_head_dim=64, sliding_window=128, layer_types=HALF, n_group=1,
        topk_group=1, mlp_layer_types=["dense"] + ["sparse"] * 3)),
    "Llama 4: chunks, 1 of 8 experts": entry("Llama4ForCausalLM", "llama4_text", **dict(
        GQA, intermediate_size=2048, intermediate_size_mlp=4096, num_local_experts=8, num_experts_per_tok=1,
        attention_chunk_size=128, moe_layers=[0, 1, 2, 3], use_qk_norm=True, rope_parameters=ROPE,
        no_rope_layers=[1, 1, 1, 0], layer_types=["chunked_attention"] * 3 + [FULL])),
    "Qwen3.5: delta rule 3:1": entry("Qwen3_5ForCausalLM", "qwen3_5_text", **dict(
        GQA, linear_num_key_heads=8, linear_num_value_heads=16, linear_key_head_dim=64, linear_value_head_dim=64,
        linear_conv_kernel_dim=4, layer_types=[LINEAR] * 3 + [FULL])),
    "Mamba-2 (Granite 4, 3:1)": entry("GraniteMoeHybridForCausalLM", "granitemoehybrid", **dict(
        GQA, num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=4096, mamba_n_heads=32,
        mamba_d_head=64, mamba_d_state=64, mamba_n_groups=1, mamba_expand=2, layer_types=["mamba"] * 3 + ["attention"],
        position_embedding_type="nope")),
    "LFM2: convolutions 3:1": entry("Lfm2ForCausalLM", "lfm2", **dict(
        GQA, conv_L_cache=3, conv_bias=False, block_auto_adjust_ff_dim=False, layer_types=["conv"] * 3 + [FULL])),
}


def active_weights(entry_of_kind):
    """Returns the matrices' weights that a token is multiplied by: of routed experts those that work on it."""
    config = entry_of_kind["config"]
    experts = next((config[key] for key in ("num_experts", "num_local_experts", "n_routed_experts") if config.get(key)),
                   1)
    total = 0
    for name, shape in shapes_of(entry_of_kind).items():
        count = 1
        for dim in shape:
            count *= dim
        if len(shape) < 2 or "embed" in name or "conv1d" in name or "bias" in name:
            continue
        total += count * config["num_experts_per_tok"] // experts if re.search(r"\bexperts\.", name) else count
    return total


def write_model(entry_of_kind, folder):
    import numpy
    os.makedirs(folder)
    generator = numpy.random.Generator(numpy.random.Philox(1))
    tensors, at, shapes = {}, 0, shapes_of(entry_of_kind)
    for name, shape in shapes.items():
        size = 2
        for dim in shape:
            size *= dim
        tensors[name] = dict(dtype="BF16", shape=shape, data_offsets=[at, at + size])
        at += size
    header = json.dumps(tensors).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shapes.items():
            begin, end = tensors[name]["data_offsets"]
            values = generator.standard_normal((end - begin) // 2, dtype="f4") * 0.02 + ("norm" in name)
            file.write((values.astype("f4").view("u4") >> 16).astype("<u2").tobytes())
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(entry_of_kind["config"], file)


def speed_of(folder):
    """Returns tokens per second of processor time."""
    done = subprocess.run(["build/bench/forward", folder, str(CONTEXT), str(WINDOWS), str(THREADS)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{folder}: build/bench/forward ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["tokens_per_processor_second"]


def main():
    base, rounds = sys.argv[1], int((sys.argv[2:] or ["3"])[0])
    kinds = {name: kind for name, kind in KINDS.items()
             if not sys.argv[3:] or name == "Llama" or any(word in name for word in sys.argv[3:])}
    folders = {name: os.path.join(base, re.sub(r"\W+", "-", name)) for name in kinds}
    for name, kind in kinds.items():
        if not os.path.exists(folders[name]):
            # A model gets its name when it is complete, so that an interrupted run leaves none.
            shutil.rmtree(folders[name] + ".partial", ignore_errors=True)
            write_model(kind, folders[name] + ".partial")
            os.rename(folders[name] + ".partial", folders[name])
    best = {name: 0.0 for name in kinds}
    for _ in range(rounds):
        for name in kinds:
            best[name] = max(best[name], speed_of(folders[name]))
    print("| kind | 10^6 active weights | tokens/s of processor | 10^9 weights/s | of Llama's |")
    print("|---|---|---|---|---|")
    weights = {name: active_weights(kind) for name, kind in kinds.items()}
    for name in kinds:
        product = weights[name] * best[name] / 1e9
        print(f"| {name} | {weights[name] / 1e6:.1f} | {best[name]:.0f} | {product:.1f} | "
              f"{product / (weights['Llama'] * best['Llama'] / 1e9):.2f} |")


if __name__ == "__main__":
    main()
