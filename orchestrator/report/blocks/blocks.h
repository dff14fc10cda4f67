/* SPDX-License-Identifier: MIT
 * Views of documents as lists of blocks, and the three writers that print them. Input: a document and its view. Output:
 * text for a terminal, a Markdown file or an HTML page.
 *
 *   block.h          the blocks that a view consists of
 *   view_walk.h      the three writers
 *   document_rows.h  selections of a document's rows
 *   layer_map.h      a value for every role in every layer, for views that compute their own maps
 *
 * view_walk.c iterates over the blocks; each place_*.c writes them in one form; charts.c, plots.c and panels.c draw
 * charts.
 */
#ifndef ORGAN_BLOCKS_H
#define ORGAN_BLOCKS_H

#include "orchestrator/report/blocks/block.h"
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/blocks/document_rows.h"
#include "orchestrator/report/blocks/view_walk.h"

#endif
