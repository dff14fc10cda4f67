/* SPDX-License-Identifier: MIT
 * Converts the bytes of tokens to text that is safe for a terminal. */
#ifndef ORGAN_TEXT_STREAMER_H
#define ORGAN_TEXT_STREAMER_H

#include "orchestrator/report/text/text.h"

/* Must not be moved between open and close. */
typedef struct organ_text_streamer {
    organ_text text;
    char held[8]; /* an incomplete character */
    size_t count;
    size_t printed; /* bytes of the text that organ_text_streamer_next has returned */
} organ_text_streamer;

organ_status organ_text_streamer_open(organ_text_streamer *streamer, organ_error *error);
void organ_text_streamer_add(organ_text_streamer *streamer, const char *bytes, size_t count);
/* Returns the text added since the last call, without an incomplete character at its end. *text is valid until the next
 * call. ORGAN_IO without memory. */
organ_status organ_text_streamer_next(organ_text_streamer *streamer, const char **text, size_t *bytes,
                                      organ_error *error);
/* Ends the text: an incomplete character is written as \xNN. */
void organ_text_streamer_end(organ_text_streamer *streamer);
/* Returns the whole text in *text, which the caller frees. Always the last call after an open. NULL with ORGAN_IO
 * without memory. */
organ_status organ_text_streamer_close(organ_text_streamer *streamer, char **text, organ_error *error);

#endif
