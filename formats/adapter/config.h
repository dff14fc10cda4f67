/* SPDX-License-Identifier: MIT
 * adapter_config.json of peft: which rank and which scale the pair of a module has. */
#ifndef ORGAN_ADAPTER_CONFIG_H
#define ORGAN_ADAPTER_CONFIG_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct organ_adapter_patterns;

/* All zero is empty. */
typedef struct organ_adapter_config {
    json_t *json; /* as it is in the file */
    int64_t r;
    double alpha;
    bool rslora, dora, fan_in_fan_out;
    const char *base;                              /* base_model_name_or_path, "" if null */
    struct organ_adapter_patterns *ranks, *alphas; /* NULL: none */
} organ_adapter_config;

/* Reads and checks the file; see organ_adapter_open. `label` names it in messages. The caller releases *config also after an error. */
organ_status organ_adapter_config_read(const char *path, const char *label, organ_adapter_config *config, organ_error *error);

/* Patterns of regular expressions are matched against at most so many modules in all; plain names have no such limit. */
#define ORGAN_ADAPTER_MATCHES ((size_t)1 << 20)

/* ORGAN_BAD_INPUT if the patterns of the config are too many for so many modules to be matched in reasonable time. */
organ_status organ_adapter_config_room(const organ_adapter_config *config, size_t modules, organ_error *error);

/* Rank and scale of that module. ORGAN_BAD_INPUT where a pattern cannot be matched in reasonable time. */
organ_status organ_adapter_config_of(const organ_adapter_config *config, const char *module, int64_t *rank, double *scale,
                                     organ_error *error);

void organ_adapter_config_release(organ_adapter_config *config);

#endif
