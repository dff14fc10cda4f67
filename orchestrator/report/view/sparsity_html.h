/* SPDX-License-Identifier: MIT
 * What the pages of a pruning and of its audit have in common: both count killed weights. */
#ifndef ORGAN_SPARSITY_HTML_H
#define ORGAN_SPARSITY_HTML_H

#include "orchestrator/report/html/page.h"

/* Killed weights over both denominators, coverage and tensors, on top. */
void organ_sparsity_merits(organ_html *html, const json_t *report);

/* Killed weights over both denominators, by projection and by layer: sections with charts and tables. */
void organ_sparsity_sections(organ_html *html, const json_t *report);

/* How large the target weights are, and which part of each size was killed, of report.magnitudes; nothing where there is none. */
void organ_magnitudes_section(organ_html *html, const json_t *report);

/* Where in one tensor the killed weights lie, of report.tile_map; nothing where there is none. */
void organ_sparsity_tiles(organ_html *html, const json_t *report);

/* All target tensors of report.tensors; of very many those farthest from the mean. */
void organ_sparsity_tensors(organ_html *html, const json_t *report);

#endif
