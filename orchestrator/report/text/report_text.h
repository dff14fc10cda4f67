/* SPDX-License-Identifier: MIT
 * Text of reports. Input: documents, which are JSON objects that surgery builds from members. Output: their bytes, and
 * words and tables for a screen, a file or a page.
 *
 *   words.h        sentences with placeholders for members
 *   field_table.h  tables of rows, on text_table.h
 *   text.h         text of any origin: escaped, folded and shortened
 *   markup.h       escapes text for a page; text_table.h escapes it for Markdown
 *
 * Two headers are for all folders of the program:
 *
 *   document.h     reads, prints and writes documents
 *   members.h      builds documents */
#ifndef ORGAN_REPORT_TEXT_H
#define ORGAN_REPORT_TEXT_H

#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/markup.h"
#include "orchestrator/report/text/text.h"
#include "orchestrator/report/text/words.h"

#endif
