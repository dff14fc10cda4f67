/* SPDX-License-Identifier: MIT
 * Converts the bytes of tokens to text that is safe for a terminal. */
#ifndef ORGAN_TEXT_STREAMER_H
#define ORGAN_TEXT_STREAMER_H

#include "orchestrator/report/text/text.h"

/* A text that is being converted. Must not be moved between open and close. */
typedef struct organ_text_streamer {
    organ_text text;
    char held[8];   /* bytes of an incomplete character */
    size_t count;   /* number of these bytes */
    size_t printed; /* bytes of the text that organ_text_streamer_next has returned */
} organ_text_streamer;

/* Opens an empty text. Returns ORGAN_IO if memory runs out. */
organ_status organ_text_streamer_open(organ_text_streamer *streamer, organ_error *error);
/* Appends the `count` bytes of a token. */
void organ_text_streamer_add(organ_text_streamer *streamer, const char *bytes, size_t count);
/* Sets *text to the text added since the last call, without an incomplete character at its end, and *bytes to its
 * length. *text is valid until the next call. Returns ORGAN_IO if memory runs out. */
organ_status organ_text_streamer_next(organ_text_streamer *streamer, const char **text, size_t *bytes,
                                      organ_error *error);
/* Ends the text; an incomplete character is written as \xNN. */
void organ_text_streamer_end(organ_text_streamer *streamer);
/* Closes the streamer and sets *text to the whole text, which the caller frees. Must be called after every open.
 * Returns ORGAN_IO if memory runs out; *text is then NULL. */
organ_status organ_text_streamer_close(organ_text_streamer *streamer, char **text, organ_error *error);

#endif
