/* SPDX-License-Identifier: MIT
 * What is asked of an allocation. */
#ifndef ORGAN_ALLOCATE_OPTIONS_H
#define ORGAN_ALLOCATE_OPTIONS_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_allocate_options {
    const char *allocate; /* "global": one budget for all targets; NULL: each tensor gets the same */
    const char *budget;   /* "50%", "3.5bpw", "9GB"; NULL: as the verb says otherwise */
    const char *file;     /* where curves are kept: read if it is there, else written; NULL: nowhere */
    unsigned rounds;      /* of exchanges between pairs of tensors, 0 .. 1000 */
    unsigned tokens;      /* number of tokens on which divergences are measured, 64 .. 16777216; 0: 1024 */
    unsigned layers;      /* at most so many layers are measured, 2 .. 16384; 0: 16 */
    double way;           /* from uniform to least cost, 0 .. 1; negative: 0.8 */
} organ_allocate_options;

ORGAN_API_END

#endif
