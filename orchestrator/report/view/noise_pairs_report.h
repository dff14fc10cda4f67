/* SPDX-License-Identifier: MIT
 * A document organ.noise_pairs/1 for people; the text is for the caller to free. */
#ifndef ORGAN_NOISE_PAIRS_REPORT_H
#define ORGAN_NOISE_PAIRS_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* The content of NOISE_PAIRS_REPORT.md. */
organ_status organ_noise_pairs_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ orthogonality --pair ...` says at its end. */
organ_status organ_noise_pairs_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* A page. */
organ_status organ_noise_pairs_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that several views show. Rows are report.projections (key "projection") or report.layers (key "layer"), with the total below them:
 * the noises beside each other, and both beside the change. */
organ_table *organ_noise_pairs_noises(const json_t *report, const char *rows, const char *key);
organ_table *organ_noise_pairs_change(const json_t *report, const char *rows, const char *key);

/* Every module, the first `most`. */
organ_table *organ_noise_pairs_modules(const json_t *report, size_t most);

/* "fp8 (FP8 E4M3, block 128 x 128, F32 scales)" */
void organ_noise_pairs_name(FILE *out, const json_t *model);

#endif
