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
#define ORGAN_Z_LEVELS        65536    /* distinct values are counted exactly up to this number */

/* Results of the older measure seed/1 for one tensor. */
typedef struct organ_seed_z {
    bool there;       /* the measure was requested and the tensor has a result: all members below are set */
    double e, k, c;   /* from entropy, kurtosis and spacings of sorted values: 0 (noise) to 1 */
    double signal;    /* sin theta */
    double theta;     /* degrees, 0 to 90 */
    unsigned scales;  /* number of scales */
    double dI_dlog2s; /* bits per octave, as in organ_z; set if scales >= 2 */
} organ_seed_z;

/* Results of z/1 for one tensor. */
typedef struct organ_z {
    bool done;          /* this tensor was measured: all members below are set */
    const char *reason; /* why there is no theta: a constant clause; NULL: there is one */

    /* Set if there is a theta. */
    double e, k, c; /* from entropy, kurtosis and the spacings of quantiles: 0 (noise) to 1 */
    double power;   /* mean of e, k and c */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */

    /* Computed from the finite values; all 0 if the type cannot be read. */
    organ_moments moments;
    double std;      /* population standard deviation of the values */
    double kurtosis; /* excess; 0 if std is 0 */
    uint32_t levels; /* distinct values, -0 and +0 being one; ORGAN_Z_LEVELS + 1: more than ORGAN_Z_LEVELS */

    /* Computed over scales 1, 2, 4 ...: a value at scale s is the mean of s neighbouring values of a row; the unpaired
     * end of a row is omitted. Only scales with at least 16 values that are not all equal. */
    unsigned scales; /* number of scales */
    /* Change of information per doubling of the scale, in bits: -0.5 for noise, 0 for structure that survives scaling;
     * set if scales >= 2. */
    double dI_dlog2s;
    double coherence; /* clamp(1 + 2 dI_dlog2s, 0, 1); set if scales >= 2 */
    /* Information in bits, information[k] at scale 2^k for k < scales: entropy of the standardised values + log2 of the
     * standard deviation of the values. */
    double information[5];

    organ_seed_z seed; /* set if organ_z_options.seed is true */
} organ_z;

ORGAN_API_END

#endif
