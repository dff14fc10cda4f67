/* SPDX-License-Identifier: MIT
 * Headers of files with weights, every fault of them. */
#ifndef ORGAN_UNTRUSTED_WEIGHTS_H
#define ORGAN_UNTRUSTED_WEIGHTS_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* Adds the faults of the header of a safetensors file that is open, and of the names in it. */
void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size);

/* The same for a GGUF file, and for what its key-values have: chat templates, a tokenizer. Without `data` it is a
 * header that was kept alone.
 */
void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data);

/* Adds the files that the index at `path` names and that are not in its directory `folder`. */
void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder);

/* Adds what is wrong with the model at `path` as a whole, as far as it has not been found before. */
void organ_weights_check_model(organ_findings *findings, const char *path);

#endif
