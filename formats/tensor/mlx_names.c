/* SPDX-License-Identifier: MIT
 * The sanitize functions of mlx-lm 0.32, read backwards. */
#include "formats/tensor/mlx_names.h"

#include "formats/base/owned.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/base/word_lists.h"
#include "formats/tensor/module_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTED                                                                                                         \
    {                                                                                                                  \
        {"^language_model.model", "model.language_model"}, { "^language_model.lm_head", "lm_head" }                    \
    }

static const organ_mlx_layout layouts[] = {
    {.types = "afmoe dots1", .experts = "experts"},
    {.types = "mixtral phimoe minimax minimax_m2 minimax_m3_vl", .form = ORGAN_MLX_W},
    {.types = "kimi_linear",
     .form = ORGAN_MLX_W,
     .shared = true,
     .renamed = {{"mlp.experts", "block_sparse_moe.experts"},
                 {"mlp.shared_experts", "block_sparse_moe.shared_experts"},
                 {"mlp.gate", "block_sparse_moe.gate"},
                 {"mlp.e_score_correction_bias", "block_sparse_moe.gate.e_score_correction_bias"},
                 {"q_conv.conv", "q_conv1d"},
                 {"k_conv.conv", "k_conv1d"},
                 {"v_conv.conv", "v_conv1d"}}},
    {.types = "apertus", .axis = "alpha_p alpha_n"},
    {.types = "dbrx", .form = ORGAN_MLX_BELOW},
    {.types = "nanochat",
     .renamed = {{"^transformer.wte", "model.embed_tokens"},
                 {"^transformer.h", "model.layers"},
                 {"attn.c_q", "self_attn.q_proj"},
                 {"attn.c_k", "self_attn.k_proj"},
                 {"attn.c_v", "self_attn.v_proj"},
                 {"attn.c_proj", "self_attn.o_proj"},
                 {"mlp.c_fc", "mlp.fc1"},
                 {"mlp.c_proj", "mlp.fc2"}}},
    {.types = "muse_glimmer",
     .renamed = {{"^model.layers", "model.language_model.layers"},
                 {"^model.embed_tokens", "model.language_model.embed_tokens"},
                 {"^model.norm", "model.language_model.norm"}}},
    {.types = "muse_spark",
     .lost = "qkvg_proj",
     .why = "mlx-lm stores functions of its residual gates and norms in BF16, which have several inverses"},
    {.types = "lfm2_moe",
     .form = ORGAN_MLX_W,
     .renamed = {{"feed_forward.gate_proj", "feed_forward.w1"},
                 {"feed_forward.down_proj", "feed_forward.w2"},
                 {"feed_forward.up_proj", "feed_forward.w3"}}},
    {.types = "falcon_h1", .multiplied = true},
    {.types = "ernie4_5_moe", .zeros = "moe_statics.e_score_correction_bias", .zeros_rank = 2},
    {.types = "nemotron_h", .form = ORGAN_MLX_FC},
    {.types = "granitemoe granitemoehybrid",
     .form = ORGAN_MLX_GRANITE,
     .renamed = {{"mlp.gate_proj", "shared_mlp.input_linear"}, {"mlp.down_proj", "shared_mlp.output_linear"}}},
    {.types = "mistral4", .form = ORGAN_MLX_JOINED},
    {.types = "gemma4_text", .experts = "experts.switch_glu", .form = ORGAN_MLX_JOINED},
    {.types = "gemma4 gemma4_unified", .experts = "experts.switch_glu", .form = ORGAN_MLX_JOINED, .renamed = NESTED},
    {.types = "qwen3_next", .shifted = true},
    {.types = "qwen3_5 qwen3_5_moe", .shifted = true, .renamed = NESTED},
    {.types = "qwen2_vl qwen2_5_vl qwen3_vl", .renamed = NESTED},
    {.types = "qwen3_vl_moe", .form = ORGAN_MLX_JOINED, .renamed = NESTED},
    {.types = "gpt_oss", .experts = "experts", .form = ORGAN_MLX_WOVEN},
    {.types = "llama4 llama4_text", .experts = "experts", .form = ORGAN_MLX_TURNED},
    {.types = "gpt2", .turned = "c_attn|c_proj|c_fc", .renamed = {{"^model", "transformer"}}},
    {.types = "gptj", .renamed = {{"^model", "transformer"}}},
    {.types = "gpt_neox",
     .renamed = {{"^model.embed_out", "embed_out"}, {"^model.h", "gpt_neox.layers"}, {"^model", "gpt_neox"}}},
    {.types = "laguna",
     .shared = true,
     .renamed = {{"mlp.gate.proj", "mlp.gate"},
                 {"mlp.gate.e_score_correction_bias", "mlp.experts.e_score_correction_bias"}}},
    {.types = "exaone_moe",
     .shared = true,
     .renamed = {{"mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias"}}},
    {.types = "bailing_hybrid", .renamed = {{"mlp.gate.gate_proj", "mlp.gate"}}},
};

static const organ_mlx_layout plain = {.types = ""};

const organ_mlx_layout *organ_mlx_layout_of(const char *model_type)
{
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts; k++)
        if (organ_lists_word(layouts[k].types, ' ', model_type, strlen(model_type)))
            return &layouts[k];
    return &plain;
}

/* ---- names ---- */

static bool replace(char *name, size_t size, const char *from, const char *to)
{
    if (*from != '^')
        return organ_module_replace(name, size, from, to);
    const size_t length = strlen(from + 1);
    if (strncmp(name, from + 1, length) != 0 || (name[length] != '.' && name[length] != '\0'))
        return true;
    ORGAN_OWNED char *const rest = strdup(name + length);
    return rest && snprintf(name, size, "%s%s", to, rest) < (int)size;
}

bool organ_mlx_rename(const organ_mlx_layout *layout, char *name, size_t size)
{
    bool fits = true;
    for (size_t k = 0; fits && k < sizeof layout->renamed / sizeof *layout->renamed && layout->renamed[k][0]; k++)
        fits = replace(name, size, layout->renamed[k][0], layout->renamed[k][1]);
    return fits;
}

/* ---- experts ---- */

static const char *const projections[][3] = {
    {"gate_proj", "w1", "gate_proj"}, {"up_proj", "w3", "fc1"}, {"down_proj", "w2", "fc2"}};
enum { PROJECTIONS = sizeof projections / sizeof *projections };

bool organ_mlx_stack_of(const organ_mlx_layout *layout, const char *name, organ_mlx_stack *stack)
{
    char word[32];
    const int length = snprintf(word, sizeof word, ".%s.", layout->experts ? layout->experts : "switch_mlp");
    const char *const at = strstr(name, word);
    const size_t which = layout->form == ORGAN_MLX_FC ? 2 : 0;
    for (size_t k = 0; at && k < PROJECTIONS; k++) {
        const size_t own = strlen(projections[k][which]);
        if (strncmp(at + length, projections[k][which], own) != 0 || at[(size_t)length + own] != '.')
            continue;
        *stack = (organ_mlx_stack){(size_t)(at - name), projections[k][0], at + (size_t)length + own + 1};
        return organ_lists_word("weight scales biases bias", ' ', stack->part, strlen(stack->part));
    }
    return false;
}

organ_mlx_numbered organ_mlx_numbered_of(const organ_mlx_layout *layout, const char *name)
{
    static const char experts[] = ".experts.";
    const char *const at = layout->form == ORGAN_MLX_BELOW ? strstr(name, experts) : NULL;
    const char *const digits = at ? at + strlen(experts) : "";
    const size_t length = strspn(digits, "0123456789");
    if (length == 0 || length > 6 || digits[length] != '.')
        return (organ_mlx_numbered){.number = -1};
    const size_t start = (size_t)(digits - name);
    return (organ_mlx_numbered){strtol(digits, NULL, 10), start - 1, start + length + 1};
}

const char *organ_mlx_projection(const organ_mlx_layout *layout, const char *projection)
{
    for (size_t k = 0; layout->form == ORGAN_MLX_W && k < PROJECTIONS; k++)
        if (strcmp(projection, projections[k][0]) == 0)
            return projections[k][1];
    return projection;
}

bool organ_mlx_is_shifted(const organ_mlx_layout *layout, const char *name)
{
    static const char *const norms[] = {".input_layernorm.weight", ".post_attention_layernorm.weight",
                                        "model.norm.weight", ".q_norm.weight", ".k_norm.weight"};
    for (size_t k = 0; layout->shifted && k < sizeof norms / sizeof *norms; k++)
        if (organ_ends_with(name, norms[k]) || strcmp(name, norms[k]) == 0)
            return true;
    return false;
}

bool organ_mlx_has_experts_twice(const organ_tensor_list *list)
{
    bool stacks = false, others = false;
    for (size_t k = 0; k < list->count; k++) {
        const char *const name = list->tensors[k].name, *const number = strstr(name, ".experts.");
        organ_rows_passed();
        stacks = stacks || strstr(name, ".switch_mlp.");
        others = others || (number && number[9] >= '0' && number[9] <= '9') || strstr(name, ".experts.gate_up_proj");
    }
    return stacks && others;
}

/* ---- from transformers to mlx-lm ---- */

/* Returns the projection of "experts.3.w1" and of the module of a stack, and sets *before to what precedes it. */
static const char *projection_of(const organ_mlx_layout *layout, const char *name, size_t *before)
{
    static const char *const whole[][2] = {{".experts.gate_up_proj", "gate_proj"},
                                           {".experts.down_proj", "down_proj"},
                                           {".input_linear", "gate_proj"},
                                           {".output_linear", "down_proj"}};
    for (size_t k = 0; k < 4; k++)
        if (layout->form >= ORGAN_MLX_JOINED && organ_ends_with(name, whole[k][0])) {
            *before = strlen(name) - strlen(whole[k][0]);
            return whole[k][1];
        }
    const char *const at = strstr(name, ".experts.");
    const char *const number = at ? at + strlen(".experts.") : "";
    const size_t digits = strspn(number, "0123456789");
    const size_t which = layout->form == ORGAN_MLX_FC ? 2 : 0, from = layout->form == ORGAN_MLX_W ? 1 : 0;
    for (size_t k = 0; digits && number[digits] == '.' && k < PROJECTIONS; k++)
        if (strcmp(number + digits + 1, projections[k][from]) == 0) {
            *before = (size_t)(at - name);
            return projections[k][which];
        }
    return NULL;
}

bool organ_mlx_module_name(const char *model_type, const char *name, char *out, size_t size)
{
    const organ_mlx_layout *const layout = organ_mlx_layout_of(model_type);
    size_t before = 0;
    const char *const projection = projection_of(layout, name, &before);
    bool fits = projection ? snprintf(out, size, "%.*s.%s.%s", (int)before, name,
                                      layout->experts ? layout->experts : "switch_mlp", projection) < (int)size
                           : snprintf(out, size, "%s", name) < (int)size;
    for (size_t k = sizeof layout->renamed / sizeof *layout->renamed; fits && k-- > 0;) {
        const char *const from = layout->renamed[k][0], *const to = layout->renamed[k][1];
        char start[64];
        if (!from || (*from == '^' && snprintf(start, sizeof start, "^%s", to) >= (int)sizeof start))
            continue;
        fits = replace(out, size, *from == '^' ? start : to, *from == '^' ? from + 1 : from);
    }
    return fits;
}
