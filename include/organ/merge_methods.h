/* SPDX-License-Identifier: MIT
 * The methods of organ merge: help, completion and recipes have these names. */
#ifndef ORGAN_API_MERGE_METHODS_H
#define ORGAN_API_MERGE_METHODS_H

/* METHOD(name) for each method, in the order of the documentation. */
/* clang-format off */
#define ORGAN_MERGE_METHODS(METHOD) \
    METHOD(linear) \
    METHOD(slerp) \
    METHOD(nuslerp) \
    METHOD(multislerp) \
    METHOD(karcher) \
    METHOD(task_arithmetic) \
    METHOD(ties) \
    METHOD(dare_linear) \
    METHOD(dare_ties) \
    METHOD(della) \
    METHOD(della_linear) \
    METHOD(breadcrumbs) \
    METHOD(breadcrumbs_ties) \
    METHOD(model_stock) \
    METHOD(nearswap) \
    METHOD(sce) \
    METHOD(arcee_fusion) \
    METHOD(ram) \
    METHOD(ramplus_tl) \
    METHOD(moments) \
    METHOD(passthrough)
/* clang-format on */

#endif
