/* SPDX-License-Identifier: MIT
 * Help, made from the table of verbs. */
#ifndef ORGAN_HELP_H
#define ORGAN_HELP_H

#include "orchestrator/command/options.h"
#include "orchestrator/report/text.h"

/* `organ` without arguments: what there is. */
void organ_help_overview(FILE *out, const organ_verb *const *verbs, size_t count, const organ_page *page);

/* `organ help VERB`: all of one verb. */
void organ_help_verb(FILE *out, const organ_verb *verb, const organ_page *page);

#endif
