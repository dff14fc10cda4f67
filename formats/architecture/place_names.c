/* SPDX-License-Identifier: MIT
 * Names of tensors in both formats: which part of which layer a name is, and the name of a part. */
#include "formats/architecture/pairing.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *layer_list_of(const place_model *m)
{
    return m->family->layer_list ? m->family->layer_list : "layers";
}

/* ---- tensors of blocks for multi-token prediction ---- */

static bool is_in_block(const place_model *m, int64_t layer)
{
    return m->drafts && layer >= (int64_t)m->config->layers;
}

/* Returns the number, among those with the prefix of the family, of the layer that has the part: of several layers the
 * first has the mixer, and the last the feed-forward. */
static unsigned number_in_prefix(const place_model *m, int64_t layer, const pairing_part *part)
{
    const unsigned each = m->drafts->layers;
    return (unsigned)(layer - m->config->layers) * each + (part->part > PART_O ? each - 1 : 0);
}

static bool write_block_name(const place_model *m, bool gguf, int64_t layer, const pairing_part *part,
                             char name[ORGAN_PLACE_NAME])
{
    const unsigned block = (unsigned)(layer - m->config->layers);
    pairing_part own = *part;
    char tail[256], layer_prefix[128];
    own.in_block = true;
    if (part->draft ? !organ_draft_name(m->drafts, gguf, block, (organ_draft_part)(part->draft - 1), tail)
                    : !organ_pairing_part_name(gguf ? m->gguf_family : m->family, gguf, &own, tail))
        return false;
    if (gguf)
        snprintf(name, ORGAN_PLACE_NAME, "blk.%lld.%s", (long long)layer, tail);
    else if (!m->drafts->layer_prefix)
        snprintf(name, ORGAN_PLACE_NAME, "%s%s.%lld.%s", m->prefix, layer_list_of(m), (long long)layer, tail);
    else if (part->draft)
        snprintf(name, ORGAN_PLACE_NAME, "%s", tail);
    else {
        organ_forward_number_name(m->drafts->layer_prefix, number_in_prefix(m, layer, part), layer_prefix);
        snprintf(name, ORGAN_PLACE_NAME, "%s.%s", layer_prefix, tail);
    }
    return true;
}

/* Sets part->draft and returns NULL, or returns the name of a tensor of the block's layer after that of the layer, or
 * NULL without part->draft for a name that no block has. `tail` is the name after that of layer *layer. */
static const char *find_in_block(const place_model *m, bool gguf, const char *tail, int64_t *layer, pairing_part *part)
{
    organ_draft_part found;
    unsigned number;
    if (!organ_draft_find(m->drafts, gguf, tail, &number, &found, &tail))
        return NULL;
    if (m->drafts->layer_prefix && !gguf)
        *layer = (int64_t)m->config->layers + number / m->drafts->layers;
    if (found == DRAFT_PARTS)
        return tail;
    /* the kind of places of both parts: whole tensors */
    const bool matrix = organ_draft_is_matrix(found);
    *part = (pairing_part){.part = matrix ? PART_O : PART_NORM_POST_ATTENTION, .number = -1, .draft = 1 + found};
    return NULL;
}

/* ---- names ---- */

bool organ_place_name(const place_model *m, bool gguf, int64_t layer, const pairing_part *part,
                      char name[ORGAN_PLACE_NAME])
{
    char tail[256];
    if (is_in_block(m, layer))
        return write_block_name(m, gguf, layer, part, name);
    const bool named = organ_pairing_part_name(gguf ? m->gguf_family : m->family, gguf, part, tail);
    if (!named && (gguf || part->part != PART_OUTPUT))
        return false;
    if (!named)
        snprintf(name, ORGAN_PLACE_NAME, "%.*s%s", (int)(strlen(m->head) - strlen("weight")), m->head,
                 part->bias ? "bias" : "weight");
    else if (layer >= 0 && gguf)
        snprintf(name, ORGAN_PLACE_NAME, "blk.%lld.%s", (long long)layer, tail);
    else if (layer >= 0)
        snprintf(name, ORGAN_PLACE_NAME, "%s%s.%lld.%s", m->prefix, layer_list_of(m), (long long)layer, tail);
    else
        snprintf(name, ORGAN_PLACE_NAME, "%s%s", gguf || part->part == PART_OUTPUT ? "" : m->prefix, tail);
    return true;
}

const organ_layer_kind *organ_place_kind(const place_model *m, int64_t layer)
{
    return layer >= 0 && layer < (int64_t)m->config->layers + m->blocks ? &m->config->kinds[layer] : NULL;
}

/* Attention and recurrent mixers share names. In layers of Falcon with two norms, attn_norm is the norm before the
 * feed-forward and attn_norm_2 the one before the attention; in layers with one norm, pairing_part.first chooses
 * its name in safetensors. */
static void correct_gguf(const place_model *m, const char *name, const organ_layer_kind *kind, pairing_part *part)
{
    if (m->family->falcon && part->part == PART_NORM_ATTENTION) {
        part->first = m->config->one_norm;
        if (!part->first && strstr(name, ".attn_norm."))
            part->part = PART_NORM_FFN;
    }
    if (kind->mixer == ORGAN_MIXER_ATTENTION)
        organ_pairing_attend(part);
}

/* The names of some parts are ambiguous: those of attention and recurrent mixers, the bias of a fused q, k, v, and the
 * shared expert of Granite 4 hybrids, which has the names of a dense feed-forward. */
static void correct_hf(const place_model *m, const organ_layer_kind *kind, pairing_part *part)
{
    if (part->part == PART_BIAS_Q && m->config->fused != ORGAN_FUSED_NONE)
        *part = (pairing_part){.part = PART_QKV, .bias = true, .number = -1};
    if (kind->mixer == ORGAN_MIXER_ATTENTION)
        organ_pairing_attend(part);
    if (!kind->mixture || kind->intermediate > 0)
        return;
    if (part->part == PART_GATE_UP)
        part->part = PART_SHARED_GATE_UP;
    else if (part->part == PART_DOWN)
        part->part = PART_SHARED_DOWN;
}

/* Without "WORD.N." at the beginning, returns the name and stores -1; returns NULL if the number is not followed by
 * a dot. */
static const char *after_layer(const char *name, const char *word, int64_t *layer)
{
    const size_t length = strlen(word);
    char *end;
    *layer = -1;
    if (strncmp(name, word, length) || name[length] != '.' || name[length + 1] < '0' || name[length + 1] > '9')
        return name;
    *layer = strtol(name + length + 1, &end, 10);
    return *end == '.' ? end + 1 : NULL;
}

bool organ_place_find(const place_model *m, bool gguf, const char *name, int64_t *layer, pairing_part *part)
{
    const forward_family *const family = gguf ? m->gguf_family : m->family;
    const char *const own =
        gguf ? NULL : organ_forward_part_name(family->names, PART_OUTPUT, /*gguf=*/false, /*index=*/0);
    const char *const head = own ? own : m->head;
    char bias[256];
    *layer = -1;
    *part = (pairing_part){.part = PART_OUTPUT, .number = -1};
    if (!gguf && (strcmp(name, head) == 0 || strcmp(name, organ_forward_bias_name(head, bias)) == 0)) {
        part->bias = strcmp(name, head) != 0;
        return true;
    }
    const char *tail = name;
    if (m->drafts && m->drafts->layer_prefix && !gguf)
        tail = find_in_block(m, gguf, name, layer, part);
    if (part->draft)
        return true;
    if (*layer < 0) {
        if (!gguf && strncmp(name, m->prefix, strlen(m->prefix)))
            return false;
        tail = after_layer(gguf ? name : name + strlen(m->prefix), gguf ? "blk" : layer_list_of(m), layer);
        if (tail && is_in_block(m, *layer) && (gguf || !m->drafts->layer_prefix))
            tail = find_in_block(m, gguf, tail, layer, part);
    }
    if (!tail || part->draft || !organ_pairing_find_part(family, gguf, *layer < 0, tail, part))
        return part->draft > 0;
    const organ_layer_kind *const kind = organ_place_kind(m, *layer);
    if (kind && gguf)
        correct_gguf(m, name, kind, part);
    else if (kind)
        correct_hf(m, kind, part);
    return true;
}

bool organ_place_is_left_out(const place_model *m, const organ_weight *weight)
{
    static const char *const computed[] = {".rotary_emb.inv_freq", ".attention.bias",          ".attention.masked_bias",
                                           ".attn.masked_bias",    ".self_attn.slope_rate",    ".self_attn.query_decay",
                                           ".self_attn.key_decay", ".self_attn.diagonal_decay"};
    for (size_t k = 0; k < COUNT(computed); k++)
        if (organ_ends_with(weight->name, computed[k]))
            return true;
    if (weight->rank == 4 && organ_ends_with(weight->name, ".attn.bias")) /* the causal mask of published GPT-2 files */
        return true;
    return m->config->tied_output && strcmp(weight->name, m->head) == 0;
}
