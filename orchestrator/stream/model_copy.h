/* SPDX-License-Identifier: MIT
 * A growing copy of a model in which some tensors get other bytes of the same length: same headers, same offsets, so
 * that the donor's index stays valid. A thread of its own copies all that is not replaced (reflink, else
 * organ_direct_copy) while the replaced tensors are written. Processes that write one copy together each copy their
 * share of it. */
#ifndef ORGAN_MODEL_COPY_H
#define ORGAN_MODEL_COPY_H

#include "formats/model/model.h"
#include "orchestrator/stream/copy_tree.h"
#include "orchestrator/stream/publish.h"
#include "orchestrator/stream/stop.h"

typedef struct organ_model_copy organ_model_copy;

/* Makes the files in the partial directory, a single one under the name `single` (NULL: that of the donor's). Files
 * that an unfinished run has left keep what is in `replaced` (a flag per tensor of the model). In a process that
 * attends the output of another one (organ_publish_attend) the files are there. ORGAN_IO where the disk has not room
 * for all. `donor`, `publish`, `replaced` and `stop` must outlive the copy. */
organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced,
                                    const char *single, const organ_stop *stop, organ_model_copy **copy,
                                    organ_error *error);

/* How the files were made, so many bytes of it: for the processes that attend the output. Lives as long as the copy. */
const char *organ_model_copy_made(const organ_model_copy *copy, size_t *bytes);

/* Starts copying the share of process `writer` of `writers`: of the bytes around `replaced`, and of the other files of
 * the donor's directory; a donor's own organ/ folder goes to organ/donor/. `made`: what organ_model_copy_made of the
 * process says that has made the files. ORGAN_IO. */
organ_status organ_model_copy_start(organ_model_copy *copy, const char *made, size_t writer, size_t writers,
                                    organ_error *error);

/* Writes part of a replaced tensor at `offset` in a file. Reports a fault of the copying thread too. One caller at a
 * time. */
organ_status organ_model_copy_write(organ_model_copy *copy, size_t file, const void *data, size_t bytes,
                                    uint64_t offset, organ_error *error);

/* Reads back a range of a file of the copy. */
organ_status organ_model_copy_read(const organ_model_copy *copy, size_t file, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error);

/* Waits for the copying thread and brings everything that this process has written to the disk. */
organ_status organ_model_copy_finish(organ_model_copy *copy, organ_error *error);

/* Stops the copying thread if it still runs, closes and frees. NULL is allowed. */
void organ_model_copy_end(organ_model_copy *copy);

/* Lists the other files that a copy of this model includes. ORGAN_USAGE for a model of more than one file behind a URL:
 * HTTP cannot list them. */
organ_status organ_model_other_files(const organ_model *donor, organ_file_list *list, organ_error *error);

#endif
