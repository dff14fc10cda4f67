/* SPDX-License-Identifier: MIT
 * The model types that mlx-lm loads, and the names that it has for their modules. */
#include "formats/tensor/module_names.h"

#include "formats/base/word_lists.h"

#include <stdio.h>
#include <string.h>

#define CUT_BY_HEADS "mlx-lm cuts this matrix by heads, and would quantise the parts anew."

static const organ_mlx_type types[] = {
    {.types =
         "deepseek_v2 ernie4_5 exaone4 exaone_moe gemma3 gemma3_text glm glm4 glm4_moe granite helium "
         "hunyuan_v1_dense internlm3 jamba llama minicpm3 ministral3 mistral mixtral nemotron olmo2 olmo3 olmoe phi "
         "phi3 phimoe qwen2 qwen2_moe qwen3 seed_oss smollm3 solar_open stablelm starcoder2"},
    {.types = "afmoe dots1", .experts = "experts"},
    {.types = "cohere cohere2 gemma gemma2 lfm2", .headless = true},
    {.types = "qwen3_5", .moved = true},
    {.types = "deepseek_v3 glm4_moe_lite kimi_k2", .plain = ".kv_b_proj.weight", .why = CUT_BY_HEADS},
    {.types = "laguna", .plain = ".mlp.gate.weight", .why = "mlx-lm renames this matrix, but not its scales."},
    {.types = "ernie4_5_moe minimax_m2 qwen3_moe", .stacked = true},
    {.types = "qwen3_5_moe", .stacked = true, .moved = true},
    {.types = "lfm2_moe",
     .stacked = true,
     .headless = true,
     .renamed = {{"feed_forward.w1", "feed_forward.gate_proj"},
                 {"feed_forward.w2", "feed_forward.down_proj"},
                 {"feed_forward.w3", "feed_forward.up_proj"}}},
    /* Its router has both names in published files. */
    {.types = "granitemoe",
     .stacked = true,
     .nearest = true,
     .renamed = {{"block_sparse_moe.router.layer", "block_sparse_moe.router"},
                 {"block_sparse_moe.router", "block_sparse_moe.router.layer"}}},
    {.types = "mistral4", .stacked = true, .plain = ".kv_b_proj.weight", .why = CUT_BY_HEADS},
    {.types = "qwen3_next", .stacked = true, .finished = true},
    {.types = "gpt_oss", .nearest = true, .split = true},
};

const organ_mlx_type *organ_mlx_type_of(const char *model_type)
{
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (organ_lists_word(types[k].types, ' ', model_type, strlen(model_type)))
            return &types[k];
    return NULL;
}

/* ---- names ---- */

/* The part of the name before "experts", and the projection; NULL unless the module is a numbered expert's. */
static const char *expert_projection(const char *name, size_t *before)
{
    /* the projections of an expert have other names in mlx-lm */
    static const char *const projections[][2] = {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};
    static const char word[] = "experts.";
    const char *const experts = strstr(name, ".experts.");
    if (!experts)
        return NULL;
    *before = (size_t)(experts - name) + 1;
    const char *const number = name + *before + strlen(word), *const end = number + strspn(number, "0123456789");
    if (end == number || *end != '.')
        return NULL;
    for (size_t k = 0; k < sizeof projections / sizeof *projections; k++)
        if (strcmp(end + 1, projections[k][0]) == 0)
            return projections[k][1];
    return end + 1;
}

bool organ_module_file_in_mlx(const char *model_type, const char *name, char *out, size_t size)
{
    const organ_mlx_type *const type = organ_mlx_type_of(model_type);
    bool fits = snprintf(out, size, "%s", name) < (int)size;
    for (size_t k = 0; type && fits && k < 3 && type->renamed[k][0]; k++)
        fits = organ_module_replace(out, size, type->renamed[k][0], type->renamed[k][1]);
    return fits;
}

bool organ_module_stack_in_mlx(const char *model_type, const char *name, char *out, size_t size)
{
    size_t before = 0;
    const organ_mlx_type *const type = organ_mlx_type_of(model_type);
    const char *const projection = expert_projection(name, &before);
    const char *const word = type && type->experts ? type->experts : "switch_mlp";
    const int length = projection ? snprintf(out, size, "%.*s%s.%s", (int)before, name, word, projection) : -1;
    return length >= 0 && (size_t)length < size;
}

bool organ_module_name_in_mlx(const char *model_type, const char *name, char *out, size_t size)
{
    static const char published[] = "model.language_model.";
    const organ_mlx_type *const type = organ_mlx_type_of(model_type);
    const bool moves = type && type->moved && strncmp(name, "language_model.", 15) != 0;
    const bool moved = moves && strncmp(name, published, strlen(published)) == 0;
    const int length = snprintf(out, size, "%s%s", moves ? "language_model." : "", moved ? "model." : "");
    if (length < 0 || (size_t)length >= size)
        return false;
    name += moved ? strlen(published) : 0;
    size_t before = 0;
    if (expert_projection(name, &before))
        return organ_module_stack_in_mlx(model_type, name, out + length, size - (size_t)length);
    return organ_module_file_in_mlx(model_type, name, out + length, size - (size_t)length);
}
