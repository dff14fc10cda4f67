/* SPDX-License-Identifier: MIT
 * Finds members of configuration files (JSON and YAML) that make a loader run code. */
#ifndef ORGAN_UNTRUSTED_CONFIG_H
#define ORGAN_UNTRUSTED_CONFIG_H

#include "formats/base/json_text.h"
#include "orchestrator/surgery/untrusted/findings.h"

/* Adds a finding for each member of a JSON file, at any depth, that makes a loader run code (auto_map,
 * trust_remote_code and others), and checks chat templates in it (template.h). A file of at most 1 MiB that is not
 * strict JSON also gets a finding. */
void organ_config_check(organ_findings *findings, const organ_json_source *text);

/* Adds a finding for each construct of a YAML text that makes a loader run Python: the tag !!python, and the keys
 * _target_ and trust_remote_code. */
void organ_yaml_check(organ_findings *findings, const char *text, size_t length);

#endif
