/* SPDX-License-Identifier: MIT
 * What is asked of an allocation. */
#ifndef ORGAN_ALLOCATE_OPTIONS_H
#define ORGAN_ALLOCATE_OPTIONS_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

#define ORGAN_ALLOCATE_ROUNDS 0, 1000
#define ORGAN_ALLOCATE_TOKENS 64, 16777216
#define ORGAN_ALLOCATE_LAYERS 2, 16384

typedef struct organ_allocate_options {
    const char *allocate; /* "global": one budget for all targets; NULL: each tensor gets the same */
    const char *budget;   /* "50%", "3.5bpw", "9GB"; NULL: as the verb says otherwise */
    const char *file;     /* where curves are kept: read if it is there, else written; NULL: nowhere */
    unsigned rounds;      /* of exchanges between pairs of tensors, within ORGAN_ALLOCATE_ROUNDS */
    unsigned tokens; /* number of tokens on which divergences are measured, within ORGAN_ALLOCATE_TOKENS; 0: 1024 */
    unsigned layers; /* at most so many layers are measured, within ORGAN_ALLOCATE_LAYERS; 0: 16 */
    double way;      /* from uniform to least cost, 0 .. 1; negative: 0.8 */
} organ_allocate_options;

ORGAN_API_END

#endif
