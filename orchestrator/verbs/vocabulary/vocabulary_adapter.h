/* SPDX-License-Identifier: MIT
 * Private to this room: adapters for a base with fewer tokens. */
#ifndef ORGAN_VERBS_VOCABULARY_VOCABULARY_ADAPTER_H
#define ORGAN_VERBS_VOCABULARY_VOCABULARY_ADAPTER_H

#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

/* Returns whether `path` names a LoRA adapter: a directory of peft or mlx-lm, its file, or a GGUF file. */
bool organ_vocabulary_is_adapter(const char *path);

/* Writes the adapter options->model for a base with the tokens of options->tokens. *report has the schema
 * organ.adapter_rows/1. */
organ_status organ_vocabulary_adapter(vocabulary_job *job, json_t **report, organ_error *error);

#endif
