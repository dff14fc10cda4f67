/* SPDX-License-Identifier: MIT
 * Checks safetensors and GGUF files, indexes, and whole models. */
#ifndef ORGAN_UNTRUSTED_WEIGHTS_H
#define ORGAN_UNTRUSTED_WEIGHTS_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* Adds a finding for each fault in the header of an open safetensors file of `size` bytes, and in the names of its
 * tensors. */
void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size);

/* Adds a finding for each fault in the header of an open GGUF file of `size` bytes, in the names of its tensors, in its
 * chat templates and in its tokenizer. `data`: the file also has the data of the tensors; false: it is a header that
 * organ extract has stored. */
void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data);

/* Reads the index at `path` and adds a finding for each shard that it names and that does not exist in the directory
 * `folder`, or one if the index cannot be read. */
void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder);

/* Opens the model at `path` like any verb and adds a finding for each problem that is not yet among the findings. */
void organ_weights_check_model(organ_findings *findings, const char *path);

#endif
