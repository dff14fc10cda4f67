/* SPDX-License-Identifier: MIT
 * Rules that select the modules which a config names: by name, pattern or class. The time of matching is bounded,
 * whatever the config contains. */
#ifndef ORGAN_QUANT_RULES_H
#define ORGAN_QUANT_RULES_H

#include "formats/base/name_table.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum organ_rule_kind {
    ORGAN_RULE_EXACT, /* the name of the module */
    ORGAN_RULE_REGEX, /* as re.match of Python: from the beginning of the name on */
    ORGAN_RULE_GLOB,  /* * and ?, of the whole name */
    ORGAN_RULE_PART,  /* the text is a part of the name */
    ORGAN_RULE_CLASS, /* of the module: Linear and its kin, which is all but embeddings, or Embedding */
    ORGAN_RULE_KINDS
} organ_rule_kind;

struct organ_rule;
struct organ_rule_machine;

/* All zero is an empty list. */
typedef struct organ_quant_rules {
    struct organ_rule *rules; /* rules other than exact names, tried in order */
    size_t count, capacity;
    const void **values; /* of exact rules */
    size_t value_count, value_capacity;
    organ_name_table exact; /* text of an exact rule -> index of its value */
    struct organ_rule_machine *machine;
    uint64_t charged; /* cost of all matches so far, for the limit of time */
} organ_quant_rules;

/* Appends a rule for `value`; `text` must outlive the list. `file` and `field` name it in messages. ORGAN_BAD_INPUT for
 * a pattern that does not compile or is too long. */
organ_status organ_quant_rules_add(organ_quant_rules *rules, organ_rule_kind kind, const char *text, const void *value,
                                   const char *file, const char *field, organ_error *error);

/* Returns whether a rule matches the module, and sets the value of that rule: exact names precede patterns, patterns
 * precede classes, and among equals the first applies. ORGAN_BAD_INPUT if patterns take too long. */
organ_status organ_quant_rules_find(organ_quant_rules *rules, const char *module, bool embedding, const char *file,
                                    bool *found, const void **value, organ_error *error);

void organ_quant_rules_release(organ_quant_rules *rules);

#endif
