/* SPDX-License-Identifier: MIT
 * Ranges of healthy values: for each role the expected values, and wider limits; a weight outside of these is sick. */
#ifndef ORGAN_AUTOPSY_RANGES_H
#define ORGAN_AUTOPSY_RANGES_H

#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

#include <jansson.h>

/* Infinite if there is no limit. */
typedef struct organ_limits {
    double mean; /* largest |mean| */
    double std_min, std_max;
    double min, max; /* smallest and largest allowed value */
} organ_limits;

typedef struct organ_ranges {
    struct {
        organ_limits expected, faulty;
    } of[ORGAN_ROLE_COUNT];
} organ_ranges;

/* Returns the default ranges of every role. */
organ_ranges organ_ranges_default(void);

/* Reads the defaults with the changes of a file {"schema": "organ.ranges/1", "q_proj": {"mean": 0.01, "std": [0.005,
 * 0.2], "min": -1, "max": 1}, ...}. A key is the name of a role, of a group, or "default". For each number the entry
 * of the role takes precedence over that of the group, and this one over "default"; numbers without an entry keep
 * their defaults. A number sets the limit of healthy values and also the limit of expected ones; "expected" within
 * the same object sets the latter separately. ORGAN_BAD_INPUT naming file, role, key and both values; ORGAN_IO. */
organ_status organ_ranges_read(const char *path, organ_ranges *ranges, organ_error *error);

/* Returns the ranges as the JSON of such a file. NULL without memory. */
json_t *organ_ranges_json(const organ_ranges *ranges);

#endif
