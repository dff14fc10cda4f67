/* SPDX-License-Identifier: MIT
 * Converts the bytes of tokens to text that is safe for a terminal. */
#ifndef ORGAN_TEXT_STREAMER_H
#define ORGAN_TEXT_STREAMER_H

#include "orchestrator/report/text/text.h"

/* Must not be moved between open and close. */
typedef struct organ_speech {
    organ_text text;
    char held[8]; /* an incomplete character */
    size_t count;
    size_t printed; /* bytes of the text that organ_speech_next has returned */
} organ_speech;

organ_status organ_speech_open(organ_speech *speech, organ_error *error);
void organ_speech_add(organ_speech *speech, const char *bytes, size_t count);
/* Returns the text added since the last call, without an incomplete character at its end. *text is valid until the next
 * call. ORGAN_IO without memory. */
organ_status organ_speech_next(organ_speech *speech, const char **text, size_t *bytes, organ_error *error);
/* Ends the text: an incomplete character is written as \xNN. */
void organ_speech_end(organ_speech *speech);
/* Returns the whole text in *text, which the caller frees. Always the last call after an open. NULL with ORGAN_IO
 * without memory. */
organ_status organ_speech_close(organ_speech *speech, char **text, organ_error *error);

#endif
