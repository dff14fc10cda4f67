/* SPDX-License-Identifier: MIT
 * What the pages of a pruning and of its audit have in common: both count killed weights. */
#ifndef ORGAN_SPARSITY_HTML_H
#define ORGAN_SPARSITY_HTML_H

#include "orchestrator/report/html_page.h"

/* Killed weights over both denominators, coverage and tensors, on top. */
void organ_sparsity_merits(organ_html *html, const json_t *report);

/* Sections with charts and tables: denominators, projections, layers, one tensor, all tensors. */
void organ_sparsity_sections(organ_html *html, const json_t *report);

#endif
