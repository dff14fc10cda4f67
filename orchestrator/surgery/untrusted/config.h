/* SPDX-License-Identifier: MIT
 * What a configuration asks a loader for beside numbers. */
#ifndef ORGAN_UNTRUSTED_CONFIG_H
#define ORGAN_UNTRUSTED_CONFIG_H

#include "formats/base/json_text.h"
#include "orchestrator/surgery/untrusted/findings.h"

/* Adds what the members of a JSON file ask for, however deep they stand: code (auto_map, trust_remote_code and others),
 * chat templates that reach out (template.h). A small file that is no strict JSON is a finding too. */
void organ_config_check(organ_findings *findings, const organ_json_text *text);

/* The same for YAML, of which only tags and keys that call Python are looked for. */
void organ_yaml_check(organ_findings *findings, const char *text, size_t length);

#endif
