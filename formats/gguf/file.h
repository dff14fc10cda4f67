/* SPDX-License-Identifier: MIT
 * Reads GGUF files: header, key-values, tensors, split files, and the fields of a config. Builds the header of
 * a new file and computes the offsets of its tensors. The reader checks every offset and length against the size of the
 * file. */
#ifndef ORGAN_GGUF_FILE_H
#define ORGAN_GGUF_FILE_H

#include "formats/base/arena.h"
#include <organ/models.h>
#include "formats/tensor/tensor_list.h"

/* ---- the header of one file ---- */

#define ORGAN_GGUF_DEFAULT_ALIGNMENT 32u /* bytes, if general.alignment is absent */
#define ORGAN_GGUF_RANK_LIMIT        4u  /* dimensions of a tensor */
#define ORGAN_GGUF_NAME_LIMIT        64u /* bytes of a tensor's name, without NUL */

/* The header of one file. A header whose members are all zero is empty. */
typedef struct organ_gguf_header {
    organ_gguf view; /* metadata of this file; split_count is 1 */
    uint64_t tensor_count;
    uint64_t data_offset; /* file offset of the tensor data */
    uint64_t data_end;    /* file offset of the end of the last tensor */
    uint64_t padded_end;  /* data_end rounded up to the alignment */
    organ_gguf_kv *kvs;   /* view.kvs, owned */
    organ_arena arena;    /* keys and values */
} organ_gguf_header;

/* Reads the header of files[index], whose name, fd and size are set, and appends its tensors to `list` in file
 * order. The data of each tensor must begin at the end of the previous one, rounded up to the alignment. The file
 * need not contain the data, so a stored header can be read. Versions 1 to 3, little endian. A tensor whose name
 * `list` already has is an error. The caller releases *header, also after an error; `list` can then only be
 * released. */
organ_status organ_gguf_read_header(const organ_model_file *files, size_t index, organ_gguf_header *header,
                                    organ_tensor_list *list, organ_error *error);

/* Reads the header of a file that also contains the data: does the same as organ_gguf_read_header, and sets
 * data_offset, first and count of files[index]. Also returns ORGAN_BAD_INPUT if the file ends before the end of a
 * tensor, or has bytes after the padding of the last tensor. */
organ_status organ_gguf_read(organ_model_file *files, size_t index, organ_gguf_header *header, organ_tensor_list *list,
                             organ_error *error);

/* Does the same as organ_gguf_read, but if it can continue after a fault, passes the fault to `faults`: a duplicate
 * key, a wrong general.alignment, a fault of one tensor. `list` gets the tensors without a fault, and those whose only
 * fault is a duplicate name or data past the end of the file. `error` receives a fault that ends the reading; *header
 * has the key-values read before it. */
organ_status organ_gguf_survey(organ_model_file *files, size_t index, organ_gguf_header *header,
                               organ_tensor_list *list, const organ_faults *faults, organ_error *error);

/* Sets *padded to `value` rounded up to a multiple of `alignment`; returns false on overflow. */
bool organ_gguf_pad(uint64_t value, uint64_t alignment, uint64_t *padded);

/* Returns true for a valid general.alignment: a power of two (required by llama.cpp) or a multiple of 8 (required by
 * the specification). */
bool organ_gguf_alignment_is_legal(uint64_t alignment);

void organ_gguf_header_release(organ_gguf_header *header);

/* ---- models in several files: NAME-00001-of-00003.gguf ---- */

/* Upper bound on the number of parts of a model. */
#define ORGAN_GGUF_SPLIT_LIMIT 65535u

/* Parses a file name NAME-00001-of-00003.gguf. Sets *part (from 1) and *parts and returns the length of NAME; 0 if
 * the name does not have this form. */
size_t organ_gguf_split_parse(const char *file_name, unsigned *part, unsigned *parts);

/* Returns the file name of part `part` (from 1), in the arena: the first `length` bytes of `name`, the numbers and
 * ".gguf". NULL if memory is exhausted. */
char *organ_gguf_split_name(organ_arena *arena, const char *name, size_t length, unsigned part, unsigned parts);

/* Returns whether the name is that of a projector (mmproj-*.gguf): the image part of a model, published next to the
 * GGUF file of the model. */
bool organ_gguf_is_projector(const char *file_name);
/* Returns whether the file is one by its architecture, "clip", which is among the first key-values. */
bool organ_gguf_file_is_projector(const char *path);

/* Sets *parts to the number of files of the model according to the key split.count; 1 for a file that is not split.
 * Returns ORGAN_BAD_INPUT if a key has the wrong type or a value out of range, or if the number differs from that in
 * the file name. */
organ_status organ_gguf_split_of(const char *file_name, const organ_gguf *gguf, unsigned *parts, organ_error *error);

/* Checks that the part whose header was read last, number `index` (from 0) of `parts`, belongs to the same model as the
 * first part; `part` and `first` are the metadata of the two. `tensors` is the number of tensors of all parts read so
 * far; after the last part it must equal split.tensors.count. Returns ORGAN_BAD_INPUT if a key contradicts `index`,
 * `parts`, `tensors` or the architecture of the first part. */
organ_status organ_gguf_split_check(const char *file_name, const organ_gguf *part, const organ_gguf *first,
                                    unsigned index, unsigned parts, uint64_t tensors, organ_error *error);

/* ---- writing ---- */

/* Builds the header of a file of version 3, and computes the offsets of the tensors' data. */
typedef struct organ_gguf_writer organ_gguf_writer;

/* The finished layout; owned by the writer. */
typedef struct organ_gguf_layout {
    const unsigned char *bytes; /* the file up to the data: the header with its padding */
    size_t size;                /* of `bytes` */
    const uint64_t *offsets;    /* file offset of each tensor, in the order of the calls that added them */
    uint64_t file_size; /* includes padding after the last tensor; the gaps between tensors must contain zeros */
} organ_gguf_layout;

/* The key with the text of config.json in a GGUF file whose architecture organ convert knows only by name. */
#define ORGAN_GGUF_CONFIG "organ.config"

/* Returns whether a key says in which files of a split model the tensors are ("split.*"). */
bool organ_gguf_is_of_split(const char *key);
/* Returns whether two values have the same type and bytes. */
bool organ_gguf_same_value(const organ_gguf_kv *one, const organ_gguf_kv *other);

/* Creates an empty writer. All functions of the writer return ORGAN_IO if memory is exhausted. */
organ_status organ_gguf_writer_create(organ_gguf_writer **writer, organ_error *error);
void organ_gguf_writer_destroy(organ_gguf_writer *writer); /* NULL is allowed */

/* Sets a key to a copy of the value, which is encoded as in organ_gguf.kvs. An existing key keeps its position; a
 * new one is appended. Returns ORGAN_BAD_INPUT for an invalid general.alignment. */
organ_status organ_gguf_writer_kv(organ_gguf_writer *writer, const organ_gguf_kv *kv, organ_error *error);

/* Sets a key to a whole number. An existing key with a whole number keeps its type; a new key gets `type`, which
 * must be an integer type. Returns ORGAN_BAD_INPUT if the value does not fit. */
organ_status organ_gguf_writer_set_integer(organ_gguf_writer *writer, const char *key, organ_gguf_type type,
                                           int64_t value, organ_error *error);
/* Sets a key to a number: BOOL (of which all but 0 is true), F32, or an integer as organ_gguf_writer_set_integer. */
organ_status organ_gguf_writer_set_number(organ_gguf_writer *writer, const char *key, organ_gguf_type type,
                                          double value, organ_error *error);
/* Sets a key to an array of `count` elements, which are encoded in the `size` bytes of `elements`: numbers one after
 * the other, strings as their length in 8 bytes and their bytes. */
organ_status organ_gguf_writer_set_array(organ_gguf_writer *writer, const char *key, organ_gguf_type element,
                                         uint64_t count, const void *elements, size_t size, organ_error *error);
/* Sets a key to a string of `length` bytes; replaces a value of any type. */
organ_status organ_gguf_writer_set_string(organ_gguf_writer *writer, const char *key, const char *text, size_t length,
                                          organ_error *error);

/* Returns the key-value that would be written, or NULL. Valid until the writer is changed. */
const organ_gguf_kv *organ_gguf_writer_find(const organ_gguf_writer *writer, const char *key);

/* Returns the key-values that would be written as a view, as if they were read from a file of version 3. It is valid
 * until the writer is changed. */
organ_gguf organ_gguf_writer_view(const organ_gguf_writer *writer);

/* Removes a key if it exists. */
void organ_gguf_writer_remove(organ_gguf_writer *writer, const char *key);

/* Appends a tensor with its shape, slowest axis first. Returns ORGAN_BAD_INPUT if GGUF cannot store it: an empty name
 * or one of more than 64 bytes, more than 4 dimensions, a type that GGUF does not have, rows that are not whole blocks.
 * Does not detect duplicate names. */
organ_status organ_gguf_writer_tensor(organ_gguf_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                                      const uint64_t *shape, organ_error *error);

/* Upper bound in bytes on the alignment of a written file. The header is padded to the alignment, so a small input file
 * could otherwise demand 4 GiB of padding. */
#define ORGAN_GGUF_WRITTEN_ALIGNMENT (16u << 20)

/* Computes the layout of the file with the alignment of the key general.alignment (32 if absent). *layout is valid
 * until the writer is changed or destroyed. Returns ORGAN_BAD_INPUT for an alignment above
 * ORGAN_GGUF_WRITTEN_ALIGNMENT, or if the file would exceed 2^63 - 1 bytes. */
organ_status organ_gguf_writer_finish(organ_gguf_writer *writer, organ_gguf_layout *layout, organ_error *error);

#endif
