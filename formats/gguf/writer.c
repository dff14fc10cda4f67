/* SPDX-License-Identifier: MIT */
#include "formats/base/owned.h"
#include "formats/gguf/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 3u

typedef struct info {
    const char *name;
    organ_dtype dtype;
    unsigned rank;
    uint64_t shape[ORGAN_GGUF_RANK_LIMIT]; /* `rank` dimensions, slowest axis first */
    uint64_t bytes;                        /* of its data */
} info;

struct organ_gguf_writer {
    organ_gguf_kv *kvs;
    size_t kv_count, kv_capacity;
    info *infos;
    size_t info_count, info_capacity;
    organ_arena arena;    /* memory of keys, values and names; replaced ones are freed only with the writer */
    unsigned char *bytes; /* the finished header; NULL before organ_gguf_writer_finish */
    uint64_t *offsets;    /* file offset of each tensor's data; NULL before organ_gguf_writer_finish */
};

organ_status organ_gguf_writer_create(organ_gguf_writer **writer, organ_error *error)
{
    *writer = calloc(1, sizeof **writer);
    return *writer ? ORGAN_OK : organ_fail_memory(error, "a GGUF header");
}

void organ_gguf_writer_destroy(organ_gguf_writer *writer)
{
    if (!writer)
        return;
    ORGAN_FREE_ARRAYS(writer->kvs, writer->infos, writer->bytes, writer->offsets);
    organ_arena_release(&writer->arena);
    free(writer);
}

static organ_gguf_kv *find_kv(const organ_gguf_writer *writer, const char *key)
{
    for (size_t k = 0; k < writer->kv_count; k++)
        if (strcmp(writer->kvs[k].key, key) == 0)
            return &writer->kvs[k];
    return NULL;
}

bool organ_gguf_is_of_split(const char *key) { return strncmp(key, "split.", 6) == 0; }

bool organ_gguf_same_value(const organ_gguf_kv *one, const organ_gguf_kv *other)
{
    return one->type == other->type && one->size == other->size && memcmp(one->bytes, other->bytes, one->size) == 0;
}

const organ_gguf_kv *organ_gguf_writer_find(const organ_gguf_writer *writer, const char *key)
{
    return find_kv(writer, key);
}

static uint64_t alignment_of(const organ_gguf_writer *writer)
{
    const organ_gguf_kv *kv = find_kv(writer, "general.alignment");
    int64_t value;
    return kv && organ_gguf_integer_at(kv, 0, &value) ? (uint64_t)value : ORGAN_GGUF_DEFAULT_ALIGNMENT;
}

organ_gguf organ_gguf_writer_view(const organ_gguf_writer *writer)
{
    return (organ_gguf){.version = VERSION,
                        .alignment = alignment_of(writer),
                        .kv_count = writer->kv_count,
                        .kvs = writer->kvs,
                        .split_count = 1};
}

static organ_status check_alignment(const organ_gguf_kv *kv, organ_error *error)
{
    int64_t value = 0;
    if (strcmp(kv->key, "general.alignment") != 0)
        return ORGAN_OK;
    if (kv->type != ORGAN_GGUF_U32 || !organ_gguf_integer_at(kv, 0, &value) ||
        !organ_gguf_alignment_is_legal((uint64_t)value))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "general.alignment is %" PRId64
                          " of type %s, not a u32 that is a power of two or a multiple of 8",
                          value, organ_gguf_type_name(kv->type));
    return ORGAN_OK;
}

/* The value is kv->bytes, after the `head` bytes that `first` has. */
static organ_status put_kv(organ_gguf_writer *writer, const organ_gguf_kv *kv, const unsigned char *first, size_t head,
                           organ_error *error)
{
    if (check_alignment(kv, error) != ORGAN_OK)
        return error->status;
    organ_gguf_kv copy = *kv, *place = find_kv(writer, kv->key);
    unsigned char *bytes = organ_arena_take(&writer->arena, head + kv->size);
    copy.key = place ? place->key : organ_arena_copy(&writer->arena, kv->key, strlen(kv->key));
    if (!bytes || !copy.key || !organ_grow(&writer->kvs, writer->kv_count, &writer->kv_capacity, sizeof *writer->kvs))
        return organ_fail_memory(error, "a GGUF header");
    memcpy(bytes, first, head);
    if (kv->size > 0) /* kv->bytes of an empty value may be NULL */
        memcpy(bytes + head, kv->bytes, kv->size);
    copy.bytes = bytes;
    copy.size = head + kv->size;
    place = find_kv(writer, kv->key); /* again: organ_grow may have moved the array */
    if (!place)
        place = &writer->kvs[writer->kv_count++];
    *place = copy;
    return ORGAN_OK;
}

organ_status organ_gguf_writer_kv(organ_gguf_writer *writer, const organ_gguf_kv *kv, organ_error *error)
{
    return put_kv(writer, kv, kv->bytes, /*head=*/0, error);
}

static unsigned char *writer_put_number(unsigned char *at, uint64_t value, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++)
        *at++ = (unsigned char)(value >> 8 * k);
    return at;
}

static bool is_integer_type(organ_gguf_type type)
{
    return organ_gguf_type_bytes(type) > 0 && type != ORGAN_GGUF_F32 && type != ORGAN_GGUF_F64 &&
           type != ORGAN_GGUF_BOOL;
}

organ_status organ_gguf_writer_set_integer(organ_gguf_writer *writer, const char *key, organ_gguf_type type,
                                           int64_t value, organ_error *error)
{
    const organ_gguf_kv *old = find_kv(writer, key);
    unsigned char bytes[8];
    int64_t back;
    if (old && is_integer_type(old->type))
        type = old->type;
    writer_put_number(bytes, (uint64_t)value, sizeof bytes);
    const organ_gguf_kv kv = {
        .key = key, .type = type, .element = type, .count = 1, .bytes = bytes, .size = organ_gguf_type_bytes(type)};
    if (!is_integer_type(type) || !organ_gguf_integer_at(&kv, 0, &back) || back != value)
        return organ_fail(error, ORGAN_BAD_INPUT, "key '%s': %" PRId64 " does not fit into its type %s", key, value,
                          organ_gguf_type_name(type));
    return organ_gguf_writer_kv(writer, &kv, error);
}

organ_status organ_gguf_writer_set_number(organ_gguf_writer *writer, const char *key, organ_gguf_type type,
                                          double value, organ_error *error)
{
    const float single = (float)value;
    const unsigned char flag = value != 0;
    if (type != ORGAN_GGUF_F32 && type != ORGAN_GGUF_BOOL)
        return organ_gguf_writer_set_integer(writer, key, type, (int64_t)value, error);
    const organ_gguf_kv kv = {.key = key,
                              .type = type,
                              .element = type,
                              .count = 1,
                              .bytes = type == ORGAN_GGUF_F32 ? (const void *)&single : &flag,
                              .size = organ_gguf_type_bytes(type)};
    return organ_gguf_writer_kv(writer, &kv, error);
}

organ_status organ_gguf_writer_set_string(organ_gguf_writer *writer, const char *key, const char *text, size_t length,
                                          organ_error *error)
{
    unsigned char head[8];
    writer_put_number(head, length, sizeof head);
    const organ_gguf_kv kv = {.key = key,
                              .type = ORGAN_GGUF_STRING,
                              .element = ORGAN_GGUF_STRING,
                              .count = 1,
                              .bytes = (const unsigned char *)text,
                              .size = length};
    return put_kv(writer, &kv, head, sizeof head, error);
}

organ_status organ_gguf_writer_set_array(organ_gguf_writer *writer, const char *key, organ_gguf_type element,
                                         uint64_t count, const void *elements, size_t size, organ_error *error)
{
    unsigned char head[ORGAN_GGUF_ARRAY_HEAD];
    writer_put_number(writer_put_number(head, element, 4), count, 8);
    const organ_gguf_kv kv = {
        .key = key, .type = ORGAN_GGUF_ARRAY, .element = element, .count = count, .bytes = elements, .size = size};
    return put_kv(writer, &kv, head, sizeof head, error);
}

void organ_gguf_writer_remove(organ_gguf_writer *writer, const char *key)
{
    organ_gguf_kv *place = find_kv(writer, key);
    if (!place)
        return;
    const size_t at = (size_t)(place - writer->kvs);
    memmove(place, place + 1, (writer->kv_count - at - 1) * sizeof *place);
    writer->kv_count--;
}

/* ---- tensors ---- */

/* Also sets made->bytes. */
static organ_status check_tensor_shape(info *made, organ_error *error)
{
    const organ_dtype_info *type = organ_dtype_describe(made->dtype);
    const uint64_t row = made->rank ? made->shape[made->rank - 1] : 1;
    int64_t elements = 1;
    if (type->ggml < 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': GGUF has no dtype %s", made->name, type->name);
    /* Multiplies in the order of the reader, fastest axis first, so that both accept the same shapes: a dimension of
     * 0 makes later products 0. */
    for (unsigned axis = made->rank; axis-- > 0;)
        if (made->shape[axis] > INT64_MAX || __builtin_mul_overflow(elements, (int64_t)made->shape[axis], &elements))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': with dimension %" PRIu64 " the number of elements exceeds %" PRId64,
                              made->name, made->shape[axis], INT64_MAX);
    if (row % type->elements || !organ_dtype_bytes(made->dtype, (uint64_t)elements, &made->bytes))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': rows of %" PRIu64 " elements are not whole blocks of %s (%u)", made->name, row,
                          type->name, type->elements);
    return ORGAN_OK;
}

organ_status organ_gguf_writer_tensor(organ_gguf_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                                      const uint64_t *shape, organ_error *error)
{
    const size_t length = strlen(name);
    if (length == 0 || length > ORGAN_GGUF_NAME_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%.128s': the name has %zu bytes, GGUF allows 1 to %u", name,
                          length, ORGAN_GGUF_NAME_LIMIT);
    if (rank > ORGAN_GGUF_RANK_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %u dimensions, GGUF allows %u", name, rank,
                          ORGAN_GGUF_RANK_LIMIT);
    info made = {.name = organ_arena_copy(&writer->arena, name, length), .dtype = dtype, .rank = rank};
    if (!made.name || !organ_grow(&writer->infos, writer->info_count, &writer->info_capacity, sizeof *writer->infos))
        return organ_fail_memory(error, "a GGUF header");
    if (rank > 0)
        memcpy(made.shape, shape, rank * sizeof *shape);
    if (check_tensor_shape(&made, error) == ORGAN_OK)
        writer->infos[writer->info_count++] = made;
    return error->status;
}

/* ---- layout ---- */

/* The sum cannot overflow, because all of these bytes are in memory. */
static size_t header_bytes(const organ_gguf_writer *writer)
{
    size_t size = 4 + 4 + 8 + 8; /* magic, version, number of tensors, number of key-values */
    for (size_t k = 0; k < writer->kv_count; k++)
        size += 8 + strlen(writer->kvs[k].key) + 4 + writer->kvs[k].size;
    for (size_t k = 0; k < writer->info_count; k++)
        /* name, rank, dimensions, type, offset */
        size += 8 + strlen(writer->infos[k].name) + 4 + 8 * writer->infos[k].rank + 4 + 8;
    return size;
}

static organ_status lay_out_tensors(organ_gguf_writer *writer, uint64_t alignment, uint64_t *end, organ_error *error)
{
    *end = 0;
    for (size_t k = 0; k < writer->info_count; k++) {
        const info *i = &writer->infos[k];
        writer->offsets[k] = *end;
        if (__builtin_add_overflow(*end, i->bytes, end) || !organ_gguf_pad(*end, alignment, end) || *end > INT64_MAX)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': %" PRIu64 " bytes at %" PRIu64 " exceed the largest size of a file",
                              i->name, i->bytes, writer->offsets[k]);
    }
    return ORGAN_OK;
}

static unsigned char *put_string(unsigned char *at, const char *text)
{
    const size_t length = strlen(text);
    at = writer_put_number(at, length, 8);
    memcpy(at, text, length);
    return at + length;
}

static void write_header(const organ_gguf_writer *writer, unsigned char *at)
{
    memcpy(at, "GGUF", 4);
    at = writer_put_number(at + 4, VERSION, 4);
    at = writer_put_number(at, writer->info_count, 8);
    at = writer_put_number(at, writer->kv_count, 8);
    for (size_t k = 0; k < writer->kv_count; k++) {
        const organ_gguf_kv *kv = &writer->kvs[k];
        at = writer_put_number(put_string(at, kv->key), kv->type, 4);
        memcpy(at, kv->bytes, kv->size);
        at += kv->size;
    }
    for (size_t k = 0; k < writer->info_count; k++) {
        const info *i = &writer->infos[k];
        at = writer_put_number(put_string(at, i->name), i->rank, 4);
        for (unsigned axis = i->rank; axis > 0; axis--)
            at = writer_put_number(at, i->shape[axis - 1], 8);
        at = writer_put_number(at, (uint64_t)organ_dtype_describe(i->dtype)->ggml, 4);
        at = writer_put_number(at, writer->offsets[k], 8);
    }
}

organ_status organ_gguf_writer_finish(organ_gguf_writer *writer, organ_gguf_layout *layout, organ_error *error)
{
    const uint64_t alignment = alignment_of(writer);
    uint64_t begin = 0, end = 0;
    ORGAN_FREE_ARRAYS(writer->bytes, writer->offsets);
    writer->bytes = NULL;
    writer->offsets = calloc(writer->info_count + 1, sizeof *writer->offsets);
    if (!writer->offsets)
        return organ_fail_memory(error, "a GGUF header");
    if (lay_out_tensors(writer, alignment, &end, error) != ORGAN_OK)
        return error->status;
    if (alignment > ORGAN_GGUF_WRITTEN_ALIGNMENT)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "general.alignment is %" PRIu64 ", more than the %u bytes of padding that organ writes",
                          alignment, ORGAN_GGUF_WRITTEN_ALIGNMENT);
    organ_gguf_pad(header_bytes(writer), alignment, &begin);
    if (end > INT64_MAX - begin)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensors of %" PRIu64 " bytes exceed the largest size of a file",
                          end);
    writer->bytes = calloc(begin, 1);
    if (!writer->bytes)
        return organ_fail_memory(error, "a GGUF header");
    write_header(writer, writer->bytes);
    for (size_t k = 0; k < writer->info_count; k++)
        writer->offsets[k] += begin;
    *layout = (organ_gguf_layout){writer->bytes, (size_t)begin, writer->offsets, begin + end};
    return ORGAN_OK;
}
