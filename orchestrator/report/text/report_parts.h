/* SPDX-License-Identifier: MIT
 * What several reports show the same way. */
#ifndef ORGAN_REPORT_PARTS_H
#define ORGAN_REPORT_PARTS_H

#include "orchestrator/machine/shell_word.h"
#include "orchestrator/report/text/model_line.h"
#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* An array of {"check", "ok", "detail"}. */
organ_table *organ_checks_table(const json_t *checks);

/* Writes the table and destroys it: for the page, with an empty line behind it, or as Markdown where `page` is NULL. */
organ_status organ_table_emit(organ_table *table, FILE *out, const organ_page *page, organ_error *error);

/* A Markdown list of an array of sentences, `lead` ("- ") before each. */
void organ_sentences_list(FILE *out, const char *lead, const json_t *sentences);

/* A Markdown list of an object of terms and what they mean: "- **TERM**: SENTENCE". */
void organ_terms_list(FILE *out, const json_t *terms);

#endif
