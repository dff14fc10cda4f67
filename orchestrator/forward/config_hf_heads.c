/* SPDX-License-Identifier: MIT
 * Heads of config.json that differ between layers (Laguna) or between k and v (MiMo-V2). */
#include "orchestrator/forward/config_hf.h"

#include "formats/base/json_text.h"

#include <string.h>

static unsigned number_at(const config_hf_source *s, const json_t *list, const char *key, size_t layer)
{
    const json_t *const value = json_array_get(list, layer);
    const json_int_t number = json_integer_value(value);
    if (json_is_integer(value) && number >= 0 && number <= UINT32_MAX)
        return (unsigned)number;
    organ_config_refuse(s, key, value, "a whole number from 0");
    return 0;
}

/* Heads of q by layer, and a gate for each head or for each number of the output. */
static void read_laguna(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "num_attention_heads_per_layer";
    const json_t *const gating = organ_config_member(s->root, "gating");
    const json_t *const list =
        organ_config_member(s->root, key) ? organ_config_list(s, key, "a number", c->layers) : NULL;
    const char *const word = gating && json_is_string(gating) ? organ_json_plain(gating) : "";
    c->gate_heads = !gating || json_is_true(gating) || strcmp(word, "per-head") == 0;
    if (!c->gate_heads && strcmp(word, "per-element"))
        organ_config_refuse(s, "gating", gating, "true, per-head or per-element");
    for (unsigned l = 0; list && l < c->layers; l++)
        c->kinds[l].heads = number_at(s, list, key, l);
}

/* Refuses a member for layers with a window that differs from that of the other layers. */
static void require_same(const config_hf_source *s, const char *key, unsigned value)
{
    if (organ_config_size(s, key, value) != value)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is not %u, which transformers computes with", s->label, key,
                   value);
}

/* Layers with a window have twice as many heads of k and v. Published files have the window without the query itself,
 * and the layers that have one in hybrid_layer_pattern. */
static void read_mimo(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "hybrid_layer_pattern";
    const unsigned value_dim = organ_config_needed(s, "v_head_dim"),
                   size = organ_config_size(s, "sliding_window_size", 0);
    const json_t *const list =
        organ_config_member(s->root, "layer_types") ? NULL : organ_config_list(s, key, "a number", c->layers);
    const unsigned window = size ? size + 1 : c->window, kv = c->kv_heads > 1 << 16 ? 0 : 2 * c->kv_heads;
    require_same(s, "swa_num_key_value_heads", kv);
    require_same(s, "swa_num_attention_heads", c->heads);
    require_same(s, "swa_head_dim", c->head_dim);
    require_same(s, "swa_v_head_dim", value_dim);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const bool windowed = list ? number_at(s, list, key, l) == 1 : kind->window != 0;
        kind->window = windowed ? window : 0;
        kind->kv_heads = windowed ? kv : c->kv_heads;
        kind->value_dim = value_dim;
        if (windowed && window == 0)
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: layers have a sliding window of 0 tokens", s->label);
    }
    c->window = window;
}

void organ_config_heads(const config_hf_source *s, organ_forward_config *c)
{
    if (s->family->heads == HEADS_LAGUNA)
        read_laguna(s, c);
    else if (s->family->heads == HEADS_MIMO)
        read_mimo(s, c);
}
