/* SPDX-License-Identifier: MIT
 * Blocks for "allocation" in the reports of operations that divide one budget over all tensors: the amount that each
 * tensor got, and the cost of an equal division for comparison. */
#ifndef ORGAN_VIEW_ALLOCATION_H
#define ORGAN_VIEW_ALLOCATION_H

#include "orchestrator/report/blocks/blocks.h"

enum { ORGAN_ALLOCATION_BLOCKS = 8 };
extern const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS];

/* Prints the member "allocation", or another member of the same form, of a report that has it. */
#define ALLOCATION_ON(where)         ALLOCATION_OF(where, "allocation")
#define ALLOCATION_OF(where, member) PART(where, member, BLOCKS_OF(organ_allocation_blocks))

#endif
