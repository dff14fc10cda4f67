/* SPDX-License-Identifier: MIT
 * Cuts pairs of tensors into row ranges and assigns the ranges to ranks. */
#include "orchestrator/surgery/prune/compared.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"

/* Returns the bytes that comparing row range k reads from both models; `cuts` is an organ_cuts. */
static uint64_t compared_bytes_of(const void *cuts, size_t k)
{
    return 2 * ((const organ_cuts *)cuts)->list[k].tensor.bytes;
}

/* Cuts the tensors of the first model into row ranges, computes where the same ranges are in the second model
 * (`others`), and assigns each range to a rank. */
organ_status organ_compared_make(const organ_tensor *const *tensors, const organ_tensor *const *others, size_t count,
                                 organ_ranks *ranks, organ_compared *pairs, organ_error *error)
{
    *pairs = (organ_compared){0};
    /* 1: a tensor may be cut after any row, because the counts of a comparison do not depend on the cuts. */
    if (organ_cuts_make(tensors, count, 1, &pairs->cuts, error))
        return error->status;
    const size_t cut_count = pairs->cuts.count;
    pairs->others = organ_rows_take(cut_count + 1, sizeof *pairs->others);
    pairs->items = organ_rows_take(cut_count + 1, sizeof *pairs->items);
    if (!pairs->others || !pairs->items)
        return organ_fail_memory(error, "pairs of tensors");
    if (organ_assignment_create(ranks, cut_count, compared_bytes_of, &pairs->cuts, &pairs->assignment, error))
        return error->status;
    for (size_t k = 0; k < cut_count; k++) {
        const organ_cut *const cut = &pairs->cuts.list[k];
        const organ_tensor *const other = others[cut->of];
        pairs->others[k] = cut->tensor;
        pairs->others[k].file = other->file;
        pairs->others[k].offset = other->offset + cut->at;
        pairs->items[k] = (organ_pass_item){.tensor = &cut->tensor,
                                            .other = &pairs->others[k],
                                            .elsewhere = !organ_assignment_is_local(&pairs->assignment, k)};
        organ_rows_passed();
    }
    return ORGAN_OK;
}

void organ_compared_release(organ_compared *pairs)
{
    organ_cuts_release(&pairs->cuts);
    organ_rows_free(pairs->others);
    organ_rows_free(pairs->items);
    organ_assignment_release(&pairs->assignment);
    *pairs = (organ_compared){0};
}
