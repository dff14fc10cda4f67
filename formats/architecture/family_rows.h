/* SPDX-License-Identifier: MIT
 * Names of parts by their use, and values of members of forward_family and forward_mixture that several tables of
 * architectures use. */
#ifndef ORGAN_ARCHITECTURE_FAMILY_ROWS_H
#define ORGAN_ARCHITECTURE_FAMILY_ROWS_H

#include "formats/architecture/families.h"

static inline forward_part organ_name_part(const forward_name *n) { return (forward_part)(n->of & 0xffff); }
static inline forward_name_use organ_name_use(const forward_name *n) { return (forward_name_use)(n->of & ~0xffffu); }

/* Returns the name of the part with this use, else the one that organ writes; NULL if the part has no name. */
const char *organ_forward_written_name(const forward_name *own, forward_part part, bool gguf, forward_name_use use);

/* clang-format off */
#define SHARED_EXPERTS_OF(use) {PART_SHARED_GATE | use, "mlp.shared_experts.gate_proj.weight"}, \
    {PART_SHARED_UP | use, "mlp.shared_experts.up_proj.weight"}, \
    {PART_SHARED_DOWN | use, "mlp.shared_experts.down_proj.weight"}
#define SHARED_EXPERTS SHARED_EXPERTS_OF(NAME_WRITTEN)
#define MIXTRAL_EXPERTS {PART_EXPERT_GATE, "block_sparse_moe.experts.#.w1.weight"}, \
    {PART_EXPERT_UP, "block_sparse_moe.experts.#.w3.weight"}, {PART_EXPERT_DOWN, "block_sparse_moe.experts.#.w2.weight"}
#define LOGISTIC {.logistic = true, .corrected = true}
#define ATTENTION_BIAS .qkv_bias = {"attention_bias", false}, .output_bias = {"attention_bias", false}
#define MLP_BIAS       .mlp_bias = {"mlp_bias", false}
/* clang-format on */

/* The rows of most architectures, of those with latent attention in all layers, of those with compressed attention, of
 * those with recurrent layers and of early ones. In the last row of each table, `architecture` is NULL. */
extern const forward_family organ_forward_families[], organ_forward_families_latent[],
    organ_forward_families_compressed[], organ_forward_families_recurrent[], organ_forward_families_early[];

/* The mixture of DeepSeek-V3, which GLM-4.5 and dots.llm1 have as well. */
extern const forward_mixture organ_forward_deepseek3_mixture;

#endif
