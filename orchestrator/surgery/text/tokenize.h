/* SPDX-License-Identifier: MIT
 * Lists the tokens of a text. */
#ifndef ORGAN_TOKENIZE_H
#define ORGAN_TOKENIZE_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "formats/remote/access.h"
#include "orchestrator/stream/stop.h"

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

typedef struct organ_tokenize_options {
    const char *model;
    const char *text;                 /* path of the text; "-": standard input */
    bool ids;                         /* report all ids, not only the first tokens */
    bool special;                     /* read names of special tokens in the text as these tokens, not as characters */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_tokenize_options;

/* Tokenizes a text of up to 1 GiB. *report has the schema organ.tokenize/1; the caller releases it; NULL on error. BOS
 * is reported, but not counted. Returns ORGAN_BAD_INPUT if the text is longer or the tokenizer is not supported,
 * ORGAN_IO if reading or memory fails, ORGAN_INTERRUPTED if `stop` (NULL: none) is set. */
organ_status organ_tokenize(const organ_tokenize_options *options, const organ_stop *stop, json_t **report,
                            organ_error *error);

ORGAN_API_END

#endif
