/* SPDX-License-Identifier: MIT
 * Text of any origin in HTML and XML. */
#ifndef ORGAN_MARKUP_H
#define ORGAN_MARKUP_H

#include <stdio.h>

/* Writes `s` as text or as the value of an attribute: what markup could stumble over is quoted, control characters,
 * marks that turn the direction of writing and invalid UTF-8 become \xNN, and what may not stand in a document at all
 * (U+FFFE, U+FFFF) becomes U+FFFD. */
void organ_markup_text(FILE *out, const char *s);

#endif
