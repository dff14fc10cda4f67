/* SPDX-License-Identifier: MIT
 * The parts of an adapter that servers load. The verdicts are those of vLLM 0.32.0, by its source and by runs. */
#ifndef ORGAN_VERBS_LORA_SERVERS_H
#define ORGAN_VERBS_LORA_SERVERS_H

#include <stdbool.h>

/* A property of an adapter that not all servers load. */
typedef struct organ_served {
    const char *name;  /* field of adapter_config.json, or kind of tensor: "embeddings" */
    const char *words; /* words of the names of such tensors, separated by '|', "": none; NULL: it is a field */
    bool served;       /* vLLM 0.32 loads it, and computes what peft does */
    const char *brief; /* reason for which sanitize removes a tensor; NULL for fields */
    const char *text;  /* a sentence */
} organ_served;

/* Returns the row of a field or kind; NULL if all servers load it. */
const organ_served *organ_served_named(const char *name);

/* Returns the first row with a word that is in the name of a tensor or module; NULL if there is none. */
const organ_served *organ_served_of(const char *name);

/* Returns row `k` of the table; NULL after the last. */
const organ_served *organ_served_row(unsigned k);

/* Returns whether vLLM 0.32 loads factors of the embedding and the output head of an architecture. */
bool organ_vllm_serves_embeddings(const char *architecture);

/* Returns whether vLLM 0.32 loads factors of experts of this architecture as stacks (target_parameters) and refuses
 * those of numbered experts. For all other mixtures it is the other way round. */
bool organ_vllm_stacks_experts(const char *architecture);

#endif
