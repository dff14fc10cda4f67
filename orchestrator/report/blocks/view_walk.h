/* SPDX-License-Identifier: MIT
 * Prints a view for a terminal, as Markdown or as a page. */
#ifndef ORGAN_VIEW_WALK_H
#define ORGAN_VIEW_WALK_H

#include "orchestrator/report/blocks/block.h"

/* Prints a view of the report as text for a terminal of the width and encoding in `page`. `tensors`: includes the
 * blocks marked ON_TENSORS. The caller frees *text, which is NULL on error. Returns ORGAN_IO if out of memory. */
organ_status organ_view_terminal(const organ_view *view, const json_t *report, const organ_page *page, bool tensors,
                                 char **text, organ_error *error);
/* Prints a view as Markdown. *text and the returned status are as with organ_view_terminal. */
organ_status organ_view_markdown(const organ_view *view, const json_t *report, char **text, organ_error *error);
/* Prints a view as an HTML page. *text and the returned status are as with organ_view_terminal. The page ends with the
 * report's definitions and run, unless an ENDING block printed them before. */
organ_status organ_view_page(const organ_view *view, const json_t *report, char **text, organ_error *error);

/* Draws one chart with panels as an SVG document, which the caller frees; *svg is NULL on error. If no row of the
 * report belongs to a layer, the chart is one empty panel with the words "no values". Returns ORGAN_IO if out of
 * memory. */
organ_status organ_panels_svg(const organ_panels_of *panels, const json_t *report, char **svg, organ_error *error);

#endif
