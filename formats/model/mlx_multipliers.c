/* SPDX-License-Identifier: MIT
 * Falcon-H1: mlx-lm multiplies weights by what transformers multiplies inputs and outputs by. */
#include "formats/model/mlx_multipliers.h"

#include <string.h>

/* Member of config.json and its index, or -1; mlx-lm's default. */
typedef struct multiplier {
    const char *module, *key;
    int index;
    double missing;
} multiplier;

static const multiplier multipliers[] = {{".embed_tokens", "embedding_multiplier", -1, 5.656854249492381},
                                         {"lm_head", "lm_head_multiplier", -1, 0.0390625},
                                         {".q_proj", "attention_in_multiplier", -1, 1},
                                         {".k_proj", "attention_in_multiplier", -1, 1},
                                         {".o_proj", "attention_out_multiplier", -1, 0.9375},
                                         {".out_proj", "ssm_out_multiplier", -1, 0.23570226039551587},
                                         {".gate_proj", "mlp_multipliers", 0, 0.8838834764831844},
                                         {".down_proj", "mlp_multipliers", 1, 0.5859375},
                                         {".in_proj", "ssm_in_multiplier", -1, 1.25}};

static double number_of(const json_t *config, const char *key, int index, double missing)
{
    const json_t *const member = json_object_get(config, key);
    const json_t *const value = index < 0 ? member : json_array_get(member, (size_t)index);
    return json_is_number(value) ? json_number_value(value) : missing;
}

/* The rows of in_proj are those of z, x, B, C and the time steps; each has a multiplier. */
static void multiply_mixer(const json_t *config, float *times, uint64_t rows)
{
    static const double missing[] = {0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738};
    const double state = number_of(config, "mamba_n_groups", -1, 1) * number_of(config, "mamba_d_state", -1, 256),
                 inner = number_of(config, "mamba_d_ssm", -1, 1536);
    const double sizes[] = {inner, inner, state, state, number_of(config, "mamba_n_heads", -1, 24)};
    uint64_t row = 0;
    for (int part = 0; part < 5; part++)
        for (double k = 0; k < sizes[part] && row < rows; k++)
            times[row++] /= (float)number_of(config, "ssm_multipliers", part, missing[part]);
}

static const multiplier *multiplier_of(const organ_tensor *t)
{
    const char *const dot = strrchr(t->name, '.');
    if (!dot || t->dtype == ORGAN_U32 || t->dtype == ORGAN_U8 || t->rank != 2)
        return NULL;
    for (size_t k = 0; k < sizeof multipliers / sizeof *multipliers; k++) {
        const size_t length = strlen(multipliers[k].module), before = (size_t)(dot - t->name);
        if (before >= length && strncmp(dot - length, multipliers[k].module, length) == 0)
            return &multipliers[k];
    }
    return NULL;
}

bool organ_mlx_is_multiplied(const organ_tensor *t) { return multiplier_of(t) != NULL; }

void organ_mlx_undo(const json_t *config, const organ_tensor *t, float *times)
{
    const multiplier *const by = multiplier_of(t);
    for (uint64_t k = 0; k < t->shape[0]; k++)
        times[k] = 1 / (float)number_of(config, by->key, by->index, by->missing);
    if (strcmp(by->key, "ssm_in_multiplier") == 0)
        multiply_mixer(config, times, t->shape[0]);
}
