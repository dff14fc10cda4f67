/* SPDX-License-Identifier: MIT
 * Checks the headers of files with weights. */
#ifndef ORGAN_UNTRUSTED_WEIGHTS_H
#define ORGAN_UNTRUSTED_WEIGHTS_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* Adds the faults in the header of an open safetensors file of `size` bytes, and in the names of its tensors. */
void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size);

/* Does the same for a GGUF file; also checks its chat templates and tokenizer. With `data` false the file is a header
 * without the tensor data. */
void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data);

/* Adds a finding for each file that the index at `path` names and that does not exist in the directory `folder`. */
void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder);

/* Opens the model at `path` and adds its faults, except those that are among the findings already. */
void organ_weights_check_model(organ_findings *findings, const char *path);

#endif
