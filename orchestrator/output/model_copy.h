/* SPDX-License-Identifier: MIT
 * A copy of a model in which some tensors get other bytes of the same length. Headers and offsets stay the same, so
 * the index of the original stays valid. The workers of a pass (organ_pass) copy everything that is not replaced
 * (reflink, else direct writes or organ_copy_range) while they process and write the replaced tensors. If several ranks
 * write one copy, each copies its share. */
#ifndef ORGAN_OUTPUT_MODEL_COPY_H
#define ORGAN_OUTPUT_MODEL_COPY_H

#include "orchestrator/output/publish.h"

#include <organ/models.h>
#include <organ/stream.h>

/* Copies those files of a model's directory that an operation does not change: tokenizer, configuration, all other
 * files without weights. */

/* The files below a directory. */
typedef struct organ_file_list {
    size_t count;   /* number of files */
    char **names;   /* relative paths, in byte order */
    uint64_t bytes; /* total size of the files */
} organ_file_list;

/* Lists all regular files below `directory`, except the names in `skip`, unfinished outputs (".*.organ-partial"), notes
 * of finished outputs (".*.organ-finished") and the mark of an unfinished output (ORGAN_GROWING_MARK). Follows links to
 * files; leaves out links to directories, and all sockets and devices. Returns ORGAN_IO if a directory cannot be read
 * or a link is broken. The caller frees *list. */
organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list,
                              organ_error *error);
void organ_list_release(organ_file_list *list);

/* Returns whether a path relative to a model's directory is below its folder organ/, which has the reports on it. */
bool organ_is_report_path(const char *name);

/* Copies directory/name to to_directory/to_name with its permissions, creates missing folders, and synchronises the
 * file. */
organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name,
                             organ_error *error);

/* organ_copy_file of a file without tensors of a model. The index of a model that is shown in another form than its
 * files have (formats/model/composed.h) is written for that form. */
organ_status organ_copy_model_file(const organ_model *model, const char *directory, const char *name,
                                   const char *to_directory, const char *to_name, organ_error *error);

typedef struct organ_model_copy organ_model_copy;

/* Creates the files of the copy in the partial directory. `replaced`: a flag for each tensor of the model, true if the
 * caller writes it. `single`: name of the copy if the model has one file; NULL: the names of the original. If an
 * interrupted run is resumed, its files and the replaced tensors in them are kept. In a rank that joined the output of
 * another rank (organ_publish_join) the files exist already. Returns ORGAN_IO if the disk has not enough space.
 * `donor`, `publish` and `replaced` must outlive the copy; the caller ends it with organ_model_copy_end. *copy
 * is NULL on error. */
organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced,
                                    const char *single, organ_model_copy **copy, organ_error *error);

/* Returns how each file was created, one byte for each file of the model, and sets *bytes to their number. Rank 0 sends
 * the bytes to the other ranks, which pass them to organ_model_copy_start. They belong to the copy. */
const char *organ_model_copy_made(const organ_model_copy *copy, size_t *bytes);

/* Sets the share of rank `writer` of `writers`: of the bytes outside of `replaced`, and of the other files of the
 * original's directory; its organ/ folder is copied to organ/donor/. `made` is the result of organ_model_copy_made in
 * the rank that created the files. Returns ORGAN_IO if a file cannot be opened. */
organ_status organ_model_copy_start(organ_model_copy *copy, const char *made, size_t writer, size_t writers,
                                    organ_error *error);

/* Returns what copies the share, for organ_pass.moves of the caller's pass over replaced tensors. The pass must
 * succeed, and organ_model_copy_finish then copies nothing. */
const organ_pass_moves *organ_model_copy_moves(organ_model_copy *copy);

/* Returns whether writing waits for the disk without using the processor, for organ_pass.behind. */
bool organ_model_copy_waits(const organ_model_copy *copy);

/* Writes a part of a replaced tensor at byte `offset` of the copy of file number `file` of the model. The part belongs
 * to the unit [unit, unit + unit_bytes) of the file, whose bytes are all in the file when all its parts are written
 * and organ_model_copy_settle was called for it. Both may be called by several threads at the same time. */
organ_status organ_model_copy_write(organ_model_copy *copy, size_t file, const void *data, size_t bytes,
                                    uint64_t offset, uint64_t unit, uint64_t unit_bytes, organ_error *error);
organ_status organ_model_copy_settle(organ_model_copy *copy, size_t file, uint64_t unit, uint64_t unit_bytes,
                                     organ_error *error);

/* Reads `bytes` bytes from byte `offset` on of the copy of file number `file`. */
organ_status organ_model_copy_read(const organ_model_copy *copy, size_t file, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error);

/* Copies the share, unless a pass had organ_model_copy_moves, and synchronises the file system of the copy. Returns
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_model_copy_finish(organ_model_copy *copy, const organ_engine *engine, organ_error *error);

/* Closes the files and frees the copy. NULL is allowed. */
void organ_model_copy_end(organ_model_copy *copy);

/* Lists the files without weights that a copy of this model includes; the caller frees *list with organ_list_release.
 * Returns ORGAN_USAGE for a model at a URL that was opened as a directory or by its index, because HTTP cannot list the
 * other files. */
organ_status organ_model_other_files(const organ_model *donor, organ_file_list *list, organ_error *error);

/* Lists the files of a model that have no tensors, as names relative to *root: the model's directory or, for an organ
 * directory, its folder of copied files. The caller frees *root and the list. */
organ_status organ_extra_files_list(const organ_model *model, char **root, organ_file_list *list, organ_error *error);

/* Sets *text to the names of those files for which `named` returns true, separated by commas, after 12 names "and N
 * more", and *count to their number. The directory of a URL, which has no list, counts as empty. The caller frees
 * *text. Returns ORGAN_IO if memory runs out or the directory cannot be read. */
organ_status organ_extra_files_text(const organ_model *model, bool (*named)(const void *context, const char *name),
                                    const void *context, char **text, size_t *count, organ_error *error);

#endif
