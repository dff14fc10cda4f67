/* SPDX-License-Identifier: MIT
 * "allocation" of the reports of operations that divide one budget over all tensors: what each of them got, and what
 * the same for each would have cost. */
#ifndef ORGAN_VIEW_ALLOCATION_H
#define ORGAN_VIEW_ALLOCATION_H

#include "orchestrator/report/blocks/blocks.h"

enum { ORGAN_ALLOCATION_BLOCKS = 8 };
extern const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS];

/* The member "allocation", or another one, where there is one. */
#define ALLOCATION_ON(where)         ALLOCATION_OF(where, "allocation")
#define ALLOCATION_OF(where, member) PART(where, member, BLOCKS_OF(organ_allocation_blocks))

#endif
