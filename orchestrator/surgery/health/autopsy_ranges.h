/* SPDX-License-Identifier: MIT
 * What is healthy: for each role the values that are expected, and wider limits beyond which a weight is sick. */
#ifndef ORGAN_AUTOPSY_RANGES_H
#define ORGAN_AUTOPSY_RANGES_H

#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

#include <jansson.h>

/* Infinite where there is no limit. */
typedef struct organ_limits {
    double mean; /* of |mean|, at most */
    double std_least, std_most;
    double min, max; /* no value below, none above */
} organ_limits;

typedef struct organ_ranges {
    struct {
        organ_limits expected, sick;
    } of[ORGAN_ROLE_COUNT];
} organ_ranges;

/* The defaults. */
organ_ranges organ_ranges_default(void);

/* The defaults changed by a file {"schema": "organ.ranges/1", "q_proj": {"mean": 0.01, "std": [0.005, 0.2], "min": -1,
 * "max": 1}, ...}. A key is the name of a role, of a group, or "default"; for each number the role goes before the
 * group, the group before "default", and what nobody names stays as it was. A number given is the limit of what is
 * healthy and ends what was expected; "expected" within such an object sets that again. ORGAN_BAD_INPUT naming file,
 * role, key and both values; ORGAN_IO. */
organ_status organ_ranges_read(const char *path, organ_ranges *ranges, organ_error *error);

/* As such a file. NULL without memory. */
json_t *organ_ranges_json(const organ_ranges *ranges);

#endif
