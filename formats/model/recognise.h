/* SPDX-License-Identifier: MIT
 * Distinguishes files that this program has written from all others, because --force replaces only its own. Changes
 * no file. */
#ifndef ORGAN_MODEL_RECOGNISE_H
#define ORGAN_MODEL_RECOGNISE_H

#include "formats/model/model_place.h"

#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>

/* Name of a file that marks an unfinished output; removed before the output is renamed to its final name. */
#define ORGAN_GROWING_MARK ".organ-growing"

/* The beginning of every page of a report. */
#define ORGAN_PAGE_START                                                                                               \
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"                                          \
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" "            \
    "content=\"light dark\">\n"                                                                                        \
    "<meta name=\"referrer\" content=\"no-referrer\">\n<meta http-equiv=\"Content-Security-Policy\" "

/* Returns ORGAN_OK if --force may replace `path`: nothing exists there, or it is an empty directory, an empty file, a
 * .safetensors or .gguf file, an importance matrix that ends in .dat, a list of tokens that ends in .pt, a sealed
 * report of this program, or a directory in which every file is proven to come from an input or from this program and
 * every folder has files, except those for the groups of an organ directory. A file is proven if one of these applies:
 * - the record (recognise_lists.h) lists it with its size, and the digest agrees if the record has one;
 * - the manifest of an organ directory lists it: a tensor or header by its path, a file in files/ by its size and, if
 *   stated, its digest;
 * - the directory has neither record nor manifest, and its only index or a report in organ/ lists the file;
 * - the directory has neither record nor manifest but a report in organ/, and the file is a config or a file with
 *   weights that the report's run wrote, or a report of version 0.2.0 in organ/;
 * - the directory has no record, and `like` is an organ directory made from a file of the same name and size;
 * - it is the record itself, or a sealed report in the directory or in its folder organ/;
 * - `like` (a directory or NULL), or the input that a report in organ/ names, has the same bytes under the same
 *   relative path.
 * The check never follows a link to a directory and reads at most a million entries. Returns ORGAN_USAGE for any other
 * file, for a socket, device or mount point, and for a symbolic link at `path`. The message names the first entry, in
 * byte order, that is not proven. Returns ORGAN_IO if a file or directory cannot be read. */
organ_status organ_check_replaceable(const char *path, const char *like, organ_error *error);

/* Returns ORGAN_OK if `path` does not exist, or is an empty file or a sealed report of this program; else ORGAN_USAGE,
 * also for a symbolic link. Returns ORGAN_IO if the file cannot be read. */
organ_status organ_check_report_place(const char *path, organ_error *error);

/* The same for a file whose content the caller reads and writes again, such as measurements: also returns ORGAN_OK for
 * a JSON document of this program that has no seal or was changed. */
organ_status organ_check_cache_place(const char *path, organ_error *error);

/* ---- files of this program ---- */

/* The functions below examine the file `name`, relative to the open directory `at`, which may be AT_FDCWD. They return
 * false or ORGAN_SEAL_MISSING for anything but a regular file, and also set *error if the system fails to open the file
 * (no memory, too many open files) or to read it. */

/* Return true if the file begins like a report of this program, or like a JSON document of it. That proves nothing
 * about the rest: the first serves for drafts, which are not complete, the second for files that the caller has read.
 */
bool organ_is_report_start_at(int at, const char *name, organ_error *error);

/* Returns true if the file begins like the page of a report. */
bool organ_is_page_start_at(int at, const char *name, organ_error *error);

/* Returns true if the name ends in .gguf, .safetensors or .dat (an importance matrix) and the file begins like one. A
 * file that a process still writes has the name "DIR/.4711.NAME" with the number of the process; it is judged like
 * "NAME". */
bool organ_is_weights_at(int at, const char *name, organ_error *error);

/* Members of config.json, and keys of GGUF, of a model that `quantize --repair-rank` made: the name of its adapter, and
 * the digest that only the adapter of the same run has too. */
#define ORGAN_REPAIR_ADAPTER     "organ_repair_adapter"
#define ORGAN_REPAIR_ADAPTER_KEY "quantize.repair_adapter"
#define ORGAN_REPAIR_PAIR        "organ_repair_pair"
#define ORGAN_REPAIR_PAIR_KEY    "quantize.repair_pair"

/* Returns the name of the adapter with which the model's codes were chosen, which it therefore needs. NULL: none. The
 * model's last warning then says so. `model` is one of organ_model_open. */
const char *organ_model_adapter(const organ_model *model);
/* Returns the digest that the model shares with its repair adapter. NULL: none. */
const char *organ_model_repair_pair(const organ_model *model);

/* Opens a model like organ_model_open_with, for verbs that copy codes unchanged: the tensors of a model that mlx-lm
 * quantised keep mlx-lm's names and layouts, because transformers does not load its codes. */
organ_status organ_model_open_codes(const char *path, const organ_model_access *access, organ_model **model,
                                    organ_error *error);

/* Replaces the model's stacks of experts by numbered matrices: organ_tensor_list_unstack. Pointers to its tensors
 * become invalid. Returns the errors of that function; the model is then unchanged. */
organ_status organ_model_unstack(organ_model *model, organ_error *error);

#endif
