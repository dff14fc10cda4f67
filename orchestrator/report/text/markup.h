/* SPDX-License-Identifier: MIT
 * Text of any origin in HTML and XML. */
#ifndef ORGAN_MARKUP_H
#define ORGAN_MARKUP_H

#include <stdio.h>

/* Writes `s` as text or as the value of an attribute: characters of markup are escaped; control characters, marks that
 * change the direction of writing and invalid UTF-8 become \xNN; characters that no document may contain (U+FFFE,
 * U+FFFF) become U+FFFD. */
void organ_markup_text(FILE *out, const char *s);

#endif
