/* SPDX-License-Identifier: MIT
 * Advice for values of --scheme, --then and --sparsity that are names of other programs. */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/text.h"

#include <organ/schemes.h>
#include <string.h>
#include <strings.h>

/* Tables are laid out by hand. */
/* clang-format off */

#define MEANT(name, type, bits, narrower, file_type, mixed, meant) {name, "did you mean '" meant "'?", false},

#define SMALLER \
    "organ lacks this IQ type; llama-quantize makes it of the file of 'organ convert --to gguf'"

/* A name and its advice. Compares without case; the first row that matches applies. */
static const struct scheme_hint {
    const char *prefix, *text;
    bool exact; /* the value must equal the prefix, not only begin with it */
} hints[] = {
    ORGAN_BLOCK_SCHEMES(MEANT, MEANT) ORGAN_BLOCK_TENSOR_SCHEMES(MEANT)
    {"q8", "the scheme of 8 bits for GGUF models is q8_0, for safetensors models int8-channel", true},
    {"q4", "the schemes of 4 bits are q4_k for GGUF models and int4-group128 for safetensors models", true},
    {"iq1", "the IQ1 schemes are iq1_s and iq1_m", false},
    {"iq2", SMALLER, false},
    {"iq", "the schemes of GGUF models are " ORGAN_GGUF_SCHEMES_TEXT, false},
    {"tq", "the ternary schemes are tq1_0 and tq2_0", false},
    {"f16", "organ quantize makes codes; organ dequantize makes a model of BF16, F16 or F32", false},
    {"bf16", "organ quantize makes codes; organ dequantize makes a model of BF16, F16 or F32", false},
    {"fp8_dynamic", "did you mean 'fp8-channel'?", false},
    {"fp8_block", "did you mean 'fp8-block128'?", false},
    {"fp8-block", "did you mean 'fp8-block128'?", false},
    {"fp8_e4m3", "the FP8 schemes are fp8-block128, fp8-channel and fp8-tensor", false},
    {"fp8", "the FP8 schemes are fp8-block128, fp8-channel and fp8-tensor", true},
    {"int8", "the INT8 schemes are int8-channel, int8-group128, int8-group64 and int8-group32", true},
    {"int4", "the INT4 schemes are int4-group128, int4-group64 and int4-group32", true},
    {"int3", "the INT3 schemes are int3-group128, int3-group64 and int3-group32", true},
    {"int2", "the INT2 schemes are int2-group128, int2-group64 and int2-group32", true},
    {"int4-group16", "the groups have 32, 64 or 128 weights: did you mean 'int4-group32'?", true},
    {"int8-group16", "the groups have 32, 64 or 128 weights: did you mean 'int8-group32'?", true},
    {"int3-group16", "the groups have 32, 64 or 128 weights: did you mean 'int3-group32'?", true},
    {"int2-group16", "the groups have 32, 64 or 128 weights: did you mean 'int2-group32'?", true},
    {"int4-g", "the groups have 32, 64 or 128 weights: did you mean 'int4-group128'?", false},
    {"int8-g", "the groups have 32, 64 or 128 weights: did you mean 'int8-group128'?", false},
    {"int3-g", "the groups have 32, 64 or 128 weights: did you mean 'int3-group128'?", false},
    {"int2-g", "the groups have 32, 64 or 128 weights: did you mean 'int2-group128'?", false},
    {"w4a16", "did you mean 'int4-group128'? It is W4A16 of llm-compressor", false},
    {"w8a16", "did you mean 'int8-group128'? It is W8A16 of llm-compressor with groups", false},
    {"w8a8", "did you mean 'int8-channel'? It is W8A8 of llm-compressor", false},
    {"nf4", "organ writes no formats of bitsandbytes; int4-group64 has about as many bits per weight", false},
    {"fp4", "the FP4 schemes are nvfp4 and mxfp4", false},
    {"bnb", "organ writes no formats of bitsandbytes; int4-group64 has about as many bits per weight", false},
    {"gptq", "gptq is a method: --scheme int4-group128 --method gptq --calibration TEXT", false},
    {"awq", "make int4-group128, which 'organ convert OUT -o AWQ --to safetensors --format awq' stores as AWQ", false},
    {"hqq", "organ writes no HQQ; int4-group64 has about as many bits per weight", false},
    {"exl", "organ writes no EXL2 or EXL3; --scheme mixed divides a budget of bits over the tensors", false},
    {"autoround", "organ has no AutoRound: --scheme int4-group128 --method gptq --calibration TEXT", false},
};

/* clang-format on */

static const char *advice_on(const char *typed)
{
    for (size_t k = 0; k < sizeof hints / sizeof *hints; k++)
        if (strncasecmp(typed, hints[k].prefix, strlen(hints[k].prefix)) == 0 &&
            (!hints[k].exact || strlen(typed) == strlen(hints[k].prefix)))
            return hints[k].text;
    return NULL;
}

#define RECIPE_PREFIX "recipe:"

/* Returns whether a name of the list, without its first `skipped` letters, equals the text. */
static bool list_has(const char *list, size_t skipped, const char *text, size_t length)
{
    for (const char *at = list; *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == skipped + length && strncasecmp(text, at + skipped, length) == 0)
            return true;
    return false;
}

bool organ_scheme_is_named(const char *text, size_t length)
{
    return list_has(ORGAN_QUANTIZE_SCHEMES, 0, text, length) || list_has(ORGAN_QUANTIZE_RECIPES, 0, text, length) ||
           list_has(ORGAN_QUANTIZE_RECIPES, strlen(RECIPE_PREFIX), text, length);
}

/* "4bit", "4-bit", "3.5bpw" and the like. */
static bool is_width(const char *typed)
{
    const char *const unit = typed + strspn(typed, "0123456789.");
    return unit > typed && (strncasecmp(unit + strspn(unit, "-_ "), "bit", 3) == 0 || strcasecmp(unit, "bpw") == 0);
}

const char *organ_explain_scheme(const char *typed)
{
    if (is_width(typed))
        return "the name of a scheme has the bits: 8 are int8-channel or fp8-channel (GGUF: q8_0), 4 int4-group32 "
               "(q4_k), "
               "3 int3-group32 (q3_k), 2 int2-group32 (q2_k); mixed chooses a width for each tensor";
    if (*typed && !typed[strspn(typed, "0123456789.%")])
        return "-s is --scheme here; organ prune -s PERCENT sets weights to zero";
    return advice_on(typed);
}

const char *organ_explain_then(const char *typed)
{
    if (*typed == 'q' || *typed == 'Q' || strncasecmp(typed, "iq", 2) == 0)
        return "--then writes schemes of safetensors models, such as int4-group32; for GGUF, prune first, then organ "
               "quantize";
    return advice_on(typed);
}

const char *organ_explain_then_of_merge(const char *typed)
{
    static const char *const types[] = {"bf16", "f16", "f32", NULL};
    return organ_is_one_of(typed, types) ? "without --then, the output has the type of --dtype" : advice_on(typed);
}

const char *organ_explain_sparsity(const char *typed)
{
    const char letter = *typed;
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')
               ? "-s is --sparsity here; --then SCHEME also quantises the kept weights, organ quantize only quantises"
               : NULL;
}
