/* SPDX-License-Identifier: MIT */
#include "formats/architecture/pairing.h"

#include <stdio.h>
#include <string.h>

bool organ_keeps_rope_rows(const char *architecture)
{
    const forward_family *const family = organ_forward_family_named(architecture, /*gguf=*/true);
    return family && !family->gguf_pairs;
}

bool organ_part_is_plain(forward_part part)
{
    static const forward_part not_plain[] = {
        PART_NORM_POST_ATTENTION, PART_NORM_FFN, PART_NORM_POST_FFN, PART_K_B, PART_V_B,
        PART_BIAS_ROUTER,         PART_HEAD_GATE};
    bool plain = part <= PART_SHARED_DOWN;
    for (size_t k = 0; k < sizeof not_plain / sizeof *not_plain; k++)
        plain = plain && part != not_plain[k];
    return plain;
}

/* Returns the first word (between two dots) that is the number `layer`, or NULL. */
static const char *find_layer_number(const char *name, int32_t layer, size_t *length)
{
    char number[16];
    *length = (size_t)snprintf(number, sizeof number, "%d", (int)layer);
    for (const char *at = name; (at = strstr(at, number)); at++)
        if (at > name && at[-1] == '.' && at[*length] == '.')
            return at;
    return NULL;
}

bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size)
{
    size_t length = 0;
    if (layer == anatomy->layer)
        return snprintf(out, size, "%s", name) < (int)size;
    const char *const number = anatomy->layer >= 0 ? find_layer_number(name, anatomy->layer, &length) : NULL;
    return number &&
           snprintf(out, size, "%.*s%d%s", (int)(number - name), name, (int)layer, number + length) < (int)size;
}

typedef struct counterpart_names {
    const forward_family *hf, *gguf;
    const char *prefix;
} counterpart_names;

static counterpart_names names_of(const organ_model *gguf)
{
    static const forward_family usual = {.architecture = ""};
    const char *const name = gguf->config.model_type;
    const forward_family *const own = organ_forward_family_named(name, /*gguf=*/true);
    const forward_pairing *const row = gguf->gguf ? organ_pairing_names_of_gguf(gguf->gguf, name) : NULL;
    const forward_family *const hf = row ? organ_forward_family_named(row->architecture, /*gguf=*/false) : NULL;
    return (counterpart_names){hf && own ? hf : &usual, hf && own ? own : &usual,
                               hf && own && hf->prefix ? hf->prefix : "model."};
}

/* Finds the part of a tensor that both forms store with the same rows in the same order. */
static bool find_plain(const counterpart_names *names, bool gguf, const char *name, const organ_anatomy *anatomy,
                       pairing_part *part)
{
    size_t length = 0;
    const bool inside = anatomy->layer >= 0;
    const char *tail = name;
    if (inside && !(tail = find_layer_number(name, anatomy->layer, &length)))
        return false;
    tail += inside ? length + 1 : 0;
    if (!inside && !gguf && strncmp(tail, names->prefix, strlen(names->prefix)) == 0)
        tail += strlen(names->prefix);
    if (!inside && !gguf && strcmp(tail, "lm_head.weight") == 0)
        *part = (pairing_part){.part = PART_OUTPUT, .number = -1};
    else if (!organ_pairing_find_part(gguf ? names->gguf : names->hf, gguf, !inside, tail, part))
        return false;
    organ_pairing_attend(part);
    if (!inside)
        return part->part == PART_EMBEDDING || part->part == PART_FINAL_NORM || part->part == PART_OUTPUT;
    if (part->part == PART_QKV)
        return names->hf->fused == ORGAN_FUSED_NONE;
    return part->number < 0 && part->part != PART_KV_B && !names->hf->transposed && !names->hf->falcon &&
           (part->part <= PART_NORM_POST_FFN || organ_part_is_plain(part->part));
}

bool organ_counterpart_across(const organ_model *gguf, const char *name, const organ_anatomy *anatomy, bool to_gguf,
                              int32_t layer, char *out, size_t size)
{
    const counterpart_names names = names_of(gguf);
    const char *const layer_list = names.hf->layer_list ? names.hf->layer_list : "layers";
    pairing_part part = {0};
    char tail[256];
    if (anatomy->expert >= 0 || !find_plain(&names, !to_gguf, name, anatomy, &part))
        return false;
    if (!organ_pairing_part_name(to_gguf ? names.gguf : names.hf, to_gguf, &part, tail))
        return part.part == PART_OUTPUT && !to_gguf && snprintf(out, size, "lm_head.weight") < (int)size;
    int wrote;
    if (anatomy->layer < 0)
        wrote = snprintf(out, size, "%s%s", to_gguf || part.part == PART_OUTPUT ? "" : names.prefix, tail);
    else if (to_gguf)
        wrote = snprintf(out, size, "blk.%d.%s", (int)layer, tail);
    else
        wrote = snprintf(out, size, "%s%s.%d.%s", names.prefix, layer_list, (int)layer, tail);
    return wrote < (int)size;
}
