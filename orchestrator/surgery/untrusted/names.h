/* SPDX-License-Identifier: MIT
 * Names of files that are not what they look like. */
#ifndef ORGAN_UNTRUSTED_NAMES_H
#define ORGAN_UNTRUSTED_NAMES_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds what is wrong with the name of findings->file, of which `name` is the last part: characters that cannot be seen
 * or that turn the direction, bytes that are no text, letters of another script that look like Latin ones, and names
 * that look like one that every model has and are another. */
void organ_names_check(organ_findings *findings, const char *name);

/* Whether text has a character that cannot be seen or that turns the direction of writing; the first of them in *code.
 */
bool organ_names_hide(const char *text, unsigned *code);

#endif
