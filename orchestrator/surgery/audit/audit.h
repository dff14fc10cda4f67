/* SPDX-License-Identifier: MIT
 * Comparison of two models of equal shapes by their bytes, for audits and all methods of pruning. It pairs tensors, of
 * which ranks divide the large ones; maps the killed weights of a tensor; and counts the magnitudes of target weights,
 * and in each bin those that pruning killed. */
#ifndef ORGAN_SURGERY_AUDIT_AUDIT_H
#define ORGAN_SURGERY_AUDIT_AUDIT_H

#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/ranks/ranks.h"

#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/prune.h>
#include <organ/stream.h>

#define ORGAN_PRUNE_LINES "prune.jsonl" /* file name of the lines of the targets of a pruned model */

/* organ_audit for two models of the same shapes. */
organ_status organ_audit_pruned(const organ_audit_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

/* ---- GGUF files that were written again ---- */

/* Returns whether the second model may be the first one in other GGUF files: both are GGUF files with the same tensors,
 * by name, type and shape, and the second has a report of organ gguf, or another number of files, or no tensor is of a
 * type that can be pruned. */
bool organ_audit_is_rewritten(const organ_model *donor, const organ_model *copy);

/* organ_audit for such models: compares all tensors byte by byte, and the key-values with those of the donor and of the
 * report. */
organ_status organ_audit_rewritten(const organ_audit_options *options, const organ_engine *engine,
                                   const organ_progress *progress, json_t **report, organ_error *error);

/* ---- models with fewer tokens ---- */

/* Returns whether the copy has a report of organ vocabulary that lists kept tokens. */
bool organ_audit_is_trimmed(const organ_model *copy);

/* organ_audit for such a copy: its rows are those of the listed tokens, all other tensors are the donor's, each id has
 * the same text, the merges are some of the donor's, and ids in settings follow. The report has the schema
 * organ.audit_vocabulary/1. */
organ_status organ_audit_trimmed(const organ_audit_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

/* ---- models with labels ---- */

/* Returns whether the copy has a report of organ vocabulary --labels. */
bool organ_audit_is_labelled(const organ_model *copy);

/* organ_audit for such a copy: the rows of its labels are those of their tokens, all other tensors except the head are
 * the donor's, as is the tokenizer, and the settings are the donor's with the labels. The report has the schema
 * organ.audit_labels/1. */
organ_status organ_audit_labelled(const organ_audit_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

/* ---- models with new tokens ---- */

/* Returns whether the copy has a report of organ vocabulary --add. */
bool organ_audit_is_added(const organ_model *copy);

/* organ_audit for such a copy: old rows and all other tensors are the donor's, new rows the means of those of their
 * pieces, the tokenizer is the donor's with the listed tokens, and config.json has the new number of rows. The report
 * has the schema organ.audit_vocabulary/1. */
organ_status organ_audit_added(const organ_audit_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

/* ---- drafts and adapters with rows of fewer tokens ---- */

/* Returns whether the copy has a report of organ vocabulary --draft-head, or of an adapter. */
bool organ_audit_is_of_rows(const organ_model *copy);

/* organ_audit for such a copy: its rows are those of the listed tokens, all other tensors and the settings are the
 * donor's, and d2t and t2d of a draft are the list. The report has the schema organ.audit_rows/1. */
organ_status organ_audit_rows(const organ_audit_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

/* ---- models made of a patch ---- */

/* Returns whether the copy has a report of organ patch apply. */
bool organ_audit_is_patched(const organ_model *copy);

/* organ_audit for such a copy and its base: tensors, headers and other files have the digests that the report states,
 * and tensors without changes are the base's. The report has the schema organ.audit_patch/1. */
organ_status organ_audit_patched(const organ_audit_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

/* Returns the differences of two lists of key-values except split.*, in the order of `after`, then removed ones in that
 * of `before`: [{"key", "change": "added"|"changed"|"removed", "type", "before", "after", "xxh3"}]. Texts are those of
 * organ_gguf_value_text, null if there is no such value; "xxh3" is the digest of the value after, null if removed. NULL
 * if memory runs out. */
json_t *organ_gguf_differences(const organ_gguf *before, const organ_gguf *after);

/* ---- pairs of tensors ---- */

/* The row ranges of paired tensors, for organ_pass_run. */
typedef struct organ_compared {
    organ_stretches stretches;   /* row ranges of the tensors of the first model */
    organ_tensor *others;        /* the same row ranges in the second model, each as a tensor */
    organ_pass_item *items;      /* items of a pass, one for each row range; `elsewhere` is set if another rank compares
                                  * it */
    organ_assignment assignment; /* assignment of row ranges to ranks */
} organ_compared;

/* Pairs tensors[k] of the first model with others[k] of the second, for k < count. Both must have the same shape and
 * type, and outlive *pairs. Call organ_compared_release even after an error. Returns ORGAN_IO if out of memory. */
organ_status organ_compared_make(const organ_tensor *const *tensors, const organ_tensor *const *others, size_t count,
                                 organ_ranks *ranks, organ_compared *pairs, organ_error *error);
void organ_compared_release(organ_compared *pairs); /* all zero is allowed */

/* ---- the map of killed weights ---- */

/* `rows` are `count` targets with their counts. Maps the target whose percentage of killed weights differs most from
 * the mean over all rows (of several such targets the first). *map is
 *
 *     {"tensor", "percent", "mean", "matrices", "matrix_rows", "matrix_cols", "tile", "rows", "cols",
 *      "killed": [rows x cols]}
 *
 * where "killed" has rows x cols counts, row by row. Tiles are `tile` x `tile` weights, clipped at the edges of each
 * matrix; the rows of tiles of a stack's matrices follow one another. `tile` is `block`, halved while there are fewer
 * than 256 tiles and doubled while there are more than 4,096. The caller releases *map. *map is NULL, without an error,
 * if no target is a matrix. Returns errors of organ_pass_run, and ORGAN_IO if memory runs out. */
organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error);

/* Returns a --memory, in bytes, that suffices to map the tensor with this number of workers. */
uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers);

/* ---- the histogram of magnitudes ---- */

/* Recommended argument `enough` of organ_magnitudes_open: this many weights suffice for a figure. */
#define ORGAN_MAGNITUDES_ENOUGH ((uint64_t)1 << 24)

/* The histogram. Bins are half octaves of |w| in the donor; killed weights are nonzero in the donor and zero in the
 * copy, the pruned model. Whole rows are counted: all of them if the targets have at most `enough` weights, else every
 * n-th row of each tensor from the first, with the smallest n that leaves about `enough` weights. */
typedef struct organ_magnitudes organ_magnitudes;

/* Creates an empty histogram for `count` tensors of the donor. Donor and tensors must outlive it. `enough` limits the
 * counted weights. Call organ_magnitudes_close even after an error. Returns ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_open(const organ_model *donor, const organ_tensor *const *tensors, size_t count,
                                   uint64_t enough, const organ_kernels *kernels, organ_magnitudes **magnitudes,
                                   organ_error *error);
void organ_magnitudes_close(organ_magnitudes *magnitudes); /* NULL is allowed */

/* Counts the weights of bytes [at, at + bytes) of tensor t. `data` are their bytes in the copy; the donor's are read
 * from its file. organ_magnitudes_json does not read tensors that were passed to this function, so pass either all
 * bytes of a tensor, each once, or none. Any number of threads may call it at the same time. Returns errors of
 * organ_model_read, and ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_add(organ_magnitudes *magnitudes, size_t t, const void *data, uint64_t at, size_t bytes,
                                  organ_error *error);

/* Counts the tensors that no rank has passed to organ_magnitudes_add, by reading them from donor and copy; each rank
 * reads its share. Then adds the counts of all ranks. All ranks call it. *report is
 *
 *     {"definition", "weights", "of", "every_row", "from_log2", "per_octave", "zero", "count": [...], "killed": [...]}
 *
 * where bin k starts at |w| = 2^(from_log2 + k / per_octave), and the first and the last bin include
 * everything below and above. The caller releases *report, which is NULL if there is no weight. Returns errors of
 * organ_model_read, and ORGAN_IO if memory runs out. */
organ_status organ_magnitudes_json(organ_magnitudes *magnitudes, const organ_model *copy, organ_ranks *ranks,
                                   json_t **report, organ_error *error);

#endif
