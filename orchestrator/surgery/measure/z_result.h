/* SPDX-License-Identifier: MIT
 * Results of the Z-measure "z/1" for one tensor. */
#ifndef ORGAN_Z_RESULT_H
#define ORGAN_Z_RESULT_H

#include "formats/base/api.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

ORGAN_API_BEGIN

#define ORGAN_Z_DEFINITION    "z/1"
#define ORGAN_SEED_DEFINITION "seed/1" /* the older measure: seed_measure.h */
#define ORGAN_Z_LEVELS        65536    /* distinct values are counted exactly up to here */

/* Results of the older measure, if requested. */
typedef struct organ_seed_z {
    bool there;     /* all members below are set */
    double e, k, c; /* entropy, kurtosis, spacings: 0 to 1 */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */
    unsigned scales;
    double dI_dlog2s; /* if scales >= 2 */
} organ_seed_z;

typedef struct organ_z {
    bool done;          /* this tensor was measured: all members below are set */
    const char *reason; /* why there is no theta, one static sentence; NULL if there is one */

    /* Set if there is a theta. */
    double e, k, c; /* entropy, kurtosis, scale coherence: 0 (noise) to 1 */
    double power;   /* their mean S */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */

    /* Computed from the finite values; all 0 if the type cannot be read. */
    organ_moments moments;
    double std;      /* of all values, not of a sample */
    double kurtosis; /* excess; 0 if std is 0 */
    uint32_t levels; /* distinct values, -0 and +0 being one; ORGAN_Z_LEVELS + 1: more than ORGAN_Z_LEVELS */

    /* Computed over scales 1, 2, 4 ..., each with at least 16 pairwise means along rows, not all equal; an unpaired
     * end of a row is omitted. */
    unsigned scales;       /* number of scales */
    double dI_dlog2s;      /* bits per octave: -0.5 for noise, 0 for structure that survives scaling; if scales >= 2 */
    double coherence;      /* clamp(1 + 2 dI_dlog2s, 0, 1); if scales >= 2 */
    double information[5]; /* I(s): h + log2 of the standard deviation, for those scales */

    organ_seed_z seed; /* set only with organ_z_options.seed */
} organ_z;

ORGAN_API_END

#endif
