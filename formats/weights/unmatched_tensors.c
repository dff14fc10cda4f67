/* SPDX-License-Identifier: MIT
 * Classifies tensors of quantised models that belong to no packed weight: scales of activations and caches,
 * companions without a weight, unknown tensors. Also writes the notes on inconsistencies. */
#include "formats/weights/weight_search.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool has_leaf(const char *name, const char *leaf)
{
    const char before = organ_ends_with(name, leaf) ? name[strlen(name) - strlen(leaf) - 1] : '\0';
    return before == '.' || before == '_';
}

static bool has_one_of(const char *name, const char *const *leaves, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (has_leaf(name, leaves[k]))
            return true;
    return false;
}

organ_status organ_weight_refuse(const organ_weight_search *search, const organ_tensor *tensor)
{
    static const struct layout {
        const char *leaf, *name;
        organ_dtype dtype;
    } layouts[] = {
        {".B", "marlin", ORGAN_I32},
        {".scale_packed", "marlin-24", ORGAN_DTYPE_COUNT},
        {".bitmask", "sparse-bitmask", ORGAN_U8},
        {".weight_bitmask", "sparse-bitmask", ORGAN_U8},
        {".compressed", "sparse-bitmask", ORGAN_DTYPE_COUNT},
        {".weight_compressed", "sparse-bitmask", ORGAN_DTYPE_COUNT},
        {".absmax", "bitsandbytes", ORGAN_DTYPE_COUNT},
        {".SCB", "bitsandbytes", ORGAN_DTYPE_COUNT},
        {".W_q", "hqq", ORGAN_DTYPE_COUNT},
        {".codebooks", "aqlm", ORGAN_DTYPE_COUNT},
    };
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts; k++)
        if (organ_ends_with(tensor->name, layouts[k].leaf) &&
            (layouts[k].dtype == ORGAN_DTYPE_COUNT || layouts[k].dtype == tensor->dtype))
            return organ_weight_fail(search, tensor, "belongs to a weight in the layout '%s', which cannot be read",
                                     layouts[k].name);
    return ORGAN_OK;
}

/* search->names must contain all packed weights. */
const char *organ_weight_why_unmatched(organ_weight_search *search, const organ_tensor *tensor, bool *dropped)
{
    static const char *const activations[] = {"input_scale",      "input_scale_inv",   "input_global_scale",
                                              "input_zero_point", "input_scale_ub",    "activation_scale",
                                              "act_scale",        "qscale_act",        "scale_input",
                                              "output_scale",     "output_zero_point", "input_amax"},
                             *const caches[] = {"k_scale",        "v_scale",      "q_scale",      "kv_scale",
                                                "prob_scale",     "k_zero_point", "v_zero_point", "q_zero_point",
                                                "kv_cache_scale", "softmax_scale"},
                             *const companions[] = {"weight_scale",
                                                    "weight_scale_inv",
                                                    "weight_scale_2",
                                                    "weight_shape",
                                                    "weight_zero_point",
                                                    "weight_global_scale",
                                                    "weight_g_idx",
                                                    "qscale_weight",
                                                    "scale_weight",
                                                    "scale_inv",
                                                    "qzeros",
                                                    "scales",
                                                    "biases",
                                                    "g_idx"};
    const char *const name = tensor->name, *const dot = strrchr(name, '.');
    *dropped = false;
    if (has_leaf(name, "correct_output_scale")) /* a parameter of AltUp (Gemma 3n) */
        return NULL;
    *dropped = true;
    if (has_one_of(name, activations, sizeof activations / sizeof *activations))
        return "scales activations, which a plain model does not need";
    if (has_one_of(name, caches, sizeof caches / sizeof *caches))
        return "scales the cache or scores of attention, which a plain model does not need";
    *dropped = false;
    if (has_one_of(name, companions, sizeof companions / sizeof *companions) ||
        (has_leaf(name, "scale") && tensor->dtype == ORGAN_F8_E8M0))
        return "is named like a companion of a packed weight that is missing";
    if (!dot || strcmp(dot, ".bias") == 0 || strcmp(dot, ".weight") == 0)
        return NULL;
    /* The tensor is of no known kind: it may belong to the packed weight of its module. */
    memcpy(search->name, name, (size_t)(dot - name));
    strcpy(search->name + (dot - name), ".weight");
    const size_t *const found = organ_name_table_find(&search->names, search->name);
    return found && search->weights[*found].scheme != ORGAN_SCHEME_PLAIN ? "belongs to a packed weight and is unknown"
                                                                         : NULL;
}

/* ---- notes ---- */

static void write_value(const char *what, const uint64_t value[2], char out[64])
{
    if (strcmp(what, "symmetric") == 0)
        snprintf(out, 64, "%s", value[0] ? "true" : "false");
    else if (strcmp(what, "layout") == 0)
        snprintf(out, 64, "%s", organ_scheme_name((organ_scheme)value[0]));
    else if (value[1])
        snprintf(out, 64, "%" PRIu64 " x %" PRIu64, value[0], value[1]);
    else /* signed, because a group_size may be -1 */
        snprintf(out, 64, "%" PRId64, (int64_t)value[0]);
}

static void write_note(const organ_weight_search *search, const organ_weight_note *note, char *out, size_t size)
{
    char stated[64], found[64], others[64] = "";
    write_value(note->what, note->stated, stated);
    write_value(note->what, note->found, found);
    if (note->count > 1)
        snprintf(others, sizeof others, " and %zu other%s", note->count - 1, note->count > 2 ? "s" : "");
    snprintf(out, size, "%s states %s %s, but the tensors of '%.300s'%s have %s: organ uses the tensors' value",
             search->config->file, note->what, stated, note->first, others, found);
}

static organ_status add_note(organ_weight_search *search, const char *text)
{
    const char *const copy = organ_arena_copy(&search->arena, text, strlen(text));
    if (!copy)
        return organ_fail_memory(search->error, search->model->path);
    search->sentences[search->found.note_count++] = copy;
    return ORGAN_OK;
}

organ_status organ_weight_write_notes(organ_weight_search *search)
{
    char text[700];
    search->sentences = organ_arena_take(&search->arena, (ORGAN_NOTES_MAX + 1) * sizeof *search->sentences);
    if (!search->sentences)
        return organ_fail_memory(search->error, search->model->path);
    for (size_t k = 0; k < search->note_count; k++) {
        write_note(search, &search->notes[k], text, sizeof text);
        if (add_note(search, text))
            return search->error->status;
    }
    if (!search->without_scales)
        return ORGAN_OK;
    snprintf(text, sizeof text,
             "%zu weight%s of a type for codes %s no scales, so organ uses the codes as values; the first is '%.300s'",
             search->without_scales_count, search->without_scales_count > 1 ? "s" : "",
             search->without_scales_count > 1 ? "have" : "has", search->without_scales);
    return add_note(search, text);
}
