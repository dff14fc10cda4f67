/* SPDX-License-Identifier: MIT
 * What the pages of a measurement and of a fleet share. */
#ifndef ORGAN_MEASURE_HTML_H
#define ORGAN_MEASURE_HTML_H

#include "orchestrator/report/html/page.h"

/* The figures on top of the page of several models. */
void organ_measure_html_figures(organ_html *html, const json_t *models);

/* Sections on several models: their ranking with chimeras, parts, layers, kin. `models` as in an organ.measure/1. */
void organ_measure_html_fleet(organ_html *html, const json_t *report);

/* A section for each of the models, as short as their number asks for. */
void organ_measure_html_models(organ_html *html, const json_t *models);

/* Stars, and what has no theta. */
void organ_measure_html_ratings(organ_html *html, const json_t *model);

/* The wells of a model as a table, the first `most`; or that there are none. */
void organ_measure_html_wells(organ_html *html, const json_t *model, size_t most);

/* A table of the first `most` rows of a member of `model`; `what` they are called where some are left out. */
void organ_measure_html_first(organ_html *html, const json_t *model, const char *key, size_t most,
                              organ_table *(*make)(const json_t *model), const char *what, const char *caption);

#endif
