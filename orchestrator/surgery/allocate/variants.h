/* SPDX-License-Identifier: MIT
 * How far variants of a model are from it. A variant is the model with one layer changed: what goes into that layer is
 * the donor's, what comes out of it is carried through the layers behind it, many variants at a time, so that each of
 * these is loaded once for all of them. The same bits for any number of threads and of variants at a time. */
#ifndef ORGAN_VARIANTS_H
#define ORGAN_VARIANTS_H

#include "orchestrator/forward/forward.h"

typedef struct organ_variants organ_variants;

/* Takes the windows through the donor once; its hidden states before the first layer and behind the last are kept.
 * `together` variants, at least 1, are held at a time. forward, engine and windows must outlive it. *variants is NULL
 * on error. Errors of organ_forward_embed and of organ_layer_load; ORGAN_IO without memory; ORGAN_INTERRUPTED. */
organ_status organ_variants_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                 size_t together, organ_variants **variants, organ_error *error);
void organ_variants_close(organ_variants *variants); /* NULL is allowed */

/* Bytes that it takes for so many tokens and variants at a time, a second layer beside the caller's among them. */
uint64_t organ_variants_memory(const organ_forward *forward, size_t tokens, size_t together);

/* Carries the donor's hidden states on to what goes into that layer. */
organ_status organ_variants_reach(organ_variants *variants, int32_t layer, organ_error *error);
/* The same by the layer after the one that was reached, given that one as the donor has it. */
organ_status organ_variants_pass(organ_variants *variants, const organ_layer *loaded, organ_error *error);

/* Adds the variant in which the layer that was reached is as `changed`. *divergence becomes the mean over all tokens of
 * KL(donor || variant) in nats, not below 0, at the latest with organ_variants_settle. ORGAN_BAD_INPUT where logits are
 * not finite. */
organ_status organ_variants_add(organ_variants *variants, const organ_layer *changed, double *divergence,
                                organ_error *error);
organ_status organ_variants_settle(organ_variants *variants, organ_error *error);

/* ---- hidden states that the caller carries ---- */

/* Room for `together` streams, instead of variants. */
float *organ_variants_room(organ_variants *variants);

/* The same divergence of `count` streams of hidden states behind the last layer, tokens x hidden one behind the other;
 * at most `together`.
 */
organ_status organ_variants_judge(organ_variants *variants, const float *states, size_t count, double *divergence,
                                  organ_error *error);
/* From now on organ_variants_judge multiplies the logits of every stream except the donor's by this number (1 at
 * first). */
void organ_variants_scale(organ_variants *variants, double times);

/* Operations of a variant from a layer on to its divergence, for windows of `context` tokens, `tokens` in all. */
double organ_variants_products(const organ_forward *forward, const organ_model *model, int32_t layer, size_t tokens,
                               size_t context);

#endif
