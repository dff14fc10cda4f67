/* SPDX-License-Identifier: MIT
 * The end of a verb that returns a document and keeps none after an error. */
#ifndef ORGAN_REPORT_END_H
#define ORGAN_REPORT_END_H

#include "formats/base/memory_watch.h"

/* Ends `memory`, which the verb began before its work; `what` names the input in messages. Returns ORGAN_IO if memory
 * ran out for the document. After an error it releases *report and sets it to NULL, except after ORGAN_CHECK_FAILED:
 * then the document lists what failed. A verb whose output can be whole although its evaluation failed keeps the
 * document: it calls organ_memory_work_end in the place of this function. */
organ_status organ_report_end(const organ_memory_work *memory, json_t **report, const char *what, organ_error *error);

#endif
