/* SPDX-License-Identifier: MIT
 * Finds members of configuration files that make a loader run code. */
#ifndef ORGAN_UNTRUSTED_CONFIG_H
#define ORGAN_UNTRUSTED_CONFIG_H

#include "formats/base/json_text.h"
#include "orchestrator/surgery/untrusted/findings.h"

/* Adds a finding for each member of a JSON file, at any depth, that requests code (auto_map, trust_remote_code and
 * others), and for chat templates with access to the interpreter (template.h). A small file that is not strict JSON
 * is a finding too. */
void organ_config_check(organ_findings *findings, const organ_json_source *text);

/* Adds a finding for each tag or key in a YAML text that calls Python. */
void organ_yaml_check(organ_findings *findings, const char *text, size_t length);

#endif
