/* SPDX-License-Identifier: MIT
 * The header of one GGUF file: key-values and tensor infos. */
#ifndef ORGAN_GGUF_READER_H
#define ORGAN_GGUF_READER_H

#include "formats/base/arena.h"
#include "formats/gguf/gguf.h"
#include "formats/tensor/tensor_list.h"

#define ORGAN_GGUF_DEFAULT_ALIGNMENT 32u
#define ORGAN_GGUF_RANK_LIMIT        4u
#define ORGAN_GGUF_NAME_LIMIT        64u

/* All zero is an empty header. */
typedef struct organ_gguf_header {
    organ_gguf view; /* of this file; split_count is 1 */
    uint64_t tensor_count;
    uint64_t data_offset; /* where the data of the tensors begins */
    uint64_t data_end;    /* behind the last byte of the last tensor */
    uint64_t padded_end;  /* the same, padded to the alignment */
    organ_gguf_kv *kvs;
    organ_arena arena;
} organ_gguf_header;

/* Reads the header of files[index] (name, fd and size are set) and appends its tensors to `list` in the order of their infos, which is that
 * of their offsets: the data of one begins where that of the one before ends, padded to the alignment. The data itself need not be there: a
 * header that was kept without it can be read. Read are versions 1 to 3, little endian. A tensor that another
 * file has brought into `list` is refused. The caller releases *header also after an error; the list can then only be released. */
organ_status organ_gguf_read_header(const organ_model_file *files, size_t index, organ_gguf_header *header, organ_tensor_list *list,
                                    organ_error *error);

/* The same for a file that has its data: sets data_offset, first and count of files[index], and refuses it unless the file ends with its
 * last tensor, padded or not. */
organ_status organ_gguf_read(organ_model_file *files, size_t index, organ_gguf_header *header, organ_tensor_list *list, organ_error *error);

/* `value` rounded up to a multiple of `alignment`; false if that does not fit. */
bool organ_gguf_pad(uint64_t value, uint64_t alignment, uint64_t *padded);

/* general.alignment as a file must have it: a power of two (which llama.cpp demands) or a multiple of 8 (which the format demands). */
bool organ_gguf_alignment_is_legal(uint64_t alignment);

void organ_gguf_header_release(organ_gguf_header *header);

#endif
