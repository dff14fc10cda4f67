/* SPDX-License-Identifier: MIT
 * Generates text greedily, which shows whether a model still produces coherent text. */
#ifndef ORGAN_GENERATE_H
#define ORGAN_GENERATE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_generate_options {
    const char *model;                /* path or URL of the model */
    const char *prompt;               /* text to continue, UTF-8 */
    unsigned count;                   /* upper bound of new tokens */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    /* How products are computed: "exact", "split", "bf16" (organ_product in kernels/kernels.h); NULL: "exact". */
    const char *compute;
} organ_generate_options;

/* Receives the generated text in whole UTF-8 characters while it is generated. Control characters except tab and
 * newline, and invalid UTF-8, are passed as \xNN. */
typedef struct organ_listener {
    void *context;
    void (*on_text)(void *context, const char *text, size_t bytes);
} organ_listener;

/* Continues the prompt with the likeliest token each time (the lowest id of equal ones), until `count` tokens or one
 * that ends the text: EOS as a number or a list in generation_config.json, else in config.json, else of the tokenizer;
 * EOS, EOT and EOM of a GGUF file. Begins the prompt with BOS if the model's tokenizer does; names of special tokens in
 * the prompt are read as those tokens. Each step runs only the new token through the model (organ_forward_continue).
 * `listener` may be NULL. *report has the schema organ.generate/1; the caller releases it; NULL on error. Returns
 * ORGAN_USAGE for too little memory; ORGAN_BAD_INPUT for a tokenizer or an architecture that is not supported, an empty
 * prompt without BOS, or logits that are not finite; ORGAN_IO if reading or memory fails; ORGAN_INTERRUPTED if a stop
 * was requested. */
organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error);

ORGAN_API_END

#endif
