/* SPDX-License-Identifier: MIT
 * A copy of a model in which some tensors get other bytes of the same length. Headers and offsets stay the same, so
 * the index of the original stays valid. A separate thread copies everything that is not replaced (reflink, else
 * organ_direct_copy) while the caller writes the replaced tensors. If several ranks write one copy, each copies its
 * share. */
#ifndef ORGAN_MODEL_COPY_H
#define ORGAN_MODEL_COPY_H

#include "formats/model/model.h"
#include "orchestrator/stream/copy_tree.h"
#include "orchestrator/stream/publish.h"
#include "orchestrator/stream/stop.h"

typedef struct organ_model_copy organ_model_copy;

/* Creates the files of the copy in the partial directory, a single file under the name `single` (NULL: that of the
 * original). Files of an interrupted run keep the contents of tensors in `replaced` (a flag for each tensor of the
 * model). In a rank that joined the output of another rank (organ_publish_join) the files exist already. Returns
 * ORGAN_IO if the disk has not enough space. `donor`, `publish`, `replaced` and `stop` must outlive the copy. */
organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced,
                                    const char *single, const organ_stop *stop, organ_model_copy **copy,
                                    organ_error *error);

/* Returns a record of how each file was created, *bytes long, which the first rank sends to the others for
 * organ_model_copy_start. Valid as long as the copy. */
const char *organ_model_copy_made(const organ_model_copy *copy, size_t *bytes);

/* Starts a thread that copies the share of rank `writer` of `writers`: the bytes outside of `replaced`, and the other
 * files of the original's directory; its organ/ folder is copied to organ/donor/. `made` is the result of
 * organ_model_copy_made in the rank that created the files. Returns ORGAN_IO if the thread cannot be started. */
organ_status organ_model_copy_start(organ_model_copy *copy, const char *made, size_t writer, size_t writers,
                                    organ_error *error);

/* Writes a part of a replaced tensor at `offset` of file number `file` of the model. Returns the error of the copying
 * thread if it has failed. Not for concurrent use. */
organ_status organ_model_copy_write(organ_model_copy *copy, size_t file, const void *data, size_t bytes,
                                    uint64_t offset, organ_error *error);

/* Reads a range of a file of the copy. */
organ_status organ_model_copy_read(const organ_model_copy *copy, size_t file, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error);

/* Waits for the copying thread and synchronises everything that this process has written. */
organ_status organ_model_copy_finish(organ_model_copy *copy, organ_error *error);

/* Stops the copying thread if it still runs, closes the files and frees the copy. NULL is allowed. */
void organ_model_copy_end(organ_model_copy *copy);

/* Lists the files, other than those with weights, that a copy of this model includes. Returns ORGAN_USAGE for a model
 * of more than one file behind a URL: HTTP cannot list them. */
organ_status organ_model_other_files(const organ_model *donor, organ_file_list *list, organ_error *error);

#endif
