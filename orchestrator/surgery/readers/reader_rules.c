/* SPDX-License-Identifier: MIT
 * The rules about forms. Each was seen in a run of the named version, except where a text says that nobody ran it. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/word_lists.h"

#include <fnmatch.h>

#define EXPERT  ORGAN_FORM_EXPERT
#define ZEROS   ORGAN_FORM_ZEROS
#define ORDERED ORGAN_FORM_ORDERED
#define STATIC  ORGAN_FORM_STATIC
#define ROUNDED ORGAN_FORM_ROUNDED
#define BYTES   ORGAN_FORM_BYTES
#define LOOSE   ORGAN_FORM_LOOSE
#define CLIPPED ORGAN_FORM_CLIPPED

#define GGUF_ONLY  "it reads GGUF files: organ convert --to gguf makes one"
#define NO_GGUF    "it reads directories of safetensors, no GGUF file: organ convert --to safetensors makes one"
#define NO_MLX     "it does not read quantised models of MLX"
#define MLX_WIDTHS "mlx/int2-* mlx/int3-* mlx/int4-* mlx/int6-* mlx/int8-*"

/* The first rule whose words all fit decides; a form without one was not run. `forms` and `types` are patterns, NULL:
 * all; `types`: values of model_type, or of general.architecture in GGUF files. The form has all traits of `with` and
 * none of `without`. */
/* clang-format off */
static const struct {
    organ_reader reader;
    const char *forms, *types;
    unsigned with, without;
    organ_reader_verdict verdict;
    const char *why;
} rules[] = {
    {ORGAN_READER_VLLM, "plain/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_VLLM, "compressed-tensors/fp8-tensor", NULL, EXPERT, STATIC, ORGAN_REFUSED,
     "it refuses experts with one scale for each matrix and scales of inputs for each token"},
    {ORGAN_READER_VLLM, "compressed-tensors/fp8-channel compressed-tensors/int8-channel", NULL, EXPERT | STATIC, 0,
     ORGAN_REFUSED, "it refuses experts with a scale for each channel and static scales of inputs"},
    {ORGAN_READER_VLLM, "compressed-tensors/int8-group*", NULL, BYTES, ROUNDED, ORGAN_REFUSED,
     "it refuses codes of a byte in groups (int-quantized) without rounded inputs"},
    {ORGAN_READER_VLLM, "compressed-tensors/*", NULL, ORDERED, 0, ORGAN_REFUSED, "it no longer supports act-order"},
    {ORGAN_READER_VLLM, "compressed-tensors/mxfp4", NULL, 0, EXPERT | ROUNDED, ORGAN_OPENS_OTHERWISE,
     "it rounds inputs to FP4 on GPUs of compute capability 10.0 or later, which config.json does not declare"},
    {ORGAN_READER_VLLM, "compressed-tensors/int[2348]-* compressed-tensors/fp8-* compressed-tensors/nvfp4 "
     "compressed-tensors/mxfp4 compressed-tensors/mxfp8 fp8/fp8-block128", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_VLLM, "gptq/*", NULL, ORDERED, 0, ORGAN_REFUSED,
     "it no longer supports act-order (desc_act): dequantise the model first"},
    {ORGAN_READER_VLLM, "gptq/*", NULL, ZEROS, 0, ORGAN_REFUSED,
     "it refuses GPTQ with zero points (sym false): store the codes as compressed-tensors"},
    {ORGAN_READER_VLLM, "gptq/int4-* awq/int4-*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_VLLM, "mlx/*", NULL, 0, 0, ORGAN_REFUSED, NO_MLX},
    {ORGAN_READER_VLLM, "gguf/mxfp4 gguf/nvfp4 gguf/tq* gguf/q1_0 gguf/q2_0", NULL, 0, 0, ORGAN_REFUSED,
     "vllm-gguf-plugin 0.0.5 does not know this type"},
    {ORGAN_READER_VLLM, "gguf/bf16 gguf/f16", "llama", 0, 0, ORGAN_REFUSED,
     "vllm-gguf-plugin 0.0.5 finds no embedding in unquantised files of Llama"},
    {ORGAN_READER_VLLM, "gguf/*", "llama", 0, 0, ORGAN_OPENS_OTHERWISE,
     "vllm-gguf-plugin 0.0.5 leaves the rows of q and k in llama.cpp's order, which gives wrong results"},
    {ORGAN_READER_VLLM, "gguf/*", "qwen3moe", 0, 0, ORGAN_REFUSED, "vllm-gguf-plugin 0.0.5 does not find the experts"},
    {ORGAN_READER_VLLM, "gguf/*", "qwen3", 0, 0, ORGAN_OPENS, NULL},

    {ORGAN_READER_TRANSFORMERS, "plain/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_TRANSFORMERS, "compressed-tensors/int*", NULL, ZEROS, BYTES, ORGAN_REFUSED,
     "compressed-tensors 0.20 does not load packed zero points"},
    {ORGAN_READER_TRANSFORMERS, "compressed-tensors/*", NULL, LOOSE, 0, ORGAN_REFUSED,
     "compressed-tensors 0.20 expects words without unused bits, that is, other shapes: dequantise the model first"},
    {ORGAN_READER_TRANSFORMERS, "compressed-tensors/int8-channel compressed-tensors/mxfp8", NULL, EXPERT, 0,
     ORGAN_REFUSED, "it opens experts as fp8-channel and in schemes with groups"},
    {ORGAN_READER_TRANSFORMERS, "compressed-tensors/nvfp4", NULL, EXPERT, 0, ORGAN_OPENS_OTHERWISE,
     "it loses weight_global_scale of experts when it stacks them, without an error; mxfp4 has no such scale"},
    {ORGAN_READER_TRANSFORMERS, "fp8/*", NULL, CLIPPED, 0, ORGAN_NOT_RUN,
     "without a GPU it refuses matrices that are not whole blocks, and nobody has run it on one for organ"},
    {ORGAN_READER_TRANSFORMERS, "compressed-tensors/int* compressed-tensors/fp8-* compressed-tensors/nvfp4 "
     "compressed-tensors/mxfp4 compressed-tensors/mxfp8 fp8/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_TRANSFORMERS, "mlx/*", NULL, 0, 0, ORGAN_REFUSED, NO_MLX},
    {ORGAN_READER_TRANSFORMERS, "modelopt/*", NULL, 0, 0, ORGAN_REFUSED,
     "it does not know the method modelopt: dequantise the model first"},
    {ORGAN_READER_TRANSFORMERS, "gguf/q5_[01] gguf/tq[12]_0 gguf/mxfp4", "lfm2", 0, 0, ORGAN_REFUSED,
     "it does not dequantise this type in models of lfm2"},
    {ORGAN_READER_TRANSFORMERS, "gguf/q1_0 gguf/q2_0 gguf/nvfp4", NULL, 0, 0, ORGAN_REFUSED,
     "it does not dequantise this type"},
    {ORGAN_READER_TRANSFORMERS, "gguf/*", "bloom deci falcon gemma2 gemma3 gemma4 gpt2 gpt-oss lfm2 llama mamba "
     "minimax-m2 mistral nemotron phi3 qwen2 qwen2moe qwen3 qwen3moe stablelm starcoder2 t5 umt5", 0, 0, ORGAN_OPENS,
     NULL},
    {ORGAN_READER_TRANSFORMERS, "gguf/*", NULL, 0, 0, ORGAN_REFUSED, "it reads GGUF files of other architectures only"},

    {ORGAN_READER_LLAMA_CPP, "gguf/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_LLAMA_CPP, NULL, NULL, 0, 0, ORGAN_REFUSED, GGUF_ONLY},

    {ORGAN_READER_MLX, "plain/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MLX, MLX_WIDTHS " mlx/int5-* mlx/mxfp4 mlx/mxfp8 mlx/nvfp4", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MLX, "compressed-tensors/fp8-* compressed-tensors/int8-channel compressed-tensors/mxfp8", NULL, 0, 0,
     ORGAN_REFUSED, "it reads only packed codes of compressed-tensors: organ quantize --format mlx"},
    {ORGAN_READER_MLX, "gguf/*", NULL, 0, 0, ORGAN_REFUSED, NO_GGUF},

    {ORGAN_READER_OPENVINO, "gguf/*", "gemma3 qwen3moe", 0, 0, ORGAN_REFUSED,
     "it reads GGUF files of Llama and Qwen2, not of this architecture"},
    {ORGAN_READER_OPENVINO, "gguf/q4_1 gguf/q4_k", "llama qwen2", 0, 0, ORGAN_OPENS_OTHERWISE,
     "it computes other values than llama.cpp from this type, as much as rounding to 4 bits costs; q4_0, q6_k and q8_0 "
     "are right"},
    {ORGAN_READER_OPENVINO, "gguf/q4_0 gguf/q6_k gguf/q8_0 gguf/f16 gguf/f32", "llama qwen2", 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_OPENVINO, "gguf/q* gguf/iq* gguf/tq* gguf/bf16 gguf/mxfp4 gguf/nvfp4", NULL, 0, 0, ORGAN_REFUSED,
     "it does not read this type: q4_0, q6_k and q8_0 are right"},
    {ORGAN_READER_OPENVINO, "gguf/*", NULL, 0, 0, ORGAN_NOT_RUN, NULL},
    {ORGAN_READER_OPENVINO, NULL, NULL, 0, 0, ORGAN_REFUSED,
     "it reads GGUF files, and directories that optimum-intel has exported"},

    {ORGAN_READER_MISTRALRS, "plain/* compressed-tensors/* fp8/*", "gemma3_text", 0, 0, ORGAN_REFUSED,
     "it reads no models of Gemma 3 without images"},
    {ORGAN_READER_MISTRALRS, "plain/*", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MISTRALRS, "compressed-tensors/fp8-* fp8/*", NULL, EXPERT, 0, ORGAN_REFUSED,
     "it does not read experts in FP8"},
    {ORGAN_READER_MISTRALRS, "compressed-tensors/fp8-channel compressed-tensors/fp8-tensor compressed-tensors/nvfp4 "
     "fp8/fp8-block128", NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MISTRALRS, "compressed-tensors/*", NULL, 0, 0, ORGAN_REFUSED,
     "it reads only FP8 and NVFP4 of compressed-tensors"},
    {ORGAN_READER_MISTRALRS, MLX_WIDTHS, NULL, EXPERT, 0, ORGAN_REFUSED, "it does not run experts in codes of MLX"},
    {ORGAN_READER_MISTRALRS, MLX_WIDTHS, "qwen2", 0, 0, ORGAN_OPENS_OTHERWISE,
     "it computes other values than mlx-lm from models of this type"},
    {ORGAN_READER_MISTRALRS, MLX_WIDTHS, NULL, 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MISTRALRS, "mlx/*", NULL, 0, 0, ORGAN_REFUSED,
     "it reads affine codes of MLX of 2, 3, 4, 6 and 8 bits"},
    {ORGAN_READER_MISTRALRS, "gguf/f32 gguf/f16 gguf/bf16 gguf/q4_[01] gguf/q5_[01] gguf/q8_0 gguf/q[23456]_k",
     "llama qwen2 gemma3 qwen3moe", 0, 0, ORGAN_OPENS, NULL},
    {ORGAN_READER_MISTRALRS, "gguf/iq* gguf/tq* gguf/q1_0 gguf/q2_0 gguf/mxfp4 gguf/nvfp4", NULL, 0, 0, ORGAN_REFUSED,
     "it does not read this type of GGUF"},
    {ORGAN_READER_MISTRALRS, "gptq/* awq/*", NULL, 0, 0, ORGAN_NOT_RUN,
     "it refuses this form on CPUs, and nobody has run it on a GPU for organ"},
};
/* clang-format on */

static bool fits(const char *patterns, const char *name)
{
    char pattern[64];
    bool found = !patterns;
    while (!found && organ_next_word(&patterns, pattern, sizeof pattern))
        found = fnmatch(pattern, name, 0) == 0;
    return found;
}

organ_reader_verdict organ_reader_form(organ_reader reader, const char *type, const organ_form *form, const char **why)
{
    static const char *const unknown = "nobody has tried this form for organ";
    *why = unknown;
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++)
        if (rules[k].reader == reader && (form->traits & rules[k].with) == rules[k].with &&
            !(form->traits & rules[k].without) && fits(rules[k].types, type) && fits(rules[k].forms, form->name)) {
            *why = rules[k].verdict == ORGAN_NOT_RUN && !rules[k].why ? unknown : rules[k].why;
            return rules[k].verdict;
        }
    return ORGAN_NOT_RUN;
}
