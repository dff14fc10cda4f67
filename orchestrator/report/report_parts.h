/* SPDX-License-Identifier: MIT
 * What several reports show the same way. */
#ifndef ORGAN_REPORT_PARTS_H
#define ORGAN_REPORT_PARTS_H

#include "orchestrator/report/text_table.h"

#include <jansson.h>

/* report.projections: name, tensors, mean, min, max, killed, of elements, percent; the last row is totals.target. */
organ_table *organ_projections_table(const json_t *report);

/* Killed weights over both denominators, each named and counted. */
organ_table *organ_totals_table(const json_t *report);

/* An array of {"check", "ok", "detail"}. */
organ_table *organ_checks_table(const json_t *checks);

/* report.files: name, tensors, size. */
organ_table *organ_files_table(const json_t *report);

/* Writes the table and destroys it: for the page, with an empty line behind it, or as Markdown where `page` is NULL. */
organ_status organ_table_emit(organ_table *table, FILE *out, const organ_page *page, organ_error *error);

/* "organ audit DONOR OUTPUT --targets ..." for the run that an organ.prune/1 tells of, as a shell takes it; newline at the end. */
void organ_audit_command(FILE *out, const json_t *report);

/* "22.41 %" */
const char *organ_percent_text(double percent, char out[32]);

/* "tiny-qwen2 (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB)" from an object like report.donor. */
void organ_model_line(FILE *out, const json_t *model);

/* `s` as one word of a POSIX shell; control characters by $'\n' notation. */
void organ_shell_word(FILE *out, const char *s);

/* "1 file", "3 files" */
void organ_plural(FILE *out, unsigned long long count, const char *one, const char *many);

#endif
