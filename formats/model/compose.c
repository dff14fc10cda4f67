/* SPDX-License-Identifier: MIT
 * Reads composed tensors: rows are copied, or values of a whole matrix are computed and kept until another is needed.
 */
#include "formats/model/compose.h"

#include "formats/base/arena.h"
#include "formats/base/half.h"
#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Stands for the descriptor of a shown file: a model need not be one of organ_model_open. */
#define SHOWN (-2)

organ_status organ_compositions_add(organ_compositions *all, organ_composed *made, organ_error *error)
{
    if (!organ_grow(&all->list, all->count, &all->capacity, sizeof *all->list))
        return organ_fail_memory(error, made->as.name);
    made->as.offset = ORGAN_COMPOSED_AT + all->count;
    all->list[all->count++] = *made;
    return ORGAN_OK;
}

void organ_compositions_release(organ_compositions *all)
{
    for (size_t f = 0; f < all->file_count; f++) {
        free(all->files[f].header);
        if (all->files[f].real.remote)
            organ_http_close(all->files[f].real.remote);
        else if (all->files[f].real.fd >= 0)
            close(all->files[f].real.fd);
    }
    if (all->locks)
        pthread_mutex_destroy(&all->lock);
    organ_rows_free(all->places);
    free(all->files);
    free(all->values);
    free(all->list);
    *all = (organ_compositions){0};
}

/* ---- numbers ---- */

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint16_t to_half(float value)
{
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7FFFFFFFu;
    if (size >= 0x7F800000u)
        return (uint16_t)(sign | (size > 0x7F800000u ? 0x7E00u : 0x7C00u));
    if (size < 0x38800000u) /* below the least normal number: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(ldexpf(of_bits(size), 24)));
    const uint32_t rounded = size + 0xFFFu + (size >> 13 & 1u);
    return (uint16_t)(sign | (rounded >= 0x47800000u ? 0x7C00u : (rounded - 0x38000000u) >> 13));
}

static uint16_t to_brain(float value)
{
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 64u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

static float number_at(organ_dtype type, const unsigned char *bytes, uint64_t k)
{
    uint16_t two;
    uint32_t four;
    if (type == ORGAN_F32) {
        memcpy(&four, bytes + 4 * k, sizeof four);
        return of_bits(four);
    }
    memcpy(&two, bytes + 2 * k, sizeof two);
    return type == ORGAN_F16 ? organ_half_value(two) : of_bits((uint32_t)two << 16);
}

static void put_number(organ_dtype type, float value, unsigned char *bytes, uint64_t k)
{
    const uint32_t four = bits_of(value);
    const uint16_t two = type == ORGAN_F16 ? to_half(value) : to_brain(value);
    if (type == ORGAN_F32)
        memcpy(bytes + 4 * k, &four, sizeof four);
    else
        memcpy(bytes + 2 * k, &two, sizeof two);
}

static float rounded(organ_dtype type, float value)
{
    if (type == ORGAN_F32)
        return value;
    return type == ORGAN_F16 ? organ_half_value(to_half(value)) : of_bits((uint32_t)to_brain(value) << 16);
}

/* ---- codes of MLX ---- */

static float of_e2m1(unsigned code)
{
    static const float levels[] = {0, .5F, 1, 1.5F, 2, 3, 4, 6};
    return code & 8 ? -levels[code & 7] : levels[code & 7];
}

static float of_e4m3(unsigned code)
{
    const unsigned exponent = code >> 3 & 15, fraction = code & 7;
    const float size = exponent ? ldexpf((float)(8 + fraction), (int)exponent - 10) : ldexpf((float)fraction, -9);
    if ((code & 127) == 127)
        return NAN;
    return code & 128 ? -size : size;
}

static unsigned code_at(const unsigned char *row, unsigned bits, uint64_t k)
{
    const uint64_t at = k * bits, byte = at / 8;
    const unsigned two = row[byte] | (at % 8 + bits > 8 ? (unsigned)row[byte + 1] << 8 : 0);
    return two >> at % 8 & ((1u << bits) - 1);
}

typedef struct stored_rows {
    const organ_compose_part *part;
    const unsigned char *codes, *scales, *biases; /* of one matrix */
    uint64_t cols, groups;                        /* values and scales of a row */
    uint64_t row_bytes;                           /* of codes */
} stored_rows;

static float float_value(const stored_rows *s, uint64_t row, uint64_t col)
{
    const uint64_t group = s->cols / s->groups;
    const unsigned scale = s->scales[row * s->groups + col / group],
                   code = code_at(s->codes + row * s->row_bytes, s->part->bits, col);
    const float size = group == 16 ? of_e4m3(scale) : ldexpf(1, (int)scale - 127);
    return (s->part->bits == 8 ? of_e4m3(code) : of_e2m1(code)) * size;
}

static float stored_value(const stored_rows *s, uint64_t row, uint64_t col)
{
    const organ_dtype type = s->part->scales.dtype;
    if (!s->part->bits)
        return number_at(s->part->codes.dtype, s->codes, row * s->cols + col);
    if (!s->part->affine)
        return float_value(s, row, col);
    const uint64_t at = row * s->groups + col / (s->cols / s->groups);
    const float code = (float)code_at(s->codes + row * s->row_bytes, s->part->bits, col);
    return rounded(type, rounded(type, code * number_at(type, s->scales, at)) + number_at(type, s->biases, at));
}

/* ---- matrices ---- */

/* Reads one matrix of `count` of the tensor; a tensor without a name is left out. */
static unsigned char *load_matrix(const organ_compositions *all, const organ_tensor *tensor, uint64_t count,
                                  uint64_t matrix, organ_error *error)
{
    const size_t bytes = tensor->name ? (size_t)(tensor->bytes / count) : 0;
    unsigned char *const data = malloc(bytes + 1);
    if (!data)
        organ_fail_memory(error, "a matrix of mlx-lm");
    else if (bytes)
        organ_model_file_read(&all->files[tensor->file].real, data, bytes, tensor->offset + matrix * bytes, error);
    return data;
}

static uint64_t last_axis(const organ_tensor *tensor) { return tensor->rank ? tensor->shape[tensor->rank - 1] : 1; }

static uint64_t columns_of(const organ_compose_part *part)
{
    return part->bits ? last_axis(&part->codes) * 32 / part->bits : last_axis(&part->codes);
}

static uint64_t rows_of(const organ_compose_part *part, uint64_t count)
{
    return part->codes.elements / last_axis(&part->codes) / count;
}

/* Returns the index in the composed matrix of the value at `row` and `col` of part `which`, before which there are `at`
 * rows or columns. */
static uint64_t place_of(const organ_composed *c, size_t which, uint64_t at, uint64_t row, uint64_t col)
{
    switch (c->form) {
    case ORGAN_COMPOSE_BELOW:
        return (at + row) * c->cols + col;
    case ORGAN_COMPOSE_BESIDE:
        return row * c->cols + at + col;
    default:
        return row * c->cols + col * c->part_count + which;
    }
}

/* Puts the values of a part's matrix into `values`: from row `at` on (ORGAN_COMPOSE_BELOW), from column `at` on
 * (ORGAN_COMPOSE_BESIDE), or column k to column k x part_count + which (ORGAN_COMPOSE_WOVEN), without regard to `at`.
 */
static organ_status put_part(const organ_compositions *all, const organ_composed *c, size_t which, uint64_t matrix,
                             uint64_t at, unsigned char *values, organ_error *error)
{
    const organ_compose_part *const part = &c->parts[which];
    const uint64_t count = c->apart ? 1 : c->count, cols = columns_of(part), rows = rows_of(part, count);
    ORGAN_OWNED unsigned char *const codes = load_matrix(all, &part->codes, count, matrix, error);
    ORGAN_OWNED unsigned char *const scales =
        error->status ? NULL : load_matrix(all, &part->scales, count, matrix, error);
    ORGAN_OWNED unsigned char *const biases =
        error->status ? NULL : load_matrix(all, &part->biases, count, matrix, error);
    const stored_rows s = {.part = part,
                           .codes = codes,
                           .scales = scales,
                           .biases = biases,
                           .cols = cols,
                           .groups = part->bits ? last_axis(&part->scales) : 1,
                           .row_bytes = last_axis(&part->codes) * 4};
    for (uint64_t r = 0; r < rows && !error->status; r++)
        for (uint64_t k = 0; k < cols; k++) {
            const uint64_t row = part->turned ? k : r, col = part->turned ? r : k;
            const float value = stored_value(&s, r, k) * (c->times ? c->times[row] : 1) + c->plus;
            put_number(c->as.dtype, value, values, place_of(c, which, at, row, col));
        }
    return error->status;
}

/* Computes one matrix of the tensor in all->values, unless it is there already. The caller holds all->lock. */
static organ_status compute_matrix(organ_compositions *all, const organ_composed *c, uint64_t matrix,
                                   organ_error *error)
{
    if (all->held == c && all->matrix == matrix)
        return ORGAN_OK;
    all->held = NULL;
    free(all->values);
    all->values = calloc((size_t)(c->as.bytes / c->count) + 1, 1);
    if (!all->values)
        return organ_fail_memory(error, c->as.name);
    if (c->apart)
        put_part(all, c, (size_t)matrix, 0, 0, all->values, error);
    /* `at`: rows (ORGAN_COMPOSE_BELOW) or columns (ORGAN_COMPOSE_BESIDE) of the parts before */
    for (size_t k = 0, at = 0; !c->apart && k < c->part_count && !error->status; k++) {
        const organ_compose_part *const part = &c->parts[k];
        put_part(all, c, k, matrix, at, all->values, error);
        const uint64_t rows = rows_of(part, c->count), cols = columns_of(part); /* as the part is stored */
        if (c->form == ORGAN_COMPOSE_BELOW)
            at += part->turned ? cols : rows;
        else
            at += part->turned ? rows : cols;
    }
    if (!error->status) {
        all->held = c;
        all->matrix = matrix;
    }
    return error->status;
}

static organ_status read_values(organ_compositions *all, const organ_composed *c, unsigned char *to, size_t bytes,
                                uint64_t from, organ_error *error)
{
    const uint64_t each = c->as.bytes / c->count;
    ORGAN_LOCKED(&all->lock);
    while (bytes && !error->status) {
        const uint64_t at = from % each;
        const size_t take = each - at < bytes ? (size_t)(each - at) : bytes;
        if (compute_matrix(all, c, from / each, error) == ORGAN_OK)
            memcpy(to, all->values + at, take);
        to += take;
        from += take;
        bytes -= take;
    }
    return error->status;
}

/* The bytes of each matrix are those of the parts' matrices, one after another. */
static organ_status read_rows(const organ_compositions *all, const organ_composed *c, unsigned char *to, size_t bytes,
                              uint64_t from, organ_error *error)
{
    const uint64_t each = c->as.bytes / c->count;
    while (bytes && !error->status) {
        uint64_t at = from % each;
        size_t k = 0;
        for (; at >= c->parts[k].codes.bytes / c->count; k++)
            at -= c->parts[k].codes.bytes / c->count;
        const organ_tensor *const part = &c->parts[k].codes;
        const uint64_t own = part->bytes / c->count;
        const size_t take = own - at < bytes ? (size_t)(own - at) : bytes;
        organ_model_file_read(&all->files[part->file].real, to, take, part->offset + from / each * own + at, error);
        to += take;
        from += take;
        bytes -= take;
    }
    return error->status;
}

/* ---- shown files ---- */

static size_t least(size_t a, uint64_t b) { return a < b ? a : (size_t)b; }

static unsigned width_of(const organ_tensor *t) { return organ_dtype_describe(t->dtype)->bytes; }

/* Wider types are first, so that every tensor is aligned. */
static int by_place(const void *a, const void *b)
{
    const organ_tensor *const x = a, *const y = b;
    const int files = ORGAN_ORDER(x->file, y->file), widths = ORGAN_ORDER(width_of(y), width_of(x));
    return ORGAN_ORDERS(files, widths, ORGAN_ORDER(x->offset, y->offset));
}

static void put_entry(FILE *out, const organ_tensor *t, uint64_t begin, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const name = json_string(t->name);
    ORGAN_OWNED char *const quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    if (!quoted)
        organ_fail_memory(error, t->name);
    fprintf(out, ",%s:{\"dtype\":\"%s\",\"shape\":[", quoted ? quoted : "", organ_dtype_name(t->dtype));
    for (unsigned d = 0; d < t->rank; d++)
        fprintf(out, "%s%" PRIu64, d ? "," : "", t->shape[d]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + t->bytes);
}

/* The header has a multiple of 64 bytes, 8 of them for its length. */
static organ_status make_header(organ_composed_file *file, const organ_tensor *tensors, organ_error *error)
{
    uint64_t at = 0;
    size_t size = 0;
    FILE *const out = open_memstream(&file->header, &size);
    if (!out)
        return organ_fail_memory(error, file->real.name);
    fprintf(out, "        {\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t k = 0; k < file->count && !error->status; k++) {
        put_entry(out, &tensors[k], at, error);
        at += tensors[k].bytes;
    }
    fputc('}', out);
    for (long used = ftell(out); used >= 0 && used % 64; used++)
        fputc(' ', out);
    if (fclose(out) != 0 && !error->status)
        organ_fail_memory(error, file->real.name);
    for (unsigned k = 0; !error->status && k < 8; k++)
        file->header[k] = (char)(((uint64_t)size - 8) >> 8 * k);
    file->header_bytes = size;
    return error->status;
}

static organ_status show_file(organ_compositions *all, size_t f, organ_tensor *tensors, organ_model_file *shown,
                              organ_error *error)
{
    organ_composed_file *const file = &all->files[f];
    if (make_header(file, tensors, error) != ORGAN_OK)
        return error->status;
    uint64_t at = file->header_bytes;
    for (size_t k = 0; k < file->count; k++) {
        organ_tensor *const t = &tensors[k];
        all->places[file->first + k] = (organ_composed_place){at, t->bytes, t->offset};
        if (t->offset >= ORGAN_COMPOSED_AT)
            all->list[t->offset - ORGAN_COMPOSED_AT].as = *t;
        t->offset = at;
        at += t->bytes;
    }
    shown->fd = SHOWN;
    shown->remote = NULL;
    shown->size = at;
    shown->data_offset = file->header_bytes;
    return ORGAN_OK;
}

organ_status organ_compositions_show(organ_compositions *all, organ_tensor_list *list, organ_model_file *files,
                                     size_t count, organ_error *error)
{
    all->locks = pthread_mutex_init(&all->lock, NULL) == 0;
    all->files = calloc(count, sizeof *all->files);
    all->places = organ_rows_take(list->count + 1, sizeof *all->places);
    if (!all->locks || !all->files || !all->places)
        return organ_fail_memory(error, "the files of mlx-lm");
    if (list->count)
        qsort(list->tensors, list->count, sizeof *list->tensors, by_place);
    all->used = true;
    for (size_t f = 0, k = 0; f < count && !error->status; f++) {
        all->files[f] = (organ_composed_file){.real = files[f], .first = k};
        while (k < list->count && list->tensors[k].file == f)
            k++;
        all->files[f].count = k - all->files[f].first;
        all->file_count = f + 1;
        show_file(all, f, &list->tensors[all->files[f].first], &files[f], error);
    }
    return error->status;
}

/* Returns the first place of the file that ends after `offset`, or the end of its places. */
static size_t first_after(const organ_compositions *all, const organ_composed_file *file, uint64_t offset)
{
    size_t low = file->first, high = file->first + file->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (all->places[middle].offset + all->places[middle].bytes > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static organ_status read_place(organ_compositions *all, const organ_composed_file *file,
                               const organ_composed_place *place, unsigned char *to, size_t bytes, uint64_t from,
                               organ_error *error)
{
    if (place->from < ORGAN_COMPOSED_AT)
        return organ_model_file_read(&file->real, to, bytes, place->from + from, error);
    const organ_composed *const c = &all->list[place->from - ORGAN_COMPOSED_AT];
    return c->bytes ? read_rows(all, c, to, bytes, from, error) : read_values(all, c, to, bytes, from, error);
}

organ_status organ_compositions_read(organ_compositions *all, uint32_t index, void *to, size_t bytes, uint64_t offset,
                                     organ_error *error)
{
    const organ_composed_file *const file = &all->files[index];
    unsigned char *out = to;
    if (offset < file->header_bytes && bytes) {
        const size_t take = least(bytes, file->header_bytes - offset);
        memcpy(out, file->header + offset, take);
        out += take;
        offset += take;
        bytes -= take;
    }
    for (size_t k = first_after(all, file, offset); bytes && !error->status; k++) {
        if (k == file->first + file->count)
            return organ_refuse(error, file->real.name, "ends before byte %" PRIu64, offset + bytes);
        const uint64_t from = offset - all->places[k].offset;
        const size_t take = least(bytes, all->places[k].bytes - from);
        read_place(all, file, &all->places[k], out, take, from, error);
        out += take;
        offset += take;
        bytes -= take;
    }
    return error->status;
}

void organ_model_files_count(organ_model_file *files, size_t count, const organ_tensor_list *list)
{
    for (size_t f = 0, k = 0; f < count; f++) {
        files[f].first = k;
        while (k < list->count && list->tensors[k].file == f)
            k++;
        files[f].count = k - files[f].first;
    }
}

bool organ_model_is_composed(const organ_model *model) { return model->file_count && model->files[0].fd == SHOWN; }

char *organ_composed_index(const organ_model *model)
{
    ORGAN_OWNED_JSON json_t *const map = json_object();
    uint64_t bytes = 0;
    bool complete = map != NULL;
    for (size_t k = 0; k < model->tensor_count && complete; k++) {
        bytes += model->tensors[k].bytes;
        complete = json_object_set_new(map, model->tensors[k].name,
                                       json_string(model->files[model->tensors[k].file].name)) == 0;
    }
    ORGAN_OWNED_JSON json_t *const index =
        complete ? json_pack("{s:{s:I},s:O}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map) : NULL;
    return index ? json_dumps(index, JSON_INDENT(2)) : NULL;
}
