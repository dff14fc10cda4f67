/* SPDX-License-Identifier: MIT
 * Texts with which tokenizers are compared. */
#ifndef ORGAN_PROBE_TEXTS_H
#define ORGAN_PROBE_TEXTS_H

#include "formats/tokenizer/tokenizer_parts.h"

/* A text of the table of probes; it may contain NUL. */
typedef struct organ_probe_text {
    const char *text;
    size_t bytes;
} organ_probe_text;

/* Returns text number `index` of the table, which is to be encoded alone; its `text` is NULL at the end of the table.
 */
organ_probe_text organ_probe_text_at(size_t index);

/* Appends to `text` words and lines with characters of the block of 128 code points that begins at `first`: up to three
 * characters of each general category. Returns false if memory is exhausted. */
bool organ_probe_block(uint32_t first, organ_bytes *text);

/* Appends to `text` the added token in context number `context`. Returns false if memory is exhausted, or, without
 * appending anything, if `context` is ORGAN_PROBE_CONTEXTS or more. */
bool organ_probe_added(const char *token, size_t bytes, unsigned context, organ_bytes *text);
enum { ORGAN_PROBE_CONTEXTS = 12 };

#endif
