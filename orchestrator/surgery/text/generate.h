/* SPDX-License-Identifier: MIT
 * Greedy text: whether a model still speaks. */
#ifndef ORGAN_GENERATE_H
#define ORGAN_GENERATE_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_generate_options {
    const char *model, *prompt;
    unsigned count;                   /* tokens to make, at most */
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
    const char *compute; /* "exact", "split", "bf16": as organ_product of kernels.h has them; NULL: exact */
} organ_generate_options;

/* Hears what is said as it is said: whole UTF-8 characters; control characters but tab and newline, and what is not
 * UTF-8, as \xNN. */
typedef struct organ_listener {
    void *context;
    void (*hear)(void *context, const char *text, size_t bytes);
} organ_listener;

/* Continues the prompt with the likeliest token each time (the lowest id of equals), until EOS or `count` tokens. BOS
 * stands before the prompt where the model's tokenizer puts one; names of special tokens in the prompt are those
 * tokens. Each new token alone goes through the model (organ_forward_continue). *report is schema organ.generate/1; the
 * caller releases it; NULL on error. ORGAN_USAGE: too little memory. ORGAN_BAD_INPUT: what tokenizer or forward pass do
 * not know, no token to begin with, logits that are not finite. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error);

ORGAN_API_END

#endif
