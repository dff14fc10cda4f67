/* SPDX-License-Identifier: MIT
 * Bytes of tokens made text that a terminal can be given. */
#ifndef ORGAN_SPEECH_H
#define ORGAN_SPEECH_H

#include "orchestrator/report/text/text.h"

/* It must not be moved between open and close. */
typedef struct organ_speech {
    organ_text text;
    char held[8]; /* the beginning of a character whose end is still to come */
    size_t count;
    size_t heard; /* bytes of the text that were handed out */
} organ_speech;

organ_status organ_speech_open(organ_speech *speech, organ_error *error);
void organ_speech_add(organ_speech *speech, const char *bytes, size_t count);
/* What was added since the last call, but for a character that is not whole. *text is valid until the next call.
 * ORGAN_IO without memory.
 */
organ_status organ_speech_next(organ_speech *speech, const char **text, size_t *bytes, organ_error *error);
/* No more comes: what is held back is no character. */
void organ_speech_end(organ_speech *speech);
/* The whole text, to be freed; always the last call after an open; NULL with ORGAN_IO without memory. */
organ_status organ_speech_close(organ_speech *speech, char **text, organ_error *error);

#endif
