/* SPDX-License-Identifier: MIT */
#include "formats/base/faults.h"

bool organ_faults_take(const organ_faults *faults, organ_error *error)
{
    if (!faults || error->status != ORGAN_BAD_INPUT)
        return false;
    faults->take(faults->context, error->message);
    *error = (organ_error){0};
    return true;
}
