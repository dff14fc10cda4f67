/* SPDX-License-Identifier: MIT
 * For tests of allocation. */
#ifndef ALLOCATE_RIG_H
#define ALLOCATE_RIG_H

#include "orchestrator/surgery/allocate/allocate.h"

#include <check.h>

/* Nine layers of two roles with curves; to be released. */
void rig_allocation(organ_allocation *allocation);

Suite *variants_suite(void);

#endif
