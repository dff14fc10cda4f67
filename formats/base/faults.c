/* SPDX-License-Identifier: MIT */
#include "formats/base/faults.h"

/* If `error` is a fault of the input (ORGAN_BAD_INPUT), passes its message to faults->take, clears `error` and
 * returns true: the reader can continue. Returns false and changes nothing for other errors (memory, I/O), and if
 * `faults` is NULL. */
bool organ_faults_take(const organ_faults *faults, organ_error *error)
{
    if (!faults || error->status != ORGAN_BAD_INPUT)
        return false;
    faults->take(faults->context, error->message);
    *error = (organ_error){0};
    return true;
}
