/* SPDX-License-Identifier: MIT
 * Divides tensors into stretches, the units of a run: ranges of rows of a tensor larger than ORGAN_STRETCH_BYTES, other
 * tensors whole. The division depends only on the tensor, not on the number of processes. So sums that are
 * added range by range are the same with any number of processes, and a run can be continued with another number. */
#ifndef ORGAN_OUTPUT_STRETCHES_H
#define ORGAN_OUTPUT_STRETCHES_H

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <organ/models.h>
#include <organ/stream.h>

/* Limit of a unit in bytes: small enough that a stack of experts gives every process of a cluster a unit, large enough
 * that the journal, with a line for each unit, stays small in comparison. */
#define ORGAN_STRETCH_BYTES ((uint64_t)64 << 20)

/* Values of the argument `rows` of organ_stretches_make: n > 0: stretches may end after each n rows of a matrix; also:
 */
#define ORGAN_STRETCH_WHOLE    ((uint64_t)0) /* tensors are not divided */
#define ORGAN_STRETCH_MATRICES UINT64_MAX    /* divided only between the matrices of a stack */

/* A row range of a tensor, or a whole tensor. */
typedef struct organ_stretch {
    /* The row range as a tensor of shape [matrices][rows][cols] with the name of the whole tensor. */
    organ_tensor tensor;
    const char *unit;  /* its name in the journal: "NAME (row 128)"; NAME if it is a whole tensor */
    size_t of;         /* index of its tensor in organ_stretches.tensors */
    uint64_t at;       /* bytes of the tensor before the row range */
    uint64_t shape[3]; /* array of tensor.shape; not used if the range is a whole tensor */
} organ_stretch;

/* Row ranges of some tensors, and the digests of their new bytes. */
typedef struct organ_stretches {
    const organ_tensor *const *tensors;
    size_t tensor_count;
    organ_stretch *list; /* in the order of the tensors and their rows */
    size_t count;
    size_t *first;                           /* index of each tensor's first row range; the last entry is `count` */
    char (*xxh3)[17];                        /* XXH3 of each tensor's new bytes, 16 hexadecimal digits; "" if unknown */
    struct organ_stretches_digests *digests; /* the digests in progress */
    organ_arena names;                       /* owns the names of row ranges */
} organ_stretches;

/* Divides the tensors into stretches of about ORGAN_STRETCH_BYTES at the places that `rows` allows. `tensors` must
 * outlive the stretches, which the caller frees even after an error. Returns ORGAN_IO if out of memory. */
organ_status organ_stretches_make(const organ_tensor *const *tensors, size_t count, uint64_t rows,
                                  organ_stretches *stretches, organ_error *error);
void organ_stretches_release(organ_stretches *stretches); /* all zero is allowed */

bool organ_stretches_is_whole(const organ_stretches *stretches, size_t stretch);

/* Adds new bytes [at, at + bytes) of row range `stretch` to the digest of its tensor. `xxh3` is set only if the calls
 * cover the tensor from its beginning to its end without a gap; otherwise organ_stretches_complete sets it later.
 * Different tensors may be digested at the same time. Returns ORGAN_IO if memory runs out. */
organ_status organ_stretches_digest(organ_stretches *stretches, size_t stretch, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error);

/* Completes `xxh3` for tensors that several processes or an earlier run have written: reads their bytes from `written`,
 * the output opened as a model. All ranks call it and each reads its share. Returns errors of reading. */
organ_status organ_stretches_complete(organ_stretches *stretches, const organ_model *written, organ_ranks *ranks,
                                      organ_error *error);

/* ---- obsolete settings of config.json ---- */

/* Removes obsolete settings from config.json. sparsity_config, at the top or inside quantization_config or
 * compression_config, describes a sparse storage that the tensors no longer have, and servers reject a model because of
 * it. Every verb that writes a config.json omits it, prints a note and lists it in its document as
 * "left_out_settings". */

/* Removes obsolete settings from `config`, the text of the model's config.json, and adds their number to *stripped.
 * Does nothing if tensors of the model are stored in the sparse format that the settings describe. */
organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error);

/* Removes obsolete settings from the copy of the model's config.json in the directory `to`, and adds their number to
 * *stripped. If `to` is NULL, only counts them. Does nothing for GGUF models, organ directories, and models without
 * config.json. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error);

/* Begins to edit config.json of a safetensors model; `label` names it in messages. Returns whether it has one: not for
 * GGUF files and after an error. The caller calls organ_json_edit_release in all cases. */
bool organ_config_open(const organ_model *model, const char *label, organ_json_edit *config, organ_error *error);

/* Sets a member of config.json: inside text_config if it is there, or if `both` and there is a text_config; at the top
 * if it is there, if it was not set inside, or if `both`. Takes `value` over; NULL means that the caller had no memory.
 */
organ_status organ_config_set(organ_json_edit *config, const char *name, json_t *value, bool both, organ_error *error);

/* Replaces config.json in the directory `to`, if it is there, by the text of `config`. Returns ORGAN_IO if it
 * cannot. */
organ_status organ_config_replace(const char *to, const organ_json_edit *config, organ_error *error);

/* Prints a note if `stripped`, the number of removed settings, is not 0. */
void organ_leftovers_note(const organ_progress *progress, size_t stripped);

/* Adds the member "left_out_settings" to a document if settings were removed. */
void organ_leftovers_report(json_t *document, size_t stripped);

#endif
