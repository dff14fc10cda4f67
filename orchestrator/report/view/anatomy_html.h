/* SPDX-License-Identifier: MIT
 * Pictures of what a model consists of. */
#ifndef ORGAN_ANATOMY_HTML_H
#define ORGAN_ANATOMY_HTML_H

#include "orchestrator/report/html/page.h"

/* The anatomy: bars of bytes for an array of {"group", "bytes"}. Nothing where it has none. */
void organ_anatomy_html_groups(organ_html *html, const json_t *groups);

/* Bytes by layer and role, from report.by_layer. Nothing where it has no layers. */
void organ_anatomy_html_bytes(organ_html *html, const json_t *report);

/* Bits per element, from the same. */
void organ_anatomy_html_bits(organ_html *html, const json_t *report);

/* Bars of bytes with their share of the whole, for rows that have `key` as their name. */
void organ_anatomy_html_bars(organ_html *html, const json_t *rows, const char *key, const char *title, const char *caption);

#endif
