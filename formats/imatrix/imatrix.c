/* SPDX-License-Identifier: MIT */
#include "formats/imatrix/imatrix_parts.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/remote/remote.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DATASETS 65536u /* names of texts */

/* Appends the entry `name` with `values` sums and `counts` counts, which the file has at `place`. The name must be in
 * the arena. Returns ORGAN_BAD_INPUT if an entry of this name exists. */
static organ_status imatrix_add(organ_imatrix_state *s, const char *name, uint64_t values, uint64_t counts,
                                organ_imatrix_bytes place, organ_error *error)
{
    const size_t number = s->view.entry_count;
    size_t capacity = s->capacity;
    const size_t *const kept = organ_name_table_put(&s->names, name, number);
    if (!kept || !organ_grow(&s->entries, number, &capacity, sizeof *s->entries) ||
        !organ_grow(&s->places, number, &s->capacity, sizeof *s->places)) /* both have room for s->capacity entries */
        return organ_fail_memory(error, s->file.path);
    if (*kept != number)
        return organ_refuse(error, s->file.name, "duplicate entry '%s': number %zu and number %zu", name, *kept + 1,
                            number + 1);
    s->entries[number] = (organ_imatrix_entry){name, organ_anatomy_of(name), values, counts};
    s->places[number] = place;
    s->view.entries = s->entries;
    s->view.entry_count++;
    return ORGAN_OK;
}

/* Allocates room for `count` names of texts. Returns ORGAN_BAD_INPUT for more than 65,536. */
static organ_status begin_datasets(organ_imatrix_state *s, uint64_t count, organ_error *error)
{
    if (count > MAX_DATASETS)
        return organ_refuse(error, s->file.name, "names %" PRIu64 " texts, more than %u", count, MAX_DATASETS);
    s->datasets = calloc((size_t)count + 1, sizeof *s->datasets);
    s->view.datasets = s->datasets;
    return s->datasets ? ORGAN_OK : organ_fail_memory(error, s->file.path);
}

/* Appends a copy of the name of a text (`length` bytes). Returns ORGAN_BAD_INPUT if it is not UTF-8 or has a NUL. */
static organ_status add_dataset(organ_imatrix_state *s, const char *text, size_t length, organ_error *error)
{
    char *const copy = organ_arena_copy(&s->arena, text, length);
    if (!copy)
        return organ_fail_memory(error, s->file.path);
    if (strlen(copy) != length || !organ_utf8_valid(copy))
        return organ_refuse(error, s->file.name, "the name of text %zu, of %zu bytes, %s", s->view.dataset_count + 1,
                            length, strlen(copy) != length ? "has a NUL" : "is not valid UTF-8");
    s->datasets[s->view.dataset_count++] = copy;
    return ORGAN_OK;
}

/* ---- imatrix.dat, which llama.cpp wrote before GGUF and still writes on request ---- */

/* All numbers are little endian:
 *
 *     i32 number of entries
 *     for each: i32 bytes of the name, name, i32 chunks, i32 number of values, values as f32: the mean of the squares
 *     times the chunks
 *     i32 number of the last chunk, i32 bytes of the name of the text, name: both missing in the oldest files
 *
 * The values of the experts of a stack are contiguous; the file does not contain the number of experts. */

#define SHORTEST_ENTRY ((uint64_t)(4 + 1 + 4 + 4 + 4)) /* bytes of an entry with a name of 1 byte and one value */
#define LONGEST_NAME   4096                            /* bytes */

/* The first fault is kept in `error`; values read after it are meaningless. */
typedef struct cursor {
    organ_imatrix_state *s; /* the open file, and output */
    organ_error *error;
    uint64_t at;     /* offset of the next byte */
    char where[200]; /* the item being read, for messages */
} cursor;

/* llama.cpp's old format has no magic number: `first` would be the count of entries, for which the file must have
 * room. */
static bool is_old(const organ_imatrix_state *s, uint32_t first)
{
    return first > 0 && s->file.size > sizeof first && first <= (s->file.size - sizeof first) / SHORTEST_ENTRY;
}

static uint64_t bytes_remaining(const cursor *c) { return c->s->file.size - c->at; }

static void dat_read_bytes(cursor *c, const char *field, void *to, size_t bytes)
{
    const organ_model_file *const file = &c->s->file;
    if (c->error->status)
        return;
    if (bytes > bytes_remaining(c))
        organ_refuse(c->error, file->name,
                     "%s: %s of %zu bytes at byte %" PRIu64 " is past the end of the file (%" PRIu64 ")", c->where,
                     field, bytes, c->at, file->size);
    else if (organ_model_file_read(file, to, bytes, c->at, c->error) == ORGAN_OK)
        c->at += bytes;
}

static int32_t dat_read_count(cursor *c, const char *field, int32_t least, int32_t max)
{
    unsigned char b[4] = {0};
    dat_read_bytes(c, field, b, sizeof b);
    const int32_t value = (int32_t)organ_little_endian(b, sizeof b);
    if (value < least || value > max)
        organ_refuse(c->error, c->s->file.name, "%s: %s is %" PRId32 ", not from %" PRId32 " to %" PRId32, c->where,
                     field, value, least, max);
    return c->error->status ? 0 : value;
}

static void dat_read_entry(cursor *c)
{
    char text[LONGEST_NAME];
    const organ_model_file *const file = &c->s->file;
    const int32_t length = dat_read_count(c, "the length of the name", 1, LONGEST_NAME);
    dat_read_bytes(c, "the name", text, (size_t)length);
    if (c->error->status)
        return;
    const char *const name = organ_arena_copy(&c->s->arena, text, (size_t)length);
    if (!name) {
        organ_fail_memory(c->error, file->path);
        return;
    }
    if (strlen(name) != (size_t)length || !organ_utf8_valid(name))
        organ_refuse(c->error, file->name, "%s: the name of %" PRId32 " bytes %s", c->where, length,
                     strlen(name) != (size_t)length ? "has a NUL" : "is not valid UTF-8");
    snprintf(c->where, sizeof c->where, "entry '%.150s'", name);
    const int32_t chunks = dat_read_count(c, "the number of chunks", 0, INT32_MAX);
    const int32_t values = dat_read_count(c, "the number of values", 1, INT32_MAX);
    const uint64_t bytes = (uint64_t)values * sizeof(float);
    if (bytes > bytes_remaining(c))
        organ_refuse(c->error, file->name,
                     "%s: %" PRId32 " values at byte %" PRIu64 " are past the end of the file (%" PRIu64 ")", c->where,
                     values, c->at, file->size);
    if (!c->error->status)
        imatrix_add(c->s, name, (uint64_t)values, 1, (organ_imatrix_bytes){c->at, (uint64_t)chunks}, c->error);
    c->at += bytes;
}

/* The end of the file is optional: number of the last chunk and name of the text. */
static void dat_read_trailer(cursor *c)
{
    char text[LONGEST_NAME];
    snprintf(c->where, sizeof c->where, "after the entries");
    if (c->error->status || bytes_remaining(c) == 0)
        return;
    c->s->view.chunks = dat_read_count(c, "the last chunk", 0, INT32_MAX);
    if (c->error->status || bytes_remaining(c) == 0)
        return;
    const int32_t length = dat_read_count(c, "the length of the name of the text", 0, LONGEST_NAME);
    dat_read_bytes(c, "the name of the text", text, (size_t)length);
    if (!c->error->status && bytes_remaining(c))
        organ_refuse(c->error, c->s->file.name,
                     "ends at byte %" PRIu64 ", but the file has %" PRIu64 ": the rest belongs to no entry", c->at,
                     c->s->file.size);
    if (length && !c->error->status && begin_datasets(c->s, 1, c->error) == ORGAN_OK)
        add_dataset(c->s, text, (size_t)length, c->error);
}

/* Reads the entries and the name of the text of a file in the older format; s->file is open. */
static organ_status read_old(organ_imatrix_state *s, organ_error *error)
{
    cursor c = {.s = s, .error = error, .where = "header"};
    const int32_t count = dat_read_count(&c, "the number of entries", 1, INT32_MAX);
    for (int32_t k = 0; k < count && !error->status; k++) {
        snprintf(c.where, sizeof c.where, "entry %" PRId32 " of %" PRId32, k + 1, count);
        dat_read_entry(&c);
    }
    dat_read_trailer(&c);
    return error->status;
}

/* ---- GGUF ---- */

static organ_status check_type(const organ_imatrix_state *s, const organ_gguf *gguf, organ_error *error)
{
    size_t length = 0;
    const char *const type = organ_gguf_string(gguf, "general.type", &length);
    if (organ_gguf_text_equals(gguf, "general.type", "imatrix"))
        return ORGAN_OK;
    if (!type)
        return organ_refuse(error, s->file.name, "is not an importance matrix: key 'general.type' is missing");
    return organ_refuse(error, s->file.name, "is not an importance matrix: 'general.type' is '%.*s', not 'imatrix'",
                        length < 80 ? (int)length : 80, type);
}

/* The 64-bit length of each string precedes the string. */
static organ_status read_datasets(organ_imatrix_state *s, const organ_gguf *gguf, organ_error *error)
{
    const organ_gguf_kv *const kv = organ_gguf_find(gguf, "imatrix.datasets");
    if (!kv)
        return ORGAN_OK;
    if (kv->type != ORGAN_GGUF_ARRAY || kv->element != ORGAN_GGUF_STRING)
        return organ_refuse(error, s->file.name, "key 'imatrix.datasets' is of type %s, not an array of strings",
                            organ_gguf_type_name(kv->element));
    if (begin_datasets(s, kv->count, error) != ORGAN_OK)
        return error->status;
    const unsigned char *at = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    for (uint64_t k = 0; k < kv->count && !error->status; k++) { /* the GGUF reader has checked the lengths */
        uint64_t length;
        memcpy(&length, at, sizeof length);
        add_dataset(s, (const char *)at + sizeof length, (size_t)length, error);
        at += sizeof length + length;
    }
    return error->status;
}

static char *name_without_suffix(organ_imatrix_state *s, const char *name, const char *suffix)
{
    return organ_ends_with(name, suffix) ? organ_arena_copy(&s->arena, name, strlen(name) - strlen(suffix)) : NULL;
}

static const organ_tensor *find_with_suffix(const organ_tensor_list *list, const char *name, const char *suffix)
{
    char full_name[2 * ORGAN_GGUF_NAME_LIMIT];
    strcpy(full_name, name); /* fits: names of GGUF tensors are shorter than half of this buffer */
    strcat(full_name, suffix);
    const size_t *const found = organ_name_table_find(&list->names, full_name);
    return found ? &list->tensors[*found] : NULL;
}

/* `sums` has a sum of squares for each input; `counts` has the number of tokens of each matrix of the stack, or one
 * number for all. */
static organ_status add_pair(organ_imatrix_state *s, const char *name, const organ_tensor *sums,
                             const organ_tensor *counts, organ_error *error)
{
    const organ_tensor *const both[2] = {sums, counts};
    for (int k = 0; k < 2; k++)
        if (both[k]->dtype != ORGAN_F32 || both[k]->elements == 0)
            return organ_refuse(error, s->file.name,
                                "tensor '%s' has %" PRIu64 " elements of type %s, but must be F32 and not empty",
                                both[k]->name, both[k]->elements, organ_dtype_name(both[k]->dtype));
    if (sums->elements % counts->elements)
        return organ_refuse(error, s->file.name,
                            "tensor '%s' has %" PRIu64 " elements, not a multiple of the %" PRIu64 " of '%s'",
                            sums->name, sums->elements, counts->elements, counts->name);
    return imatrix_add(s, name, sums->elements, counts->elements, (organ_imatrix_bytes){sums->offset, counts->offset},
                       error);
}

/* Newer files also have the sums of the inputs themselves, which are ignored. */
static organ_status read_tensors(organ_imatrix_state *s, const organ_tensor_list *list, organ_error *error)
{
    for (size_t k = 0; k < list->count && !error->status; k++) {
        const organ_tensor *const t = &list->tensors[k];
        const char *const summed = name_without_suffix(s, t->name, ORGAN_IMATRIX_SUMS);
        const char *const counted = name_without_suffix(s, t->name, ORGAN_IMATRIX_COUNTS);
        const organ_tensor *other = NULL;
        if (summed)
            other = find_with_suffix(list, summed, ORGAN_IMATRIX_COUNTS);
        else if (counted)
            other = find_with_suffix(list, counted, ORGAN_IMATRIX_SUMS);
        if ((summed || counted) && !other)
            organ_refuse(error, s->file.name, "there is a tensor '%s', but no '%s%s'", t->name,
                         summed ? summed : counted, summed ? ORGAN_IMATRIX_COUNTS : ORGAN_IMATRIX_SUMS);
        else if (summed)
            add_pair(s, summed, t, other, error);
    }
    return error->status;
}

static organ_status read_gguf(organ_imatrix_state *s, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gguf_header_release) organ_gguf_header header = {0};
    ORGAN_RELEASED_BY(organ_tensor_list_release) organ_tensor_list list = {0};
    if (organ_gguf_read(&s->file, 0, &header, &list, error) == ORGAN_OK &&
        check_type(s, &header.view, error) == ORGAN_OK && read_datasets(s, &header.view, error) == ORGAN_OK) {
        s->view.chunks = organ_gguf_integer(&header.view, "imatrix.chunk_count", -1);
        s->view.chunk_size = organ_gguf_integer(&header.view, "imatrix.chunk_size", -1);
        read_tensors(s, &list, error);
    }
    return error->status;
}

/* ---- opening ---- */

static organ_status open_file(organ_imatrix_state *s, const char *path, organ_error *error)
{
    s->file = (organ_model_file){.path = organ_arena_copy(&s->arena, path, strlen(path)), .fd = -1};
    if (!s->file.path)
        return organ_fail_memory(error, path);
    s->file.name = *organ_path_name(path) ? organ_path_name(s->file.path) : s->file.path;
    if (organ_model_file_open_here(&s->file, error) != ORGAN_OK)
        return error->status;
    s->view =
        (organ_imatrix){.path = s->file.path, .format = "GGUF", .bytes = s->file.size, .chunks = -1, .chunk_size = -1};
    return ORGAN_OK;
}

/* Returns whether the file begins as a text: with other control characters than those of lines it does not. The reader
 * of GGUF names pointers of Git LFS. */
static bool is_text(const organ_imatrix_state *s)
{
    static const char pointer[] = "version https:";
    unsigned char head[64];
    const size_t bytes = s->file.size < sizeof head ? (size_t)s->file.size : sizeof head;
    if (bytes < strlen(pointer) || organ_model_file_read(&s->file, head, bytes, 0, &(organ_error){0}) ||
        memcmp(head, "GGUF", 4) == 0 || memcmp(head, pointer, strlen(pointer)) == 0)
        return false;
    for (size_t k = 0; k < bytes; k++)
        if (head[k] < ' ' && head[k] != '\n' && head[k] != '\r' && head[k] != '\t')
            return false;
    return true;
}

static organ_status read_file(organ_imatrix_state *s, organ_error *error)
{
    uint32_t first = 0;
    if (s->file.size >= sizeof first && organ_model_file_read(&s->file, &first, sizeof first, 0, error) != ORGAN_OK)
        return error->status;
    s->old = is_old(s, first);
    if (!s->old && is_text(s))
        return organ_refuse(
            error, s->file.name,
            "is a text, not an importance matrix; 'organ imatrix MODEL --calibration TEXT -o FILE' makes "
            "one of a text");
    if ((s->old ? read_old(s, error) : read_gguf(s, error)) != ORGAN_OK)
        return error->status;
    s->view.format = s->old ? "imatrix.dat" : "GGUF";
    return s->view.entry_count ? ORGAN_OK : organ_refuse(error, s->file.name, "has no entries");
}

organ_status organ_imatrix_open(const char *path, organ_imatrix **imatrix, organ_error *error)
{
    *imatrix = NULL;
    organ_imatrix_state *const s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, path);
    s->file.fd = -1;
    if (open_file(s, path, error) == ORGAN_OK && read_file(s, error) == ORGAN_OK)
        *imatrix = &s->view;
    else
        organ_imatrix_close(&s->view);
    return error->status;
}

void organ_imatrix_close(organ_imatrix *imatrix)
{
    organ_imatrix_state *const s = (organ_imatrix_state *)imatrix;
    if (!s)
        return;
    if (s->file.fd >= 0)
        close(s->file.fd);
    organ_arena_release(&s->arena);
    organ_name_table_release(&s->names);
    ORGAN_FREE_ARRAYS(s->entries, s->places, s->datasets, s);
}

/* ---- numbers ---- */

static const organ_imatrix_state *state_of(const organ_imatrix *imatrix)
{
    return (const organ_imatrix_state *)imatrix;
}

organ_status organ_imatrix_read(const organ_imatrix *imatrix, void *to, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    return organ_model_file_read(&state_of(imatrix)->file, to, bytes, offset, error);
}

organ_status organ_imatrix_unchanged(const organ_imatrix *imatrix, organ_error *error)
{
    return organ_model_file_unchanged(&state_of(imatrix)->file, error);
}

/* A GGUF entry has one count for all matrices of a stack or one for each matrix; the count is read from the file. An
 * entry of the old format has one count, which is already in memory (organ_imatrix_bytes.counts). */
static organ_status read_stored(const organ_imatrix_state *s, const organ_imatrix_place *place, float *stored,
                                organ_error *error)
{
    const organ_imatrix_bytes *const bytes = &s->places[place->entry - s->entries];
    *stored = (float)bytes->counts;
    if (s->old)
        return ORGAN_OK;
    return organ_imatrix_read(&s->view, stored, sizeof *stored,
                              bytes->counts + (place->entry->counts > 1 ? place->matrix : 0) * sizeof *stored, error);
}

/* The divisor is the number of tokens that reached the matrix or, in the old format, the number of chunks. */
static organ_status read_count(const organ_imatrix_state *s, const organ_imatrix_place *place, double *count,
                               organ_error *error)
{
    float stored;
    if (read_stored(s, place, &stored, error) != ORGAN_OK)
        return error->status;
    *count = (double)stored;
    if (!(stored >= 1) || !isfinite(stored))
        return organ_refuse(error, s->file.name, "entry '%s': the count of matrix %" PRIu64 " is %g: %s",
                            place->entry->name, place->matrix, (double)stored,
                            stored == 0 ? "no token reached it, so it has no statistics"
                                        : "it must be finite and at least 1");
    return ORGAN_OK;
}

static organ_status check_fit(const organ_imatrix_state *s, const organ_imatrix_place *place, const char *tensor,
                              uint64_t features, organ_error *error)
{
    const organ_imatrix_entry *const e = place->entry;
    uint64_t requested;
    if (e->counts != 1 && e->counts != place->matrices)
        return organ_refuse(error, s->file.name,
                            "entry '%s' has counts for %" PRIu64 " matrices, but tensor '%s' has %" PRIu64, e->name,
                            e->counts, tensor, place->matrices);
    if (__builtin_mul_overflow(features, place->matrices, &requested) || e->values != requested ||
        place->matrix >= place->matrices)
        return organ_refuse(error, s->file.name,
                            "entry '%s' has %" PRIu64 " values, but tensor '%s' has %" PRIu64 " x %" PRIu64 " inputs",
                            e->name, e->values, tensor, place->matrices, features);
    return ORGAN_OK;
}

/* In old files, an expert without tokens has the same sum for all inputs. */
static organ_status columns_differ(const organ_imatrix_state *s, const organ_imatrix_place *place, uint64_t features,
                                   bool *differ, organ_error *error)
{
    const uint64_t bytes = features * sizeof(float);
    ORGAN_OWNED float *const sums = malloc((size_t)bytes);
    if (!sums)
        return organ_fail_memory(error, place->entry->name);
    organ_imatrix_read(&s->view, sums, bytes, s->places[place->entry - s->entries].sums + place->matrix * bytes, error);
    *differ = false;
    for (uint64_t j = 1; j < features && !error->status; j++)
        *differ |= sums[j] != sums[0];
    return error->status;
}

/* The old format has no counts for experts: there, a matrix of a stack is taken as reached if the sums of its inputs
 * differ. All other matrices are always taken as reached. */
organ_status organ_imatrix_reached(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                   uint64_t features, bool *reached, organ_error *error)
{
    const organ_imatrix_state *const s = state_of(imatrix);
    float stored = 1;
    *reached = true;
    if (check_fit(s, place, tensor, features, error) != ORGAN_OK)
        return error->status;
    if (s->old)
        return place->matrices > 1 && features > 1 ? columns_differ(s, place, features, reached, error) : ORGAN_OK;
    if (place->entry->counts > 1)
        read_stored(s, place, &stored, error);
    *reached = stored != 0;
    return error->status;
}

/* In an old file, equal sums of an expert are also an error, because llama.cpp writes them for experts without
 * tokens. */
organ_status organ_imatrix_norms(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                 uint64_t features, float *norms, double *count, organ_error *error)
{
    const organ_imatrix_state *const s = state_of(imatrix);
    const uint64_t bytes = features * sizeof *norms;
    if (check_fit(s, place, tensor, features, error) != ORGAN_OK || read_count(s, place, count, error) != ORGAN_OK ||
        organ_imatrix_read(imatrix, norms, bytes, s->places[place->entry - s->entries].sums + place->matrix * bytes,
                           error) != ORGAN_OK)
        return error->status;
    bool all_zero = true, all_same = true;
    for (uint64_t j = 0; j < features; j++) {
        if (!(norms[j] >= 0) || !isfinite(norms[j]))
            return organ_refuse(error, s->file.name,
                                "entry '%s': the sum of squares %" PRIu64 " is %g; it must be finite and not negative",
                                place->entry->name, place->matrix * features + j, (double)norms[j]);
        all_zero &= norms[j] == 0;
        all_same &= norms[j] == norms[0];
    }
    if (all_zero || (s->old && place->matrices > 1 && features > 1 && all_same))
        return organ_refuse(error, s->file.name,
                            "entry '%s': all %" PRIu64 " sums of matrix %" PRIu64
                            " are %g: they cannot rank the inputs",
                            place->entry->name, features, place->matrix, (double)norms[0]);
    for (uint64_t j = 0; j < features; j++)
        norms[j] = (float)sqrt((double)norms[j] / *count);
    return ORGAN_OK;
}
