/* SPDX-License-Identifier: MIT
 * safetensors files and the index of a model that has several. In goes a file: 8 bytes of length (little endian), JSON,
 * then the data of the tensors without holes; or model.safetensors.index.json, which says which shard of a model holds
 * which tensor. Out come tensors, every claim about them checked against the size of the file. */
#ifndef ORGAN_SAFETENSORS_H
#define ORGAN_SAFETENSORS_H

#include "formats/base/arena.h"
#include "formats/base/faults.h"
#include "formats/tensor/tensor_list.h"

/* How the weights of a directory begin: an index of several files, or one file. */
#define ORGAN_INDEX_NAME  "model.safetensors.index.json"
#define ORGAN_SINGLE_NAME "model.safetensors"

/* ---- one file ---- */

/* As in the reference reader of the format: nothing of that size is a header. */
#define ORGAN_SAFETENSORS_HEADER_LIMIT 100000000u

/* PyTorch supports at most 64 dimensions. */
#define ORGAN_SAFETENSORS_RANK_LIMIT 64u

/* The format sets no limit; names of real models stay below 200 bytes, and messages and logs must hold them. */
#define ORGAN_SAFETENSORS_NAME_LIMIT 4096u

/* Reads the header of files[index] (name, fd and size are set), sets its data_offset, first and count, and appends its
 * tensors to `list`: ordered by offset, everything filled in. Accepted is what the reference reader of the format
 * accepts, a __metadata__ of null and unknown fields among it, except:
 * - two tensors of one name, and a name with a NUL in it: they are ambiguous;
 * - numbers beyond 63 bits, which only shapes without elements can have;
 * - an entry that is a list of three and no object, which the format does not provide for;
 * - more than ORGAN_JSON_VALUES values in one field, and the limits above.
 * A tensor that another file has brought into `list` is refused. After an error the list can only be released. */
organ_status organ_safetensors_read(organ_model_file *files, size_t index, organ_tensor_list *list, organ_error *error);

/* The same, and goes on after a fault of one tensor, which `faults` takes: tensors that nothing is wrong with are in
 * the list. The fault that ends the reading is in `error`. */
organ_status organ_safetensors_survey(organ_model_file *files, size_t index, organ_tensor_list *list,
                                      const organ_faults *faults, organ_error *error);

/* ---- the index: model.safetensors.index.json ---- */

typedef struct organ_shard_entry {
    const char *tensor;
    size_t file; /* index into organ_shards.files */
} organ_shard_entry;

/* All zero is an empty index. */
typedef struct organ_shards {
    const char *label;          /* the index file in messages; the caller's */
    const char **files;         /* plain names, sorted, each once */
    organ_shard_entry *entries; /* in the order of the index */
    size_t file_count, entry_count, entry_capacity;
    const char *total_size; /* metadata.total_size as it is written; NULL if there is none */
    uint64_t total_bytes;   /* its value, if it is one */
    bool total_is_number;
    organ_arena arena;
    organ_name_table file_names, tensor_names;
} organ_shards;

/* No index is longer: that of a model of a million tensors has some 120 MB. */
#define ORGAN_INDEX_LIMIT ((size_t)256 << 20)

/* Reads an index. Every name of a file in it is a plain name: without '/', not "." or "..", not hidden. The caller
 * releases *shards also after an error. */
organ_status organ_shards_read(const char *path, const char *label, organ_shards *shards, organ_error *error);

#define ORGAN_SHARDS_WARNING 400

/* Every tensor of the index is in files[0 .. file_count), in the order of shards->files, or the model is not whole:
 * ORGAN_BAD_INPUT. `warning` is one sentence where a tensor is in another of these files than the index says, or not in
 * the index at all, else "". Loaders take from the index the names of the files alone. */
organ_status organ_shards_check(const organ_shards *shards, const organ_tensor_list *list,
                                char warning[ORGAN_SHARDS_WARNING], organ_error *error);

/* Whether metadata.total_size is absent or says `bytes`. */
bool organ_shards_total_is(const organ_shards *shards, uint64_t bytes);

/* The same for an index that was loaded. */
organ_status organ_shards_parse(const char *bytes, size_t length, const char *label, organ_shards *shards,
                                organ_error *error);

void organ_shards_release(organ_shards *shards);

#endif
