/* SPDX-License-Identifier: MIT
 * adapter_config.json of peft: rank and scale of the pair of each module. */
#ifndef ORGAN_ADAPTER_CONFIG_H
#define ORGAN_ADAPTER_CONFIG_H

#include "formats/adapter/adapter.h"

#include <stddef.h>
#include <stdint.h>

struct organ_adapter_patterns;

/* Settings of single modules. All zero is empty. */
typedef struct organ_adapter_rules {
    struct organ_adapter_patterns *ranks, *alphas; /* NULL: none */
} organ_adapter_rules;

/* Reads and checks the file and sets the members of *adapter that it contains, see organ_adapter_open. `label` names
 * the file in messages. The caller releases *rules and adapter->config also after an error. */
organ_status organ_adapter_config_read(const char *path, const char *label, organ_adapter *adapter,
                                       organ_adapter_rules *rules, organ_error *error);

/* Most modules that are matched with regular expressions; plain names have no limit. */
#define ORGAN_ADAPTER_MATCHES ((size_t)1 << 20)

/* Returns ORGAN_BAD_INPUT if there are too many patterns to match so many modules in reasonable time. */
organ_status organ_adapter_rules_check_limit(const organ_adapter_rules *rules, size_t modules, organ_error *error);

/* Sets rank and scale of a module. ORGAN_BAD_INPUT if a pattern cannot be matched in reasonable time. */
organ_status organ_adapter_rules_of(const organ_adapter_rules *rules, const organ_adapter *adapter, const char *module,
                                    int64_t *rank, double *scale, organ_error *error);

void organ_adapter_rules_release(organ_adapter_rules *rules);

#endif
