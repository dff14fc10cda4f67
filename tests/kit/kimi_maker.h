/* SPDX-License-Identifier: MIT
 * For tests: a model in the layout of Kimi-K2 with generated weights: latent attention, dense layers first, routed
 * experts packed as INT4 in groups of 32 by compressed-tensors or plain, one shared expert and the attention in BF16.
 */
#ifndef KIMI_MAKER_H
#define KIMI_MAKER_H

#include <stdbool.h>
#include <stddef.h>

/* Latent attention: ranks of its queries and of its keys and values; channels of a head without and with positions, and
 * of its values. All are multiples of 32. */
typedef struct kimi_attention {
    int heads, q_rank, kv_rank, nope, rope, value;
} kimi_attention;

typedef struct kimi_shape {
    int layers, dense; /* 61, one of them dense */
    int experts;       /* 384 */
    int hidden, width, shared,
        wide; /* multiples of 32: hidden size, width of a routed expert, of the shared expert, of a dense layer */
    int vocabulary;
    kimi_attention attention; /* without heads: a small one */
    int groups, used_groups;  /* of experts: all of them, and those among which a token chooses; 0: one group */
    bool plain;               /* the experts are in BF16, too */
    bool holes; /* sparse files: all weights are zero and take no disk space, so that any shape can be made */
} kimi_shape;

/* Writes a shard for each layer and one for the rest, with index and config.json, into a new directory; the same bytes
 * each time. The scale of the last expert's down projection is in the shard after that of its codes, the scale of the
 * first expert's gate in the shard before. Ends the test on a failure. */
void kimi_make(const char *directory, kimi_shape shape);

/* Returns "model-00001-of-00062.safetensors" in a static buffer. */
const char *kimi_shard(kimi_shape shape, int number);

#endif
