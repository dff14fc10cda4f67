/* SPDX-License-Identifier: MIT
 * Rules by which a quantisation config selects modules: by name, pattern or class. The total time of matching is
 * bounded, whatever patterns the config contains. */
#ifndef ORGAN_QUANT_RULES_H
#define ORGAN_QUANT_RULES_H

#include "formats/base/name_table.h"
#include <organ/base.h>

#include <stdbool.h>
#include <stdint.h>

/* How a rule selects modules by name. */
typedef enum organ_rule_kind {
    ORGAN_RULE_EXACT, /* the text is the module's whole name */
    ORGAN_RULE_REGEX, /* regular expression that matches from the name's beginning, like Python's re.match */
    ORGAN_RULE_GLOB,  /* pattern with * and ? for the whole name */
    ORGAN_RULE_PART,  /* the name contains the text */
    ORGAN_RULE_CLASS, /* the text contains "Linear" or "Experts" (all modules but embeddings) or "Embedding" */
    ORGAN_RULE_KINDS
} organ_rule_kind;

struct organ_rule;
struct organ_rule_buffers;

/* A list of rules. A list whose members are all zero is empty. */
typedef struct organ_quant_rules {
    struct organ_rule *rules; /* `count` rules other than exact names, in the order in which they were added */
    size_t count, capacity;
    const void **values; /* the caller's value of each of the `value_count` rules of exact names */
    size_t value_count, value_capacity;
    organ_name_table exact;             /* text of an exact rule -> index into `values` */
    struct organ_rule_buffers *buffers; /* buffers for matching; NULL without regular expressions */
    uint64_t charged;                   /* cost of all matches so far (quant_rules.c); at a limit, matching fails */
} organ_quant_rules;

/* Appends a rule whose result is `value`, which may be NULL. `text` and `value` must outlive the list; `file` and
 * `field` name the rule in messages. Returns ORGAN_BAD_INPUT for a pattern that does not compile or is too long. */
organ_status organ_quant_rules_add(organ_quant_rules *rules, organ_rule_kind kind, const char *text, const void *value,
                                   const char *file, const char *field, organ_error *error);

/* The module that rules are matched with. */
typedef struct organ_quant_module {
    const char *name, *alias; /* its name, and another under which rules may select it; NULL: none */
    bool embedding;           /* the module is an embedding */
} organ_quant_module;

/* Sets *found to true if a rule selects the module, and *value to the value of that rule, else to NULL. Exact names
 * take precedence over patterns, and patterns over classes; among equals the first rule is used. `file` is the name of
 * the config, for messages. Returns ORGAN_BAD_INPUT if matching takes too long. */
organ_status organ_quant_rules_find(organ_quant_rules *rules, const organ_quant_module *module, const char *file,
                                    bool *found, const void **value, organ_error *error);

void organ_quant_rules_release(organ_quant_rules *rules);

#endif
