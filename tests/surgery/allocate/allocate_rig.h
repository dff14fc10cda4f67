/* SPDX-License-Identifier: MIT
 * For tests of allocation. */
#ifndef ALLOCATE_RIG_H
#define ALLOCATE_RIG_H

#include "orchestrator/surgery/allocate/allocate.h"

#include <check.h>

/* Makes nine layers of two roles with curves, which the caller releases. */
void rig_allocation(organ_allocation *allocation);

Suite *programme_suite(void), *variants_suite(void);

#endif
