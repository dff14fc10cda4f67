/* SPDX-License-Identifier: MIT
 * Greedy generation: shows whether a model still produces coherent text. */
#ifndef ORGAN_GENERATE_H
#define ORGAN_GENERATE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_generate_options {
    const char *model, *prompt;
    unsigned count;                   /* limit of new tokens */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    const char *compute; /* "exact", "split", "bf16": as organ_product of kernels/kernels.h has them; NULL: exact */
} organ_generate_options;

/* Receives the text during generation, in whole UTF-8 characters. Control characters except tab and newline, and
 * invalid UTF-8, are passed as \xNN. */
typedef struct organ_listener {
    void *context;
    void (*on_text)(void *context, const char *text, size_t bytes);
} organ_listener;

/* Continues the prompt with the likeliest token each time (the lowest id of equal ones), until EOS or `count` tokens.
 * Begins the prompt with BOS if the model's tokenizer does; names of special tokens in the prompt are read as those
 * tokens. Each step runs only the new token through the model (organ_forward_continue). *report has the schema
 * organ.generate/1; the caller releases it; NULL on error. Returns ORGAN_USAGE for too little memory; ORGAN_BAD_INPUT
 * for a tokenizer or an architecture that is not supported, an empty prompt without BOS, or logits that are not finite;
 * ORGAN_IO; ORGAN_INTERRUPTED. */
organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error);

ORGAN_API_END

#endif
