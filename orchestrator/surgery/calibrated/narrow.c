/* SPDX-License-Identifier: MIT
 * Removes targets that were selected by default and have no inputs in the forward pass. */
#include "orchestrator/surgery/calibrated/calibrated_job.h"

#include <stdlib.h>

/* Prints a note with the number of targets that the forward pass does not use, and the name of the first. `untapped`
 * has a flag for each tensor of the donor: true for these targets. Prints nothing if there are none. */
static void note_left_out(const organ_prune_job *base, const bool *untapped, const char *method)
{
    const organ_tensor *first = NULL;
    size_t count = 0;
    for (size_t t = 0; t < base->donor->tensor_count; t++)
        if (untapped[t]) {
            first = first ? first : &base->donor->tensors[t];
            count++;
        }
    if (count)
        organ_progress_note(base->progress,
                            "%zu matri%s no inputs in the forward pass, so %s leaves %s unchanged: %s is the first; "
                            "the report lists all kinds",
                            count, count == 1 ? "x has" : "ces have", method, count == 1 ? "it" : "them", first->name);
}

/* Removes the targets without inputs in the forward pass, and prints the note of note_left_out. */
organ_status organ_calibrated_narrow(organ_prune_job *base, const char *method, organ_error *error)
{
    bool *untapped = NULL;
    if (organ_calibration_find_untapped(base->donor, base->engine, &base->targets, &untapped, error) == ORGAN_OK &&
        organ_targets_remove(base->donor, untapped, method, &base->targets, error) == ORGAN_OK)
        note_left_out(base, untapped, method);
    free(untapped);
    return error->status;
}
