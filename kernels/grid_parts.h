/* SPDX-License-Identifier: MIT
 * The functions of organ_ggml_kind for types with codebooks. */
#ifndef ORGAN_KERNELS_GRID_PARTS_H
#define ORGAN_KERNELS_GRID_PARTS_H
#include "kernels/ggml_parts.h"

#define GRID_PARTS(X) X(iq3_xxs) X(iq2_xxs) X(iq3_s) X(iq2_s) X(iq2_xs) X(iq1_s) X(iq1_m)
#define DECLARE_PARTS(name)                                                                                            \
    void organ_split_##name(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts);                  \
    void organ_join_##name(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block);
GRID_PARTS(DECLARE_PARTS)

#endif
