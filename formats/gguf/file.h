/* SPDX-License-Identifier: MIT
 * GGUF files, read and written. In go the bytes of a file whose every claim is checked against its size; out come its
 * key-values (gguf.h) and tensors, the set of files it belongs to, the facts of a config, and, for a model that is
 * written, a header and offsets. */
#ifndef ORGAN_GGUF_FILE_H
#define ORGAN_GGUF_FILE_H

#include "formats/base/arena.h"
#include "formats/base/faults.h"
#include "formats/gguf/gguf.h"
#include "formats/tensor/hf_config.h"
#include "formats/tensor/tensor_list.h"

/* ---- the header of one file ---- */

#define ORGAN_GGUF_DEFAULT_ALIGNMENT 32u
#define ORGAN_GGUF_RANK_LIMIT        4u
#define ORGAN_GGUF_NAME_LIMIT        64u

/* All zero is an empty header. */
typedef struct organ_gguf_header {
    organ_gguf view; /* of this file; split_count is 1 */
    uint64_t tensor_count;
    uint64_t data_offset; /* where the data of the tensors begins */
    uint64_t data_end;    /* after the last byte of the last tensor */
    uint64_t padded_end;  /* the same, padded to the alignment */
    organ_gguf_kv *kvs;
    organ_arena arena;
} organ_gguf_header;

/* Reads the header of files[index] (name, fd and size are set) and appends its tensors to `list` in the order of their
 * infos, which is that of their offsets: the data of one begins where that of the one before ends, padded to the
 * alignment. The data itself need not be there: a header that was kept without it can be read. Read are versions 1 to
 * 3, little endian. A tensor that another file has brought into `list` is refused. The caller releases *header also
 * after an error; the list can then only be released. */
organ_status organ_gguf_read_header(const organ_model_file *files, size_t index, organ_gguf_header *header,
                                    organ_tensor_list *list, organ_error *error);

/* The same for a file that has its data: sets data_offset, first and count of files[index], and refuses it unless the
 * file ends with its last tensor, padded or not. */
organ_status organ_gguf_read(organ_model_file *files, size_t index, organ_gguf_header *header, organ_tensor_list *list,
                             organ_error *error);

/* The same, and goes on after a fault of one tensor or of general.alignment, which `faults` takes: tensors that nothing
 * is wrong with are in the list, but for those whose data is past the end of the file, which are too. The fault that
 * ends the reading is in `error`; key-values that were read before it are in the header. */
organ_status organ_gguf_survey(organ_model_file *files, size_t index, organ_gguf_header *header,
                               organ_tensor_list *list, const organ_faults *faults, organ_error *error);

/* `value` rounded up to a multiple of `alignment`; false if that does not fit. */
bool organ_gguf_pad(uint64_t value, uint64_t alignment, uint64_t *padded);

/* general.alignment as a file must have it: a power of two (which llama.cpp demands) or a multiple of 8 (which the
 * format demands). */
bool organ_gguf_alignment_is_legal(uint64_t alignment);

void organ_gguf_header_release(organ_gguf_header *header);

/* ---- models in several files: NAME-00001-of-00003.gguf ---- */

/* More parts than any model has. */
#define ORGAN_GGUF_SPLIT_LIMIT 65535u

/* Length of NAME in a file name NAME-00001-of-00003.gguf, with the number of the part (from 1) and of all parts; 0 if
 * the name is not made so. */
size_t organ_gguf_split_parse(const char *file_name, unsigned *part, unsigned *parts);

/* The file name of a part (from 1): the first `length` bytes of `name`, the numbers, ".gguf". NULL if there is no
 * memory. */
char *organ_gguf_split_name(organ_arena *arena, const char *name, size_t length, unsigned part, unsigned parts);

/* What the header says of a split: *parts is 1 for a file that stands alone. ORGAN_BAD_INPUT if a key has the wrong
 * type, or the numbers contradict each other or the name of the file. */
organ_status organ_gguf_split_of(const char *file_name, const organ_gguf *gguf, unsigned *parts, organ_error *error);

/* Whether the part that was read last, number `index` (from 0) of `parts`, belongs to the model of `first`. `tensors`
 * have been read up to and with this part; after the last one they must be split.tensors.count. */
organ_status organ_gguf_split_check(const char *file_name, const organ_gguf *part, const organ_gguf *first,
                                    unsigned index, unsigned parts, uint64_t tensors, organ_error *error);

/* ---- config ---- */

/* What the program needs to know of a model, from the key-values: the same facts as from a config.json. `label` names
 * the file in messages. A known key of the wrong type, or below 0, is ORGAN_BAD_INPUT; where an array gives every layer
 * its own value, the number is -1. */
organ_status organ_gguf_config_read(const char *label, const organ_gguf *gguf, const organ_tensor_list *list,
                                    organ_hf_config *config, organ_error *error);

/* ---- writing ---- */

/* The bytes of a file of version 3 that stand before the data of its tensors, and where the data belongs. */
typedef struct organ_gguf_writer organ_gguf_writer;

/* What was made; it belongs to the writer. */
typedef struct organ_gguf_layout {
    const unsigned char *bytes; /* from the beginning of the file to the data, padding included */
    size_t size;
    const uint64_t *offsets; /* of each tensor, in the order in which they were given, from the beginning of the file */
    uint64_t file_size;      /* with the padding after the last tensor; what lies between tensors is zeros */
} organ_gguf_layout;

/* ORGAN_IO if there is no memory, as everywhere below. */
organ_status organ_gguf_writer_create(organ_gguf_writer **writer, organ_error *error);
void organ_gguf_writer_destroy(organ_gguf_writer *writer); /* NULL is allowed */

/* Sets a key: in its place if it is there, else after all others, so that unchanged keys keep their order. The value is
 * copied; it is as in organ_gguf.kvs. ORGAN_BAD_INPUT for a general.alignment that a file may not have. */
organ_status organ_gguf_writer_kv(organ_gguf_writer *writer, const organ_gguf_kv *kv, organ_error *error);

/* The same for one number: a key that is there as a whole number keeps its type, a new one gets `type`, which is one of
 * the types of whole numbers. ORGAN_BAD_INPUT if the value does not fit. */
organ_status organ_gguf_writer_set_integer(organ_gguf_writer *writer, const char *key, organ_gguf_type type,
                                           int64_t value, organ_error *error);
organ_status organ_gguf_writer_set_string(organ_gguf_writer *writer, const char *key, const char *text, size_t length,
                                          organ_error *error);

/* The key-value as it would be written; NULL: there is none. Valid until the writer is changed. */
const organ_gguf_kv *organ_gguf_writer_find(const organ_gguf_writer *writer, const char *key);

/* Takes a key away, if it is there. */
void organ_gguf_writer_remove(organ_gguf_writer *writer, const char *key);

/* Appends a tensor; its shape is given slowest axis first. ORGAN_BAD_INPUT if the format cannot hold it: a name of more
 * than 64 bytes, more than 4 dimensions, a type that GGUF does not know, rows that are no whole blocks. Names are not
 * compared with each other. */
organ_status organ_gguf_writer_tensor(organ_gguf_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                                      const uint64_t *shape, organ_error *error);

/* A header is padded to the alignment, which a file of a few bytes can say is 4 GiB. */
#define ORGAN_GGUF_WRITTEN_ALIGNMENT (16u << 20)

/* Lays everything out with general.alignment (32 if there is none). *layout is valid until the writer is changed or
 * destroyed. ORGAN_BAD_INPUT for an alignment beyond ORGAN_GGUF_WRITTEN_ALIGNMENT. */
organ_status organ_gguf_writer_finish(organ_gguf_writer *writer, organ_gguf_layout *layout, organ_error *error);

#endif
