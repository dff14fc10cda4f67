/* SPDX-License-Identifier: MIT
 * Finds misleading names of files. */
#ifndef ORGAN_UNTRUSTED_NAMES_H
#define ORGAN_UNTRUSTED_NAMES_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds findings for the name of findings->file; `name` is its last component. A name is misleading if it has invalid
 * UTF-8, an invisible character, a character that changes the direction of writing, or a letter of another script that
 * resembles a Latin one. It is also misleading if it resembles the name of a standard file, ends with a space or a dot,
 * or begins with a space. */
void organ_names_check(organ_findings *findings, const char *name);

/* Returns whether the text contains a character that is invisible or changes the direction of writing, or a byte that
 * is no valid UTF-8. Sets *code to the first such character or byte. */
bool organ_names_hide(const char *text, unsigned *code);

#endif
