/* SPDX-License-Identifier: MIT
 * Checks chat templates, which are Jinja programs, without running them. */
#ifndef ORGAN_UNTRUSTED_TEMPLATE_H
#define ORGAN_UNTRUSTED_TEMPLATE_H

#include "orchestrator/surgery/untrusted/findings.h"

/* Adds findings for constructs that a chat template does not need: names and attributes that give access to the
 * interpreter, also if assembled from parts or escaped; the filter attr; other templates; ranges and products of more
 * than a limit. `where` names the template in findings->file (NULL or "": the file is the template). Each kind of
 * construct has one finding, with the line where it occurs first. */
void organ_template_check(organ_findings *findings, const char *where, const char *text, size_t length);

#endif
