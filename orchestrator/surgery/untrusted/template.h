/* SPDX-License-Identifier: MIT
 * Checks chat templates, which are Jinja programs, without running them. */
#ifndef ORGAN_UNTRUSTED_TEMPLATE_H
#define ORGAN_UNTRUSTED_TEMPLATE_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds findings for constructs that a chat template does not need: names and attributes that give access to the
 * interpreter, also if assembled from parts or escaped; the filter attr; other templates; ranges and products
 * without limit. `where` names the template in findings->file. One finding per kind of construct, with its first
 * line. */
void organ_template_check(organ_findings *findings, const char *where, const char *text, size_t length);

#endif
