/* SPDX-License-Identifier: MIT
 * Measures the divergence of variants of a model from the model. A variant has one changed layer: its input is the
 * donor's, and its output runs through the later layers. Many variants run at a time, so that each layer is loaded once
 * for all of them. Results are bit-identical for any number of threads and of variants at a time. */
#ifndef ORGAN_VARIANTS_H
#define ORGAN_VARIANTS_H

#include <organ/forward.h>

typedef struct organ_variants organ_variants;

/* Runs the windows through the donor once, and stores its hidden states before the first layer and after the last. Up
 * to `together` variants, at least 1, are stored at a time. forward, engine and windows must outlive *variants, which
 * is NULL on error. Returns errors of organ_forward_embed and organ_layer_load; ORGAN_IO if memory cannot be allocated;
 * ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_variants_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                 size_t together, organ_variants **variants, organ_error *error);
void organ_variants_close(organ_variants *variants); /* NULL is allowed */

/* Returns the bytes that an organ_variants needs for `tokens` tokens and `together` simultaneous variants, including
 * the layer that organ_variants_finish loads while the caller has another one loaded. */
uint64_t organ_variants_memory(const organ_forward *forward, size_t tokens, size_t together);

/* Makes `layer`, which must not be before the current layer, the current one: runs the donor's hidden states through
 * the layers from the current one to the one before `layer`. */
organ_status organ_variants_advance(organ_variants *variants, int32_t layer, organ_error *error);
/* Calls organ_variants_finish for the variants of the current layer, then runs the donor's states through the current
 * layer and makes the next layer the current one. `loaded`: the current layer with the donor's weights. */
organ_status organ_variants_pass(organ_variants *variants, const organ_layer *loaded, organ_error *error);

/* Adds the variant in which the current layer is replaced by `changed`. Sets *divergence to the mean over all tokens of
 * KL(donor || variant) in nats, at least 0, no later than organ_variants_finish. Returns ORGAN_BAD_INPUT if logits are
 * not finite. */
organ_status organ_variants_add(organ_variants *variants, const organ_layer *changed, double *divergence,
                                organ_error *error);
/* Runs all added variants through the remaining layers and sets their divergences. */
organ_status organ_variants_finish(organ_variants *variants, organ_error *error);

/* ---- streams of the caller ---- */

/* Returns the buffer for the hidden states of `together` streams, for a caller that fills it instead of adding
 * variants. *variants owns it. */
float *organ_variants_room(organ_variants *variants);

/* Sets divergence[k] to the mean of KL(donor || stream k) in nats for `count` streams of hidden states after the last
 * layer: consecutive arrays of tokens x hidden; at most `together` streams. */
organ_status organ_variants_judge(organ_variants *variants, const float *states, size_t count, double *divergence,
                                  organ_error *error);
/* Sets the factor by which organ_variants_judge multiplies the logits of every stream except the donor's (1 at
 * first). */
void organ_variants_scale(organ_variants *variants, double times);

/* Returns the operations of layers `layer` to the last one and of the divergence, for one variant on `tokens` tokens in
 * windows of `context` tokens. */
double organ_variants_products(const organ_forward *forward, const organ_model *model, int32_t layer, size_t tokens,
                               size_t context);

#endif
