/* SPDX-License-Identifier: MIT
 * Text of reports. In go documents, JSON objects that surgery makes of members; out come their bytes, and words and
 * tables for a screen, a
 * file or a page.
 *
 *   words.h        sentences with places for members
 *   field_table.h  tables of rows, on text_table.h
 *   text.h         text of any origin made harmless, folded and cut; markup.h and text_table.h quote it for a page and
 *                  for Markdown
 *
 * beside two doors for everybody:
 *
 *   document.h     documents: reading, printing and writing them
 *   members.h      making them */
#ifndef ORGAN_REPORT_TEXT_H
#define ORGAN_REPORT_TEXT_H

#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/markup.h"
#include "orchestrator/report/text/text.h"
#include "orchestrator/report/text/words.h"

#endif
