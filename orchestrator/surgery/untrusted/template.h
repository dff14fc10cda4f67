/* SPDX-License-Identifier: MIT
 * Chat templates, which are programs of Jinja: read, never run. */
#ifndef ORGAN_UNTRUSTED_TEMPLATE_H
#define ORGAN_UNTRUSTED_TEMPLATE_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds what a template has no need of for writing down a conversation: names and attributes that lead from a value to
 * the interpreter, also in pieces or with escapes; the filter attr; other templates; ranges and products that never
 * end. `where` names it in findings->file. One finding a kind of trick, with its first line. */
void organ_template_check(organ_findings *findings, const char *where, const char *text, size_t length);

#endif
