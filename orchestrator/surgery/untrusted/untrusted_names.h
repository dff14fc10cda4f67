/* SPDX-License-Identifier: MIT
 * Finds misleading names of files. */
#ifndef ORGAN_UNTRUSTED_NAMES_H
#define ORGAN_UNTRUSTED_NAMES_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds the faults in the name of findings->file; `name` is its last component. Faults are invisible characters,
 * characters that change the direction of writing, invalid UTF-8, letters of other scripts that resemble Latin ones,
 * and names that resemble the name of a standard file. */
void organ_names_check(organ_findings *findings, const char *name);

/* Returns true if the text contains a character that is invisible or changes the direction of writing; *code becomes
 * the first of them. */
bool organ_names_hide(const char *text, unsigned *code);

#endif
