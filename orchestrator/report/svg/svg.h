/* SPDX-License-Identifier: MIT
 * Charts as SVG. In goes what is to be seen, as data; out comes a document that stands alone, or that a page takes in.
 *
 *   chart.h      lines or bars over numbered places, in panels
 *   heat_map.h   a field of cells
 *   ranking.h    horizontal bars with names
 *   scatter.h    points
 *   embed.h      what a page needs that holds such documents
 *
 * All of them are drawn with parts.h, on the axes of chart_scale.h. */
#ifndef ORGAN_SVG_H
#define ORGAN_SVG_H

#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/svg/embed.h"
#include "orchestrator/report/svg/heat_map.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/svg/scatter.h"

#endif
