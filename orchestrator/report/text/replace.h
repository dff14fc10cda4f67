/* SPDX-License-Identifier: MIT
 * Writes documents that are not reports. This header is not installed. */
#ifndef ORGAN_REPLACE_H
#define ORGAN_REPLACE_H

#include <organ/report.h>

/* Like organ_document_write, for a file that is not a report, such as the record of a job, and whose content the caller
 * has read or owns: also replaces a JSON document of this program without a seal or with a broken one. */
organ_status organ_document_replace(const char *path, const json_t *document, organ_error *error);

#endif
