/* SPDX-License-Identifier: MIT
 * Charts as SVG. Input: the values as data. Output: a document that is a complete file and may also be embedded in a
 * page.
 *
 *   chart.h      lines or bars over numbered places, in panels
 *   heat_map.h   a grid of cells
 *   ranking.h    horizontal bars with names
 *   scatter.h    points
 *   svg_embed.h  styles and tables for a page that embeds such documents
 *
 * All of them are drawn with svg_parts.h, on the axes of chart_scale.h. */
#ifndef ORGAN_SVG_H
#define ORGAN_SVG_H

#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/svg/svg_embed.h"
#include "orchestrator/report/svg/heat_map.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/svg/scatter.h"

#endif
