/* SPDX-License-Identifier: MIT
 * Reads the headers of safetensors files, and the index of a model in several files. A safetensors file has 8 bytes
 * with the length of its header (little endian), the header as JSON, and the data of the tensors without holes.
 * model.safetensors.index.json maps each tensor to a file (shard). Every offset and length is checked against the
 * size of the file. */
#ifndef ORGAN_SAFETENSORS_H
#define ORGAN_SAFETENSORS_H

#include "formats/base/arena.h"
#include "formats/tensor/tensor_list.h"

/* File names of the weights in a model directory: an index of several files, or one file. */
#define ORGAN_INDEX_NAME  "model.safetensors.index.json"
#define ORGAN_SINGLE_NAME "model.safetensors"

/* ---- one file ---- */

/* Upper bound on the bytes of a header, as in the format's reference reader; a larger length means that the file is not
 * safetensors. */
#define ORGAN_SAFETENSORS_HEADER_LIMIT 100000000u

/* Upper bound on the dimensions of a tensor, as in PyTorch. */
#define ORGAN_SAFETENSORS_RANK_LIMIT 64u

/* Upper bound on the bytes of a tensor's name. The format has no limit; names of real models have fewer than 200 bytes,
 * and this bound keeps messages and logs short. */
#define ORGAN_SAFETENSORS_NAME_LIMIT 4096u

/* Reads the header of files[index], whose name, fd and size are set. Sets the file's data_offset, first and count, and
 * appends its tensors to `list`, ordered by offset. Returns ORGAN_BAD_INPUT if the header is malformed or the tensors
 * do not fill the file. Accepts what the reference reader of the format accepts, including a __metadata__ of null and
 * unknown fields, except:
 * - two tensors of one name, and names that contain NUL, since both are ambiguous;
 * - numbers beyond 63 bits, which only shapes without elements can have;
 * - an entry that is a list of three instead of an object, which the format does not define;
 * - more than ORGAN_JSON_VALUES values in one field, and the limits above.
 * If `list` already has a tensor of the same name from another file, the entry of the name becomes the new tensor; the
 * caller removes the other one (organ_tensor_list_drop_replaced). If a name of the list was unwrapped, two tensors of
 * one name are an error. After an error the list can only be released. */
organ_status organ_safetensors_read(organ_model_file *files, size_t index, organ_tensor_list *list, organ_error *error);

/* Reads a header like organ_safetensors_read, but continues after faults of single tensors and passes them to `faults`.
 * `list` gets the tensors whose entries in the header have no fault, also those with a duplicate name or overlapping
 * data. `error` receives a fault that ends the reading. */
organ_status organ_safetensors_survey(organ_model_file *files, size_t index, organ_tensor_list *list,
                                      const organ_faults *faults, organ_error *error);

/* ---- the index: model.safetensors.index.json ---- */

/* A row of the index: a tensor and the file that should contain it. */
typedef struct organ_shard_entry {
    const char *tensor; /* its name */
    size_t file;        /* index into organ_shards.files */
} organ_shard_entry;

/* The parsed index. An index whose members are all zero is empty. */
typedef struct organ_shards {
    const char *label;          /* name of the index file in messages; owned by the caller */
    const char **files;         /* file names without folders, sorted, without duplicates */
    organ_shard_entry *entries; /* in the order of the index file */
    size_t file_count, entry_count, entry_capacity;
    const char *total_size; /* metadata.total_size as text; NULL if absent */
    uint64_t total_bytes;   /* value of total_size, if total_is_number */
    bool total_is_number;
    organ_arena arena;             /* memory of the names */
    organ_name_table file_names;   /* file name -> its number in the order of appearance in the index */
    organ_name_table tensor_names; /* tensor -> index into entries */
} organ_shards;

/* Upper bound on the bytes of an index: a model of a million tensors has one of about 120 MB. */
#define ORGAN_INDEX_LIMIT ((size_t)256 << 20)

/* Reads the index at `path`. Names of files must be plain: without '/', not "." or "..", not hidden. `label` is the
 * name of the index in messages. The caller releases *shards, also after an error. */
organ_status organ_shards_read(const char *path, const char *label, organ_shards *shards, organ_error *error);

#define ORGAN_SHARDS_WARNING 800 /* bytes */

/* Removes from `list`, the tensors of all files, those of which a later file has one of the same name: transformers
 * reads the files in the order of their names, also if weight_map says otherwise. Returns their number; if it is not 0,
 * `warning` becomes one sentence. */
size_t organ_shards_drop_replaced(const organ_shards *shards, organ_tensor_list *list,
                                  char warning[ORGAN_SHARDS_WARNING]);

/* Makes `warning` one sentence if `directory` has files named like shards ("X-00003-of-00003.safetensors") that the
 * index does not name, probably left from an earlier version. */
void organ_shards_find_unnamed(const organ_shards *shards, const char *directory, char warning[ORGAN_SHARDS_WARNING]);

/* Compares the index with the tensors of its files: `list`, in which organ_tensor.file is an index into shards->files.
 * Returns ORGAN_BAD_INPUT if a tensor of the index is missing. `warning` becomes one sentence if a tensor is in another
 * file than the index says, or not in the index at all, else "". Neither is an error, because loaders use only the file
 * names of an index. */
organ_status organ_shards_check(const organ_shards *shards, const organ_tensor_list *list,
                                char warning[ORGAN_SHARDS_WARNING], organ_error *error);

/* Returns true if metadata.total_size is absent or equals `bytes`. */
bool organ_shards_total_is(const organ_shards *shards, uint64_t bytes);

/* Parses an index of `length` bytes in memory like organ_shards_read. */
organ_status organ_shards_parse(const char *bytes, size_t length, const char *label, organ_shards *shards,
                                organ_error *error);

void organ_shards_release(organ_shards *shards);

#endif
