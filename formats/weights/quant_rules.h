/* SPDX-License-Identifier: MIT
 * Which modules a config means: names, patterns and classes. The time that matching takes is bounded, whatever the
 * config contains. */
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
    ORGAN_RULE_PART,  /* stands somewhere in the name */
    ORGAN_RULE_CLASS, /* of the module: Linear and its kin, which is all but embeddings, or Embedding */
    ORGAN_RULE_KINDS
} organ_rule_kind;

struct organ_rule;
struct organ_rule_machine;

/* All zero is an empty list. */
typedef struct organ_quant_rules {
    struct organ_rule *rules; /* those that are tried one after the other */
    size_t count, capacity;
    const void **values; /* of exact rules */
    size_t value_count, value_capacity;
    organ_name_table exact; /* text of an exact rule -> index of its value */
    struct organ_rule_machine *machine;
    uint64_t charged; /* for comparisons so far: what they may have taken */
} organ_quant_rules;

/* Appends a rule for `value`; `text` must outlive the list. `file` and `field` name it in messages. ORGAN_BAD_INPUT for
 * a pattern that does not compile or is too long. */
organ_status organ_quant_rules_add(organ_quant_rules *rules, organ_rule_kind kind, const char *text, const void *value,
                                   const char *file, const char *field, organ_error *error);

/* Whether a rule means the module, and the value of the one that does: exact names go before patterns, patterns before
 * classes, and among equals the first. ORGAN_BAD_INPUT where patterns take too long. */
organ_status organ_quant_rules_find(organ_quant_rules *rules, const char *module, bool embedding, const char *file,
                                    bool *found, const void **value, organ_error *error);

void organ_quant_rules_release(organ_quant_rules *rules);

#endif
