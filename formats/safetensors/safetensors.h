/* SPDX-License-Identifier: MIT
 * Readers of safetensors files and of the index of a model in several files. A safetensors file has 8 bytes of header
 * length (little endian), JSON, and the data of the tensors without holes. model.safetensors.index.json maps each
 * tensor to a shard. The readers check every offset and length against the size of the file. */
#ifndef ORGAN_SAFETENSORS_H
#define ORGAN_SAFETENSORS_H

#include "formats/base/arena.h"
#include "formats/base/faults.h"
#include "formats/tensor/tensor_list.h"

/* File names of the weights in a model directory: an index of several files, or one file. */
#define ORGAN_INDEX_NAME  "model.safetensors.index.json"
#define ORGAN_SINGLE_NAME "model.safetensors"

/* ---- one file ---- */

/* Limit of the format's reference reader; larger lengths mean that the file is not safetensors. */
#define ORGAN_SAFETENSORS_HEADER_LIMIT 100000000u

/* The maximal number of dimensions in PyTorch. */
#define ORGAN_SAFETENSORS_RANK_LIMIT 64u

/* The format has no limit. Names of real models have fewer than 200 bytes; this bound keeps messages and logs short. */
#define ORGAN_SAFETENSORS_NAME_LIMIT 4096u

/* Reads the header of files[index], whose name, fd and size are set. Sets its data_offset, first and count, and
 * appends its tensors to `list`, complete and ordered by offset. Accepts what the reference reader of the format
 * accepts, including a __metadata__ of null and unknown fields, except:
 * - two tensors of one name, and names that contain NUL, since both are ambiguous;
 * - numbers beyond 63 bits, which only shapes without elements can have;
 * - an entry that is a list of three instead of an object, which the format does not define;
 * - more than ORGAN_JSON_VALUES values in one field, and the limits above.
 * A tensor whose name `list` already has from another file is an error. After an error the list can only be released.
 */
organ_status organ_safetensors_read(organ_model_file *files, size_t index, organ_tensor_list *list, organ_error *error);

/* Reads a header like organ_safetensors_read, but continues after faults of single tensors and passes them to `faults`.
 * `list` gets the tensors without a fault. `error` receives a fault that ends the reading. */
organ_status organ_safetensors_survey(organ_model_file *files, size_t index, organ_tensor_list *list,
                                      const organ_faults *faults, organ_error *error);

/* ---- the index: model.safetensors.index.json ---- */

typedef struct organ_shard_entry {
    const char *tensor;
    size_t file; /* index into organ_shards.files */
} organ_shard_entry;

/* An index whose members are all zero is empty. */
typedef struct organ_shards {
    const char *label;          /* name of the index file in messages; owned by the caller */
    const char **files;         /* file names without folders, sorted, without duplicates */
    organ_shard_entry *entries; /* in the order of the index file */
    size_t file_count, entry_count, entry_capacity;
    const char *total_size; /* metadata.total_size as text; NULL if absent */
    uint64_t total_bytes;   /* its value, if total_is_number */
    bool total_is_number;
    organ_arena arena;
    organ_name_table file_names, tensor_names;
} organ_shards;

/* Upper bound on the size of an index: that of a model of a million tensors has about 120 MB. */
#define ORGAN_INDEX_LIMIT ((size_t)256 << 20)

/* Reads an index. Names of files must be plain: without '/', not "." or "..", not hidden. The caller releases
 * *shards, also after an error. */
organ_status organ_shards_read(const char *path, const char *label, organ_shards *shards, organ_error *error);

#define ORGAN_SHARDS_WARNING 400

/* Checks that the model has every tensor of the index; ORGAN_BAD_INPUT if one is missing. The files in `list` are in
 * the order of shards->files. `warning` becomes one sentence if a tensor is in another of these files than the index
 * says, or not in the index at all, else "". Neither is an error, because loaders use only the file names of an
 * index. */
organ_status organ_shards_check(const organ_shards *shards, const organ_tensor_list *list,
                                char warning[ORGAN_SHARDS_WARNING], organ_error *error);

/* Returns true if metadata.total_size is absent or equals `bytes`. */
bool organ_shards_total_is(const organ_shards *shards, uint64_t bytes);

/* The same for an index in memory. */
organ_status organ_shards_parse(const char *bytes, size_t length, const char *label, organ_shards *shards,
                                organ_error *error);

void organ_shards_release(organ_shards *shards);

#endif
