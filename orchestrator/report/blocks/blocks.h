/* SPDX-License-Identifier: MIT
 * Views of documents as lists of blocks, and the three ways through them. In goes a document and its view, out comes a
 * text for a
 * terminal, a Markdown file or a page.
 *
 *   block.h       what a view is made of
 *   walk.h        the three ways
 *   rows.h        some of the rows of a document
 *   layer_map.h   a value for every role in every layer, for views that fold one themselves
 *
 * walk.c goes through the blocks; a place_*.c each writes them; charts.c, plots.c and panels.c draw them. */
#ifndef ORGAN_BLOCKS_H
#define ORGAN_BLOCKS_H

#include "orchestrator/report/blocks/block.h"
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/blocks/rows.h"
#include "orchestrator/report/blocks/walk.h"

#endif
