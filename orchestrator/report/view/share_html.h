/* SPDX-License-Identifier: MIT
 * Charts of shares of changes by module: how much of each change is explained by its factors, or arrived in its weight. */
#ifndef ORGAN_SHARE_HTML_H
#define ORGAN_SHARE_HTML_H

#include "orchestrator/report/html/page.h"

/* Modules of a report: objects with "role", "layer", "rank" and these members. */
typedef struct organ_share_view {
    const json_t *modules;
    const char *share;    /* of the squared norm: "explained" */
    const char *norm;     /* of the change that it is a share of: "change_norm" */
    const char *spectrum; /* singular values of the change: "spectrum"; NULL: none */
    const char *word;     /* "explained", "arrived" */
} organ_share_view;

/* Bars by role, each over all its modules together, the whisker from the least to the greatest of them; then by role and layer. Nothing
 * where no module has a share. */
void organ_html_shares(organ_html *html, const organ_share_view *view, const char *title, const char *caption);

/* Ranks by role and layer, where they are not all the same. */
void organ_html_ranks(organ_html *html, const organ_share_view *view);

/* What each lower rank would explain, from the spectra, one panel a role. Nothing without spectra. */
void organ_html_rank_curves(organ_html *html, const organ_share_view *view, const char *caption);

#endif
