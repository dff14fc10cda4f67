/* SPDX-License-Identifier: MIT
 * Checks the headers of files with weights. */
#ifndef ORGAN_UNTRUSTED_WEIGHTS_H
#define ORGAN_UNTRUSTED_WEIGHTS_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* Adds the faults in the header of an open safetensors file, and in the names in it. */
void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size);

/* Checks a GGUF file, including its metadata: chat templates and the tokenizer. With `data` false the file is a header
 * without the tensor data. */
void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data);

/* Adds the files that the index at `path` names and that do not exist in its directory `folder`. */
void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder);

/* Adds the faults of the model at `path` as a whole, except those found before. */
void organ_weights_check_model(organ_findings *findings, const char *path);

#endif
