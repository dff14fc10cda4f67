/* SPDX-License-Identifier: MIT
 * Reads the heads, windows and positions of layers from GGUF key-values.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/config_check.h"
#include "formats/architecture/config_gguf.h"

#define WINDOW_PATTERN "attention.sliding_window_pattern"
#define CHUNK          8192 /* positions in a chunk of Llama 4, for which GGUF has no key */

/* The keys may be arrays with a number for each layer. In MiMo-V2 heads of v have a width of their own. The rows of
 * Laguna's gate tensor show whether it has a number for each head or for each number of the attention's output. */
void organ_key_heads(const config_gguf_source *s, organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        kind->heads = organ_key_of_layer(s, "attention.head_count", l, c->heads);
        kind->kv_heads = organ_key_of_layer(s, "attention.head_count_kv", l, kind->heads);
        if (s->family->heads == HEADS_MIMO)
            kind->value_dim = organ_key_size(s, "attention.value_length", kind->head_dim);
        kind->intermediate = organ_key_of_layer(s, "feed_forward_length", l, 0);
    }
    const organ_tensor *const gate =
        s->family->heads == HEADS_LAGUNA ? organ_model_find(s->model, "blk.0.attn_gate.weight") : NULL;
    c->gate_heads = c->gate_heads || (gate && gate->rank == 2 && gate->shape[0] == c->kinds[0].heads);
}

/* The key WINDOW_PATTERN is an array that is true for layers with a window, or a number n, by default the family's
 * window_pattern. With a number, the last of each n layers has no window, or with first_full the first of each n
 * layers. Phi-3 gets the sliding window with which it was trained, although llama.cpp attends to everything. */
void organ_key_windows(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    char full[CONFIG_KEY_LIMIT];
    const bool used = windows == WINDOWS_ALL || windows >= WINDOWS_TYPES;
    const organ_gguf_kv *const pattern = organ_key_find(s, WINDOW_PATTERN, full);
    c->window = used ? organ_key_size(s, "attention.sliding_window", 0) : 0;
    if (!pattern || pattern->type != ORGAN_GGUF_ARRAY) {
        const unsigned every = organ_key_size(s, WINDOW_PATTERN, s->family->window_pattern);
        organ_forward_config_pattern(c, every);
        for (unsigned l = 0; s->family->first_full && every && l < c->layers; l++)
            c->kinds[l].window = l % every ? c->window : 0;
        return;
    }
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        c->kinds[l].window = organ_key_of_layer(s, WINDOW_PATTERN, l, 0) ? c->window : 0;
}

/* llama.cpp, too, sets chunks of CHUNK positions for the layers of Llama 4 that rotate q and k. For a sliding_window
 * of 0 it computes full attention with positions in all layers but the last; no class of transformers computes this. */
static void read_chunks(const config_gguf_source *s, organ_forward_config *c)
{
    char full[CONFIG_KEY_LIMIT];
    if (organ_key_size(s, "attention.sliding_window", CHUNK) == 0) {
        organ_key_find(s, "attention.sliding_window", full);
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is 0: layers without chunks are not supported", s->label,
                   full);
    }
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].chunk = c->kinds[l].rotated ? CHUNK : 0;
}

/* GGUF files have no list of the layers that do not rotate. With UNROTATED_LIST, every fourth layer does not rotate,
 * as in llama.cpp. With UNROTATED_FULL, layers without a window do not rotate if the model has a sliding window;
 * with the values after UNROTATED_FULL, no layer without a window rotates. The comments below state two exceptions. */
void organ_key_positions(const config_gguf_source *s, organ_forward_config *c)
{
    organ_forward_config_sinks(c, s->family->sinks);
    if (s->family->unrotated == UNROTATED_LIST)
        for (unsigned l = 0; l < c->layers; l++)
            c->kinds[l].rotated = (l + 1) % 4 != 0;
    if (s->family->chunk)
        read_chunks(s, c);
    /* Granite 4, which has no windows, rotates q and k in no layer if the key is false. */
    if (s->family->unrotated == UNROTATED_UNLESS && organ_key_flag(s, "rope.scaling.finetuned", true))
        return;
    if (s->family->unrotated >= UNROTATED_FULL)
        organ_forward_config_unrotate(s->family->unrotated != UNROTATED_FULL, c);
    for (unsigned l = 0; s->family->dense_pattern && l < c->layers && !c->kinds[l].mixture; l++)
        c->kinds[l].rotated = true; /* leading dense layers of Cohere 2's mixture */
}
