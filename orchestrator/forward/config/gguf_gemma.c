/* SPDX-License-Identifier: MIT
 * Key-values that only Gemma 4 has (llama.cpp: gemma4.cpp, and Gemma4Model of its converter). */
#include "orchestrator/forward/config/config_check.h"
#include "orchestrator/forward/config/config_gguf.h"

#include <stdio.h>

#define MOST_WIDTH (1u << 16)

/* Reads the sizes of heads by kind of layer. Layers with a window have heads of key_length_swa. A layer without a
 * tensor for v uses the projection of k. */
static void read_kinds_of_heads(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned local = organ_key_needed(s, "attention.key_length_swa"),
                   value = organ_key_size(s, "attention.value_length_swa", local);
    if (value != local)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: keys of %u and values of %u: different head sizes are not supported",
                   s->label, local, value);
    for (unsigned l = 0; l < c->layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_v.weight", l);
        if (c->kinds[l].window)
            c->kinds[l].head_dim = c->kinds[l].value_dim = local;
        c->kinds[l].value_is_key = !organ_key_tensor(s, name);
    }
}

/* Reads the width of the per-layer embeddings (Gemma 3n), and their vocabulary from the table of embeddings. */
static void read_per_layer_keys(const config_gguf_source *s, organ_forward_config *c)
{
    const organ_tensor *const table = organ_model_find(s->model, ORGAN_PER_LAYER_TABLE);
    c->per_layer_width = organ_key_size(s, "embedding_length_per_layer_input", 0);
    if (c->per_layer_width == 0)
        return;
    if (c->per_layer_width > MOST_WIDTH)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.embedding_length_per_layer_input' is %u, not up to %u",
                   s->label, s->architecture, c->per_layer_width, MOST_WIDTH);
    if (!table || table->rank != 2 || table->shape[0] < c->vocabulary)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: tensor '" ORGAN_PER_LAYER_TABLE "' is missing or not a matrix with a row for each token",
                   s->label);
    else
        c->per_layer_vocabulary = table->shape[0];
}

/* Reads the settings of Gemma 3n and 4: global heads, per-layer embeddings, layers with shared keys and values. */
void organ_key_gemma(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    if (!f->global_heads || s->error->status)
        return;
    const unsigned shared = organ_key_size(s, "attention.shared_kv_layers", 0);
    c->value_norm = f->value_norm;
    c->layer_scaled = f->layer_scaled && organ_key_tensor(s, "blk.0.layer_output_scale.weight");
    c->attention_scale = f->attention_scale;
    c->state = c->hidden;
    read_kinds_of_heads(s, c);
    read_per_layer_keys(s, c);
    if (shared >= c->layers)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.attention.shared_kv_layers' is %u, not below the %u layers",
                   s->label, s->architecture, shared, c->layers);
    else if (!s->error->status)
        organ_forward_config_share(s->label, shared, c, s->error);
}
