/* SPDX-License-Identifier: MIT
 * Ranges of healthy values for each role: the expected values, and wider limits. A weight outside the expected range
 * gets a remark, a weight outside the limits a finding. */
#ifndef ORGAN_AUTOPSY_RANGES_H
#define ORGAN_AUTOPSY_RANGES_H

#include <organ/base.h>
#include <organ/models.h>

#include <jansson.h>

/* Limits of the statistics of a weight. An infinite number means no limit. */
typedef struct organ_limits {
    double mean;             /* largest |mean| */
    double std_min, std_max; /* of the standard deviation */
    double min, max;         /* smallest and largest allowed value */
} organ_limits;

/* The ranges of all roles. A weight gets a remark beyond `expected`, a finding beyond `faulty`. */
typedef struct organ_ranges {
    struct {
        organ_limits expected, faulty;
    } of[ORGAN_ROLE_COUNT];
} organ_ranges;

/* Returns the default ranges of every role. */
organ_ranges organ_ranges_default(void);

/* Reads a file such as {"schema": "organ.ranges/1", "q_proj": {"mean": 0.01, "std": [0.005, 0.2], "min": -1, "max": 1},
 * ...} and applies its entries to the defaults. A key is the name of a role, of a group, or "default". For each number
 * the entry of the role takes precedence over the entry of its group, and the entry of the group over "default";
 * numbers without an entry keep their defaults. A number sets both the limit of findings and the limit of remarks; a
 * member "expected" in the same object sets the limit of remarks separately. Returns ORGAN_BAD_INPUT if the file is
 * malformed or a range is empty, with the place in the message, or ORGAN_IO if the file cannot be read. */
organ_status organ_ranges_read(const char *path, organ_ranges *ranges, organ_error *error);

/* Returns the ranges as JSON in the form that organ_ranges_read reads. NULL if memory runs out. */
json_t *organ_ranges_json(const organ_ranges *ranges);

#endif
