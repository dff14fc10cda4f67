/* SPDX-License-Identifier: MIT
 * The tables of options that have a meaning only with others (formats/base/requirements.h). The room of each operation
 * defines its table; the operation checks it, and the table of verbs refers to it. */
#ifndef ORGAN_OUTPUT_REQUIREMENTS_H
#define ORGAN_OUTPUT_REQUIREMENTS_H

#include "formats/base/requirements.h"

extern const organ_requirements organ_convert_requirements;
extern const organ_requirements organ_experts_requirements;
extern const organ_requirements organ_graft_requirements;
extern const organ_requirements organ_lora_extract_requirements;
extern const organ_requirements organ_prune_requirements;
extern const organ_requirements organ_quantize_requirements;
extern const organ_requirements organ_width_requirements;

#endif
