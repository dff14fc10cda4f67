/* SPDX-License-Identifier: MIT
 * Reads key-values that only Gemma 3n and Gemma 4 have (llama.cpp: gemma3n.cpp, gemma4.cpp, and the classes of its
 * converter).
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/config_check.h"
#include "formats/architecture/config_gguf.h"

#include <math.h>
#include <stdio.h>

#define MOST_WIDTH   (1u << 16) /* of per-layer embeddings, and rank of Laurel */
#define MOST_STREAMS 16         /* streams of AltUp */

/* A layer without a tensor for v uses the projection of k as v. */
static void read_kinds_of_heads(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned local = organ_key_needed(s, "attention.key_length_swa"),
                   value = organ_key_size(s, "attention.value_length_swa", local);
    if (value != local)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: key '%s.attention.key_length_swa' is %u and attention.value_length_swa %u: different head "
                   "sizes are not supported",
                   s->label, s->architecture, local, value);
    for (unsigned l = 0; l < c->layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_v.weight", l);
        if (c->kinds[l].window)
            c->kinds[l].head_dim = c->kinds[l].value_dim = local;
        c->kinds[l].value_is_key = !organ_key_tensor(s, name);
    }
}

/* The vocabulary is the number of rows of the table. Gemma 4 may lack per-layer embeddings; Gemma 3n must have them. */
static void read_per_layer_keys(const config_gguf_source *s, organ_forward_config *c)
{
    const organ_tensor *const table = organ_model_find(s->model, ORGAN_PER_LAYER_TABLE);
    c->per_layer_width = organ_key_size(s, "embedding_length_per_layer_input", 0);
    if (c->per_layer_width == 0 && !s->family->streams && !table)
        return;
    if (c->per_layer_width == 0 || c->per_layer_width > MOST_WIDTH)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.embedding_length_per_layer_input' is %u, not up to %u",
                   s->label, s->architecture, c->per_layer_width, MOST_WIDTH);
    if (!table || table->rank != 2 || table->shape[0] < c->vocabulary)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: tensor '" ORGAN_PER_LAYER_TABLE "' is missing or not a matrix with a row for each token",
                   s->label);
    else
        c->per_layer_vocabulary = table->shape[0];
}

/* A cut of -infinity means none. Without the key the first ten layers have the cut of the published models, which
 * llama.cpp uses for every file. */
static void read_gate_cuts(const config_gguf_source *s, organ_forward_config *c)
{
    char full[CONFIG_KEY_LIMIT];
    const bool known = organ_key_find(s, "activation_sparsity_scale", full) != NULL;
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const float usual = l < 10 ? organ_forward_gate_cut(0.95F) : -INFINITY;
        const float cut = known ? (float)organ_key_real_of_layer(s, full, l) : usual;
        if (isnan(cut) || cut == INFINITY)
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is %g for layer %u", s->label, full, (double)cut, l);
        kind->gate_is_cut = cut > -INFINITY;
        kind->gate_cut = kind->gate_is_cut ? cut : 0;
    }
}

/* There is no key for the rank of Laurel: it is the number of rows of laurel_l. */
static void read_streams(const config_gguf_source *s, organ_forward_config *c)
{
    const organ_tensor *const laurel = organ_model_find(s->model, "blk.0.laurel_l.weight");
    c->streams = organ_key_needed(s, "altup.num_inputs");
    c->laurel_rank = laurel && laurel->rank == 2 && laurel->shape[0] <= MOST_WIDTH ? (unsigned)laurel->shape[0] : 0;
    c->streams_scaled = organ_key_tensor(s, "blk.0.altup_correct_scale.weight");
    if (c->streams < 2 || c->streams > MOST_STREAMS)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.altup.num_inputs' is %u, not from 2 to %u", s->label,
                   s->architecture, c->streams, MOST_STREAMS);
    if (organ_key_size(s, "altup.active_idx", 0) != 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.altup.active_idx' is not 0", s->label, s->architecture);
    if (c->laurel_rank == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: tensor 'blk.0.laurel_l.weight' is missing or not a matrix of 1 to %u rows", s->label,
                   MOST_WIDTH);
    c->state = c->streams * c->hidden;
    read_gate_cuts(s, c);
}

void organ_key_gemma(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    if ((!f->global_heads && !f->streams) || s->error->status)
        return;
    const unsigned shared = organ_key_size(s, "attention.shared_kv_layers", 0);
    c->value_norm = f->value_norm;
    c->layer_scaled = f->layer_scaled && organ_key_tensor(s, "blk.0.layer_output_scale.weight");
    c->attention_scale = f->attention_scale;
    c->state = c->hidden;
    if (f->global_heads)
        read_kinds_of_heads(s, c);
    if (f->streams)
        read_streams(s, c);
    read_per_layer_keys(s, c);
    if (shared >= c->layers)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.attention.shared_kv_layers' is %u, not below the %u layers",
                   s->label, s->architecture, shared, c->layers);
    else if (!s->error->status)
        organ_forward_config_share(s->label, shared, c, s->error);
}
