/* SPDX-License-Identifier: MIT
 * Options of an allocation. */
#ifndef ORGAN_ALLOCATE_OPTIONS_H
#define ORGAN_ALLOCATE_OPTIONS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

#define ORGAN_ALLOCATE_ROUNDS 0, 1000
#define ORGAN_ALLOCATE_TOKENS 64, 16777216
#define ORGAN_ALLOCATE_LAYERS 2, 16384

/* The options that divide a budget among targets, in all verbs that have them. */
typedef struct organ_allocate_options {
    const char *allocate; /* "global": one budget for all targets; NULL: every target gets the same sparsity or width */
    const char *budget;   /* "50%", "3.5bpw", "9GB"; NULL: the default of the command */
    const char *file;     /* file of the curves: read if it exists, else written; NULL: none */
    unsigned rounds;      /* rounds of exchanges between pairs of tensors, within ORGAN_ALLOCATE_ROUNDS */
    unsigned tokens; /* number of tokens on which divergences are measured, within ORGAN_ALLOCATE_TOKENS; 0: 1024 */
    unsigned layers; /* greatest number of measured layers, within ORGAN_ALLOCATE_LAYERS; 0: 16 */
    double way;      /* share of the way from the uniform division to that of least cost, in (0, 1]; 0 or less: 0.8 */
} organ_allocate_options;

ORGAN_API_END

#endif
