/* SPDX-License-Identifier: MIT
 * Three ways through the blocks of a view. */
#ifndef ORGAN_WALK_H
#define ORGAN_WALK_H

#include "orchestrator/report/blocks/block.h"

/* For a screen; `tensors`: with what is ON_TENSORS. *text is for the caller to free; NULL and ORGAN_IO without memory.
 */
organ_status organ_view_terminal(const organ_view *view, const json_t *report, const organ_page *page, bool tensors,
                                 char **text, organ_error *error);
organ_status organ_view_markdown(const organ_view *view, const json_t *report, char **text, organ_error *error);
/* The definitions and the run of the report stand at the end. */
organ_status organ_view_page(const organ_view *view, const json_t *report, char **text, organ_error *error);

/* A chart by itself, for the caller to free; *svg is NULL on error. Without rows in layers its panel says so. ORGAN_IO
 * without memory. */
organ_status organ_panels_svg(const organ_panels_of *panels, const json_t *report, char **svg, organ_error *error);

#endif
