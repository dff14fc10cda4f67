/* SPDX-License-Identifier: MIT
 * Finds misleading names of files. */
#ifndef ORGAN_UNTRUSTED_NAMES_H
#define ORGAN_UNTRUSTED_NAMES_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds findings for the name of findings->file; `name` is its last component. Misleading are invisible characters,
 * characters that change the direction of writing, invalid UTF-8, letters of other scripts that resemble Latin ones,
 * names that resemble the name of a standard file, and a space or a dot at the end or a space at the beginning. */
void organ_names_check(organ_findings *findings, const char *name);

/* Returns whether the text contains a character that is invisible or changes the direction of writing, or a byte that
 * is no valid UTF-8. Sets *code to the first such character or byte. */
bool organ_names_hide(const char *text, unsigned *code);

#endif
