/* SPDX-License-Identifier: MIT
 * The sets of matrices that servers multiply as one. */
#include "formats/tensor/fused.h"

#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <stdio.h>
#include <string.h>

/* From packed_modules_mapping and the stacked parameters of vLLM 0.32, whose models of transformers fuse the same
 * names; a row of one part stays alone. Experts are not listed apart: vLLM stores gate and up of an expert as one. */
static const organ_fused_set sets[] = {
    {.types = "olmo_hybrid", .parts = "q_proj k_proj v_proj g_proj"},
    {.types = "bailing_moe_v3", .parts = "q_proj k_proj v_proj b_proj"},
    {.types = "minicpm3 sarvam_mla", .parts = "q_a_proj"},
    {.types = "minicpm3 sarvam_mla", .parts = "kv_a_proj_with_mqa"},
    {.parts = "q_proj k_proj v_proj"},
    {.parts = "gate_proj up_proj"},
    {.parts = "w1 w3"},
    {.parts = "w1 v1"},
    {.parts = "gate up"},
    {.parts = "c_fc_0 c_fc_1"},
    {.parts = "query key value"},
    {.parts = "wq wk wv"},
    {.parts = "q_a_proj kv_a_proj_with_mqa", .ragged = true},
    {.parts = "in_proj_qkv in_proj_z"},
    {.parts = "in_proj_b in_proj_a"},
};
#define SETS (sizeof sets / sizeof *sets)

/* Returns the last word of the module's name, and its length. */
static const char *word_of(const char *weight, size_t *length, size_t *parent)
{
    size_t end = strlen(weight);
    if (end >= strlen(".weight") && strcmp(weight + end - strlen(".weight"), ".weight") == 0)
        end -= strlen(".weight");
    *parent = end;
    while (*parent > 0 && weight[*parent - 1] != '.')
        --*parent;
    *length = end - *parent;
    return weight + *parent;
}

size_t organ_fused_set_of(const char *model_type, const char *weight, size_t *parent)
{
    size_t length;
    const char *const word = word_of(weight, &length, parent);
    for (size_t s = 0; s < SETS; s++)
        if (organ_lists_word(sets[s].parts, ' ', word, length) &&
            (!sets[s].types || organ_lists_word(sets[s].types, ' ', model_type, strlen(model_type))))
            return s;
    return ORGAN_FUSED_NONE_SET;
}

const organ_fused_set *organ_fused_set_at(size_t set) { return set < SETS ? &sets[set] : NULL; }

void organ_fused_name(size_t set, char *text, size_t size)
{
    size_t used = 0;
    for (const char *at = sets[set].parts; *at && used < size;) {
        const size_t length = strcspn(at, " ");
        const char *const joint = at[length] && !strchr(at + length + 1, ' ') ? " and " : ", ";
        used += (size_t)snprintf(text + used, size - used, "%.*s%s", (int)length, at, at[length] ? joint : "");
        at += length + (at[length] == ' ');
    }
}

size_t organ_fused_first(size_t set) { return strcspn(sets[set].parts, " "); }

organ_fused_part organ_fused_part_of(const char *model_type, const char *name, size_t index)
{
    organ_fused_part made = {.name = name, .index = index};
    made.set = organ_fused_set_of(model_type, name, &made.parent);
    return made;
}

/* Returns whether the rows of the tensor are the last ones of the set. */
static bool is_last(size_t set, const char *weight)
{
    size_t length, parent;
    const char *const word = word_of(weight, &length, &parent), *const last = strrchr(sets[set].parts, ' ');
    return !last || (strlen(last + 1) == length && memcmp(last + 1, word, length) == 0);
}

bool organ_fused_splits_block(const organ_fused_part *part, uint64_t rows, uint64_t block)
{
    return rows % block && !(sets[part->set].ragged && is_last(part->set, part->name));
}

int organ_fused_order(const void *a, const void *b)
{
    const organ_fused_part *const x = a, *const y = b;
    const int by_set = ORGAN_ORDERS(ORGAN_ORDER(x->parent, y->parent), ORGAN_ORDER(x->set, y->set));
    return by_set ? by_set : ORGAN_ORDERS(memcmp(x->name, y->name, x->parent), ORGAN_ORDER(x->index, y->index));
}

bool organ_fused_together(const organ_fused_part *a, const organ_fused_part *b)
{
    return a->set != ORGAN_FUSED_NONE_SET && a->set == b->set && a->parent == b->parent &&
           memcmp(a->name, b->name, a->parent) == 0;
}

size_t organ_fused_length(const organ_fused_part *sorted, size_t count)
{
    size_t length = 1;
    while (length < count && organ_fused_together(sorted, sorted + length))
        length++;
    return length;
}
