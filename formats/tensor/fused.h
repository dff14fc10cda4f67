/* SPDX-License-Identifier: MIT
 * Matrices that servers (vLLM, SGLang) multiply as one: q, k and v, gate and up. Such a set is one module there, so
 * that its parts have one scheme and one scale of a whole tensor, and blocks of scales follow each other without a gap.
 */
#ifndef ORGAN_TENSOR_FUSED_H
#define ORGAN_TENSOR_FUSED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A row of the table of fused.c. */
typedef struct organ_fused_set {
    const char *types; /* model types, separated by blanks; NULL: all types that no other row with these words lists */
    const char *parts; /* last words of the names of the modules, in the order of their rows, separated by blanks */
    bool ragged;       /* servers accept a last part whose rows no whole blocks cover */
} organ_fused_set;

#define ORGAN_FUSED_NONE_SET SIZE_MAX

/* Returns the number of the set of the tensor "PARENT.MODULE.weight" in a model of this type, or ORGAN_FUSED_NONE_SET,
 * and sets *parent to the length of "PARENT.". */
size_t organ_fused_set_of(const char *model_type, const char *weight, size_t *parent);
/* Returns row `set`; NULL after the last one. */
const organ_fused_set *organ_fused_set_at(size_t set);
/* Writes the names of the parts to `text`: "q_proj, k_proj and v_proj". */
void organ_fused_name(size_t set, char *text, size_t size);
/* Returns the length of the first part's name, which begins organ_fused_set.parts. */
size_t organ_fused_first(size_t set);

/* A tensor and its set, for arrays that organ_fused_order sorts: the parts of a set follow each other. */
typedef struct organ_fused_part {
    const char *name;
    size_t parent, set; /* of organ_fused_set_of */
    size_t index;       /* the caller's; it decides the order of the parts of a set */
} organ_fused_part;

organ_fused_part organ_fused_part_of(const char *model_type, const char *name, size_t index);
/* Returns whether blocks of `block` rows of the part, which has `rows` rows, would overlap those of the next part. */
bool organ_fused_splits_block(const organ_fused_part *part, uint64_t rows, uint64_t block);
/* For qsort. */
int organ_fused_order(const void *a, const void *b);
/* Returns whether both are parts of one matrix of servers. */
bool organ_fused_together(const organ_fused_part *a, const organ_fused_part *b);
/* Returns the number of the first array elements that are parts of one matrix; `count` is not 0. */
size_t organ_fused_length(const organ_fused_part *sorted, size_t count);

#endif
