/* SPDX-License-Identifier: MIT */
#include "formats/gguf/gguf_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gguf_reader {
    organ_gguf_cursor cursor;
    const organ_model_file *files; /* all files of the model; cursor.file is one of them */
    organ_gguf_header *header;     /* output */
    organ_tensor_list *list;       /* output */
    uint64_t kv_count;             /* number of key-values that the header states */
    size_t first;                  /* index in `list` of the file's first tensor */
    uint64_t next;                 /* required offset of the next tensor, from the beginning of the data */
    uint64_t end;                  /* end of the last tensor, from the beginning of the data */
    size_t info_end; /* file offset of the end of the tensor info being read, or 0 while unknown; reading continues
                        there after a fault */
    bool lost;       /* a tensor was rejected, so the required offset of the next one is unknown */
} gguf_reader;

bool organ_gguf_pad(uint64_t value, uint64_t alignment, uint64_t *padded)
{
    const uint64_t over = value % alignment;
    return !__builtin_add_overflow(value, over ? alignment - over : 0, padded);
}

bool organ_gguf_alignment_is_legal(uint64_t alignment)
{
    return alignment > 0 && ((alignment & (alignment - 1)) == 0 || alignment % 8 == 0);
}

/* ---- the first bytes ---- */

/* Users sometimes pass another file under the name of a GGUF file. */
static const char *mistaken_for(const unsigned char *magic)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"FUGG", "; it was written by a big-endian machine"},
        {"vers", "; it may be a Git LFS pointer: download the model itself"},
        {"ggml", "; it is a GGML file, a forerunner of GGUF"},
        {"lmgg", "; it is a GGML file, a forerunner of GGUF"},
        {"tjgg", "; it is a GGJT file, a forerunner of GGUF"},
        {"PK\3\4", "; it is a zip archive, probably saved by PyTorch"},
        {"<!DO", "; it is a web page"},
        {"<htm", "; it is a web page"},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (memcmp(magic, known[k].magic, 4) == 0)
            return known[k].what;
    return "";
}

/* The version of a big-endian file is stored with reversed bytes, so its low 16 bits are 0. In version 1 counts and
 * lengths have 32 bits (cursor.narrow). */
static organ_status read_version(gguf_reader *r)
{
    organ_gguf_cursor *c = &r->cursor;
    const unsigned char *const magic = organ_gguf_take(c, "magic", 4);
    if (magic && memcmp(magic, "GGUF", 4) != 0)
        return organ_gguf_refuse(c, "magic is '%.4s', not 'GGUF'%s", (const char *)magic, mistaken_for(magic));
    const uint32_t version = (uint32_t)organ_gguf_take_number(c, "version", 4);
    if (version && (version & 0xFFFF) == 0)
        return organ_gguf_refuse(
            c, "version 0x%08" PRIx32 " is version %" PRIu32 " of a big-endian file, which is not supported", version,
            __builtin_bswap32(version));
    if (version < 1 || version > 3)
        return organ_gguf_refuse(c, "version %" PRIu32 " is not supported; 1, 2 and 3 are", version);
    r->header->view.version = version;
    c->narrow = version == 1;
    return r->cursor.error->status;
}

static uint64_t read_number_of(gguf_reader *r, const char *field, size_t shortest)
{
    organ_gguf_cursor *c = &r->cursor;
    const uint64_t count = organ_gguf_take_count(c, field), max = organ_gguf_bytes_left(c) / shortest;
    if (count > max)
        organ_gguf_refuse(c, "%s is %" PRId64 ", but the %" PRIu64 " bytes that follow have room for at most %" PRIu64,
                          field, (int64_t)count, organ_gguf_bytes_left(c), max);
    return count;
}

static organ_status read_alignment(gguf_reader *r)
{
    organ_gguf *view = &r->header->view;
    const organ_gguf_kv *kv = organ_gguf_find(view, "general.alignment");
    view->alignment = ORGAN_GGUF_DEFAULT_ALIGNMENT;
    if (!kv)
        return ORGAN_OK;
    snprintf(r->cursor.where, sizeof r->cursor.where, "key 'general.alignment'");
    int64_t value = 0;
    if (kv->type != ORGAN_GGUF_U32)
        return organ_gguf_refuse(&r->cursor, "is of type %s, not u32", organ_gguf_type_name(kv->type));
    organ_gguf_integer_at(kv, 0, &value);
    if (!organ_gguf_alignment_is_legal((uint64_t)value))
        return organ_gguf_refuse(&r->cursor, "%" PRId64 " is neither a power of two nor a multiple of 8", value);
    view->alignment = (uint64_t)value;
    return ORGAN_OK;
}

/* ---- tensor infos ---- */

static organ_status reader_read_name(gguf_reader *r, organ_tensor *tensor)
{
    organ_gguf_cursor *c = &r->cursor;
    const uint64_t length = organ_gguf_take_count(c, "length of the name");
    if (length == 0)
        return organ_gguf_refuse(c, "the name is empty");
    if (length > ORGAN_GGUF_NAME_LIMIT)
        return organ_gguf_refuse(c, "the name has %" PRIu64 " bytes, more than %u", length, ORGAN_GGUF_NAME_LIMIT);
    tensor->name = organ_gguf_take_text(c, "name", length, &r->list->arena);
    if (tensor->name)
        snprintf(c->where, sizeof c->where, "tensor '%s'", tensor->name);
    return r->cursor.error->status;
}

/* `axis` is the axis in GGUF's order, fastest first, for messages. */
static void read_dimension(gguf_reader *r, unsigned axis, uint64_t *size, int64_t *elements)
{
    *size = organ_gguf_take_count(&r->cursor, "dimension");
    if (*size > INT64_MAX)
        organ_gguf_refuse(&r->cursor, "dimension %u is %" PRId64 ", below 0", axis, (int64_t)*size);
    else if (__builtin_mul_overflow(*elements, (int64_t)*size, elements))
        organ_gguf_refuse(&r->cursor, "with dimension %u of %" PRIu64 " the number of elements exceeds %" PRId64, axis,
                          *size, INT64_MAX);
}

/* GGUF lists the fastest axis first; `shape` is in the order of torch. */
static organ_status read_info_shape(gguf_reader *r, organ_tensor *tensor)
{
    const uint32_t rank = (uint32_t)organ_gguf_take_number(&r->cursor, "n_dims", 4);
    if (rank > ORGAN_GGUF_RANK_LIMIT)
        return organ_gguf_refuse(&r->cursor, "n_dims is %" PRIu32 ", more than %u", rank, ORGAN_GGUF_RANK_LIMIT);
    r->info_end = r->cursor.at + rank * organ_gguf_count_bytes(&r->cursor) + 4 + 8; /* dimensions, type, offset */
    uint64_t *shape = organ_arena_take(&r->list->arena, ORGAN_GGUF_RANK_LIMIT * sizeof *shape);
    if (!shape)
        return organ_fail_memory(r->cursor.error, r->cursor.file->name);
    int64_t elements = 1;
    for (uint32_t axis = 0; !r->cursor.error->status && axis < rank; axis++)
        read_dimension(r, axis, &shape[rank - 1 - axis], &elements);
    tensor->shape = shape;
    tensor->rank = rank;
    tensor->elements = (uint64_t)elements;
    return r->cursor.error->status;
}

static organ_status refuse_type(const organ_gguf_cursor *cursor, int32_t type)
{
    static const struct {
        int32_t type;
        const char *name, *why;
    } known[] = {
        {4, "Q4_2", "was removed from the format"},        {5, "Q4_3", "was removed from the format"},
        {9, "Q8_1", "exists only during computation"},     {15, "Q8_K", "exists only during computation"},
        {31, "Q4_0_4_4", "was removed from the format"},   {32, "Q4_0_4_8", "was removed from the format"},
        {33, "Q4_0_8_8", "was removed from the format"},   {36, "IQ4_NL_4_4", "was removed from the format"},
        {37, "IQ4_NL_4_8", "was removed from the format"}, {38, "IQ4_NL_8_8", "was removed from the format"},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (known[k].type == type)
            return organ_gguf_refuse(cursor, "type %" PRId32 " is %s, which %s", type, known[k].name, known[k].why);
    /* its types, those that it removed (142, 143) and the gaps between them */
    if ((type >= 97 && type <= 99) || (type >= 133 && type <= 399))
        return organ_gguf_refuse(
            cursor, "type %" PRId32 " is a block type of ik_llama.cpp, which other programs do not read", type);
    return organ_gguf_refuse(cursor, "type %" PRId32 " is unknown", type);
}

static organ_status read_dtype(gguf_reader *r, organ_tensor *tensor)
{
    const int32_t number = (int32_t)organ_gguf_take_number(&r->cursor, "type", 4);
    tensor->dtype = organ_dtype_from_ggml(number);
    if (tensor->dtype == ORGAN_DTYPE_COUNT)
        return refuse_type(&r->cursor, number);
    const organ_dtype_info *info = organ_dtype_describe(tensor->dtype);
    const uint64_t row = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
    if (row % info->elements)
        return organ_gguf_refuse(&r->cursor, "rows of %" PRIu64 " elements are not whole blocks of %s (%u)", row,
                                 info->name, info->elements);
    if (!organ_dtype_bytes(tensor->dtype, tensor->elements, &tensor->bytes))
        return organ_gguf_refuse(&r->cursor, "the size of %" PRIu64 " elements of %s exceeds 64 bits", tensor->elements,
                                 info->name);
    return r->cursor.error->status;
}

/* The offset counts from the beginning of the data of all tensors; place_data later makes it an offset in the file.
 * After a fault in the previous tensor (r->lost), any multiple of the alignment is accepted at which the data do not
 * overlap an earlier tensor. */
static organ_status read_offset(gguf_reader *r, organ_tensor *tensor)
{
    const uint64_t alignment = r->header->view.alignment;
    const organ_tensor *before = r->list->count > r->first ? &r->list->tensors[r->list->count - 1] : NULL;
    const uint64_t offset = tensor->offset = organ_gguf_take_number(&r->cursor, "offset", 8);
    if (r->lost)
        r->next = offset;
    r->lost = false;
    if (offset % alignment)
        return organ_gguf_refuse(&r->cursor, "offset %" PRIu64 " is not a multiple of the alignment %" PRIu64, offset,
                                 alignment);
    if (before && offset < before->offset)
        return organ_gguf_refuse(&r->cursor,
                                 "offset %" PRIu64 " is out of order: that of tensor '%s' before it is %" PRIu64,
                                 offset, before->name, before->offset);
    if (before && offset < r->end)
        return organ_gguf_refuse(&r->cursor, "offset %" PRIu64 " overlaps tensor '%s', which ends at %" PRIu64, offset,
                                 before->name, r->end);
    if (offset != r->next)
        return organ_gguf_refuse(&r->cursor,
                                 "offset %" PRIu64 " leaves a hole: the data before it, padded, ends at %" PRIu64,
                                 offset, r->next);
    if (__builtin_add_overflow(offset, tensor->bytes, &r->end) || !organ_gguf_pad(r->end, alignment, &r->next))
        return organ_gguf_refuse(&r->cursor, "offset %" PRIu64 " and %" PRIu64 " bytes, padded, exceed 64 bits", offset,
                                 tensor->bytes);
    return r->cursor.error->status;
}

static organ_status enter_tensor_name(gguf_reader *r)
{
    const size_t number = r->list->count - 1;
    const size_t *kept = organ_name_table_put(&r->list->names, r->list->tensors[number].name, number);
    if (!kept)
        return organ_fail_memory(r->cursor.error, r->cursor.file->name);
    if (*kept == number)
        return ORGAN_OK;
    if (*kept >= r->first)
        return organ_gguf_refuse(&r->cursor, "duplicate name: tensor %zu and tensor %zu of the file",
                                 *kept - r->first + 1, number - r->first + 1);
    return organ_gguf_refuse(&r->cursor, "%s also has a tensor of this name",
                             r->files[r->list->tensors[*kept].file].name);
}

/* A tensor whose only fault is a duplicate name stays in the list. */
static organ_status read_tensor_info(gguf_reader *r)
{
    organ_tensor tensor = {.file = (uint32_t)(r->cursor.file - r->files)};
    if (reader_read_name(r, &tensor) != ORGAN_OK || read_info_shape(r, &tensor) != ORGAN_OK ||
        read_dtype(r, &tensor) != ORGAN_OK || read_offset(r, &tensor) != ORGAN_OK)
        return r->cursor.error->status;
    tensor.anatomy = organ_anatomy_of(tensor.name);
    return organ_tensor_list_append(r->list, &tensor, r->cursor.error) == ORGAN_OK ? enter_tensor_name(r)
                                                                                   : r->cursor.error->status;
}

/* The required offset of the next tensor is unknown after a fault (r->lost). */
static void read_infos(gguf_reader *r)
{
    for (uint64_t k = 0; !r->cursor.error->status && k < r->header->tensor_count; k++) {
        snprintf(r->cursor.where, sizeof r->cursor.where, "tensor %" PRIu64 " of %" PRIu64, k + 1,
                 r->header->tensor_count);
        r->info_end = 0;
        if (read_tensor_info(r) != ORGAN_OK && r->info_end && organ_faults_take(r->cursor.faults, r->cursor.error)) {
            r->cursor.at = r->info_end;
            r->lost = true;
        }
    }
}

/* ---- the header ---- */

/* A file without tensors may end before the padding of its header. */
static organ_status place_data(gguf_reader *r)
{
    organ_gguf_header *header = r->header;
    uint64_t begin = r->cursor.at;
    snprintf(r->cursor.where, sizeof r->cursor.where, "header");
    if (!organ_gguf_pad(begin, header->view.alignment, &begin))
        return organ_gguf_refuse(&r->cursor, "the offset of the data exceeds 64 bits");
    if (header->tensor_count == 0 && begin > r->cursor.file->size)
        begin = r->cursor.file->size;
    header->data_offset = begin;
    if (__builtin_add_overflow(begin, r->end, &header->data_end) ||
        __builtin_add_overflow(begin, r->next, &header->padded_end) || header->padded_end > INT64_MAX)
        return organ_gguf_refuse(&r->cursor, "data of %" PRIu64 " bytes exceeds the largest size of a file", r->end);
    for (size_t k = r->first; k < r->list->count; k++)
        r->list->tensors[k].offset += begin;
    return ORGAN_OK;
}

/* Before it allocates memory for a number of items, compares this number with the bytes that remain in the file. */
static organ_status read_gguf_header(gguf_reader *r)
{
    organ_gguf_header *header = r->header;
    organ_gguf_cursor *c = &r->cursor;
    snprintf(c->where, sizeof c->where, "header");
    if (read_version(r) != ORGAN_OK)
        return r->cursor.error->status;
    const size_t shortest_info = organ_gguf_count_bytes(c) + 1 + 4 + 4 + 8; /* name, rank, type, offset */
    header->tensor_count = read_number_of(r, "n_tensors", shortest_info);
    r->kv_count = read_number_of(r, "n_kv", organ_gguf_shortest_kv(c));
    if (r->cursor.error->status)
        return r->cursor.error->status;
    header->view.split_count = 1;
    organ_gguf_read_values(c, r->kv_count, &header->arena, &header->kvs, &header->view.kv_count);
    header->view.kvs = header->kvs;
    if (r->cursor.error->status)
        return r->cursor.error->status;
    read_alignment(r);
    organ_faults_take(c->faults, c->error); /* reading continues with the default alignment */
    read_infos(r);
    return r->cursor.error->status ? r->cursor.error->status : place_data(r);
}

static organ_status survey_header(const organ_model_file *files, size_t index, organ_gguf_header *header,
                                  organ_tensor_list *list, const organ_faults *faults, organ_error *error)
{
    gguf_reader r = {.cursor = {.file = &files[index], .error = error, .faults = faults},
                     .files = files,
                     .header = header,
                     .list = list,
                     .first = list->count};
    *header = (organ_gguf_header){0};
    read_gguf_header(&r);
    organ_gguf_cursor_release(&r.cursor);
    return error->status;
}

organ_status organ_gguf_read_header(const organ_model_file *files, size_t index, organ_gguf_header *header,
                                    organ_tensor_list *list, organ_error *error)
{
    return survey_header(files, index, header, list, /*faults=*/NULL, error);
}

static organ_status check_end(const organ_model_file *file, const organ_tensor *t, organ_error *error)
{
    if (t->bytes == 0 || t->offset + t->bytes <= file->size)
        return ORGAN_OK;
    return organ_refuse(error, file->name,
                        "tensor '%s': its %" PRIu64 " bytes at byte %" PRIu64 " end at %" PRIu64
                        ", past the end of the file (%" PRIu64 ")",
                        t->name, t->bytes, t->offset, t->offset + t->bytes, file->size);
}

/* If all tensors of the header are in the list, also checks that the file has no bytes after the padding of the last
 * tensor. */
static organ_status check_data(const organ_model_file *file, const organ_gguf_header *header,
                               const organ_tensor_list *list, const organ_faults *faults, organ_error *error)
{
    if (header->data_offset > file->size)
        return organ_refuse(error, file->name,
                            "the data begins at byte %" PRIu64 ", past the end of the file (%" PRIu64 ")",
                            header->data_offset, file->size);
    for (size_t k = file->first; k < list->count; k++)
        if (check_end(file, &list->tensors[k], error) != ORGAN_OK && !organ_faults_take(faults, error))
            return error->status;
    if (file->size > header->padded_end && file->count == header->tensor_count)
        return organ_refuse(error, file->name,
                            "the tensors end at byte %" PRIu64 ", but the file has %" PRIu64
                            " bytes: the rest belongs to no tensor",
                            header->padded_end, file->size);
    return ORGAN_OK;
}

organ_status organ_gguf_survey(organ_model_file *files, size_t index, organ_gguf_header *header,
                               organ_tensor_list *list, const organ_faults *faults, organ_error *error)
{
    organ_model_file *file = &files[index];
    file->first = list->count;
    survey_header(files, index, header, list, faults, error);
    file->count = list->count - file->first;
    file->data_offset = header->data_offset;
    return error->status ? error->status : check_data(file, header, list, faults, error);
}

organ_status organ_gguf_read(organ_model_file *files, size_t index, organ_gguf_header *header, organ_tensor_list *list,
                             organ_error *error)
{
    return organ_gguf_survey(files, index, header, list, /*faults=*/NULL, error);
}

void organ_gguf_header_release(organ_gguf_header *header)
{
    free(header->kvs);
    organ_arena_release(&header->arena);
    *header = (organ_gguf_header){0};
}
