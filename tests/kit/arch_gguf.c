/* SPDX-License-Identifier: MIT
 * Makes the GGUF files that fixtures/make_arch_gguf.py describes. */
#include <organ/models.h>
#include "tests/kit/arch_maker.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGNMENT  32
#define LINE_LIMIT 16384
#define MAX_FIELDS 8

typedef struct gguf_target {
    arch_tensor tensor;
    float *values;
    uint64_t filled;
} gguf_target;

typedef struct gguf_work {
    const arch_model *model;
    FILE *keys; /* bytes of the keys as in the file */
    uint64_t key_count;
    gguf_target *targets;
    size_t target_count, source; /* source: of the search before */
} gguf_work;

/* ---- keys ---- */

static void put_number(FILE *file, uint64_t value, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++)
        ck_assert_int_ne(fputc((int)(value >> 8 * k & 255), file), EOF);
}

static void put_string(FILE *file, const char *text)
{
    put_number(file, strlen(text), 8);
    ck_assert_int_ge(fputs(text, file), 0);
}

static unsigned key_kind_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned kind;
    } kinds[] = {{"u32", ORGAN_GGUF_U32},   {"i32", ORGAN_GGUF_I32}, {"f32", ORGAN_GGUF_F32},
                 {"bool", ORGAN_GGUF_BOOL}, {"u64", ORGAN_GGUF_U64}, {"string", ORGAN_GGUF_STRING}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strncmp(name, kinds[k].name, strlen(kinds[k].name)) == 0)
            return kinds[k].kind;
    ck_abort_msg("unknown type '%s'", name);
}

static void put_value(FILE *file, unsigned kind, const char *text)
{
    if (kind == ORGAN_GGUF_STRING) {
        put_string(file, text);
    } else if (kind == ORGAN_GGUF_F32) {
        const float value = strtof(text, NULL);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        put_number(file, bits, sizeof bits);
    } else {
        const size_t wide = kind == ORGAN_GGUF_U64 ? 8 : 4;
        put_number(file, (uint64_t)strtoll(text, NULL, 10), kind == ORGAN_GGUF_BOOL ? 1 : wide);
    }
}

static size_t commas(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == ',';
    return count;
}

/* Writes a key from its fields: name, type, value. */
static void put_key(gguf_work *work, char *const *fields)
{
    const bool array = *fields[1] == '[';
    const unsigned kind = key_kind_of(fields[1] + array);
    put_string(work->keys, fields[0]);
    put_number(work->keys, array ? (unsigned)ORGAN_GGUF_ARRAY : kind, 4);
    if (array) {
        put_number(work->keys, kind, 4);
        put_number(work->keys, commas(fields[2]) + 1, 8);
    }
    char *rest = fields[2], *value = array ? strtok_r(fields[2], ",", &rest) : fields[2];
    for (; value; value = array ? strtok_r(NULL, ",", &rest) : NULL)
        put_value(work->keys, kind, value);
    work->key_count++;
}

/* ---- values ---- */

static float function_of(const char *name, float value)
{
    if (strcmp(name, "1+x") == 0)
        return 1 + value;
    if (strcmp(name, "-exp") == 0)
        return -expf(value);
    ck_assert_str_eq(name, "x");
    return value;
}

/* Returns the place of the next `count` values of the last target. */
static float *appended(gguf_work *work, uint64_t count)
{
    gguf_target *const target = &work->targets[work->target_count - 1];
    ck_assert_uint_le(count, target->tensor.elements - target->filled);
    target->filled += count;
    return target->values + target->filled - count;
}

/* Searches from the source found before, because targets are nearly in the order of the sources. */
static const arch_tensor *source_named(gguf_work *work, const char *name)
{
    const size_t count = work->model->count;
    for (size_t k = 0; k < count; k++) {
        const size_t at = (work->source + k) % count;
        if (strcmp(work->model->tensors[at].name, name) == 0) {
            work->source = at;
            return &work->model->tensors[at];
        }
    }
    ck_abort_msg("no tensor '%s'", name);
}

/* Parses numbers between separators of one character; returns their count. */
static size_t numbers(const char *text, uint64_t numbers[MAX_FIELDS])
{
    size_t count = 0;
    for (char *end; *text; text = end + (*end != 0)) {
        ck_assert_uint_lt(count, MAX_FIELDS);
        numbers[count++] = strtoull(text, &end, 10);
    }
    return count;
}

/* Appends the values of a source from its fields: name, function and, for a view, offset, dimensions, strides. */
static void append_source(gguf_work *work, char *const *fields, size_t count)
{
    const arch_tensor *const source = source_named(work, fields[0]);
    uint64_t dims[MAX_FIELDS] = {source->elements}, strides[MAX_FIELDS] = {1}, offset = 0, elements = 1;
    size_t rank = 1;
    if (count > 2) {
        offset = strtoull(fields[2], NULL, 10);
        rank = numbers(fields[3], dims);
        ck_assert_uint_eq(numbers(fields[4], strides), rank);
    }
    for (size_t d = 0; d < rank; d++)
        elements *= dims[d];
    float *const target = appended(work, elements);
    float *const values = arch_is_hole(work->model, source) ? NULL : arch_values(source);
    uint64_t largest = 0;
    for (uint64_t k = 0; values && k < elements; k++) {
        uint64_t at = offset, rest = k;
        for (size_t d = rank; d-- > 0; rest /= dims[d])
            at += rest % dims[d] * strides[d];
        largest = at > largest ? at : largest;
        target[k] = at < source->elements ? function_of(fields[1], values[at]) : 0;
    }
    ck_assert_uint_lt(largest, source->elements);
    free(values);
}

static void add_target(gguf_work *work, char *const *fields)
{
    gguf_target *const target = &work->targets[work->target_count++];
    snprintf(target->tensor.name, sizeof target->tensor.name, "%s", fields[0]);
    arch_shape_read(&target->tensor, fields[1]);
    target->values = calloc((size_t)target->tensor.elements, sizeof(float));
    ck_assert_ptr_nonnull(target->values);
}

/* ---- reading the description ---- */

static void read_line(gguf_work *work, char *line)
{
    char *fields[MAX_FIELDS] = {NULL}, *rest = NULL;
    size_t count = 0;
    for (char *field = strtok_r(line, "\t\n", &rest); field; field = strtok_r(NULL, "\t\n", &rest)) {
        ck_assert_uint_lt(count, MAX_FIELDS);
        fields[count++] = field;
    }
    ck_assert_uint_ge(count, 2);
    if (strcmp(fields[0], "key") == 0)
        put_key(work, fields + 1);
    else if (strcmp(fields[0], "tensor") == 0)
        add_target(work, fields + 1);
    else if (strcmp(fields[0], "from") == 0)
        append_source(work, fields + 1, count - 1);
    else {
        ck_assert_str_eq(fields[0], "values");
        for (char *number = fields[1]; *number; number += *number == ',')
            *appended(work, 1) = strtof(number, &number);
    }
}

/* Returns true if both lines set the same key. */
static bool same_key(const char *line, const char *other)
{
    const char *const end = strchr(other, '\t') ? strchr(strchr(other, '\t') + 1, '\t') : NULL;
    return end && strncmp(line, "key\t", 4) == 0 && strncmp(line, other, (size_t)(end - other) + 1) == 0;
}

static void read_description(gguf_work *work, const char *path, const char *other)
{
    FILE *const file = fopen(path, "r");
    char *const line = malloc(LINE_LIMIT);
    ck_assert_msg(file != NULL && line != NULL, "%s cannot be opened", path);
    while (fgets(line, LINE_LIMIT, file)) {
        ck_assert_msg(strchr(line, '\n') != NULL, "%s: a line is too long", path);
        if (*line != '#' && !same_key(line, other))
            read_line(work, line);
    }
    if (*other) {
        snprintf(line, LINE_LIMIT, "%s", other);
        read_line(work, line);
    }
    free(line);
    fclose(file);
}

/* ---- writing the file ---- */

static void pad(FILE *file)
{
    while (ftell(file) % ALIGNMENT)
        put_number(file, 0, 1);
}

static void write_file(gguf_work *work, const char *path, const char *keys, size_t key_bytes)
{
    FILE *const file = fopen(path, "wb");
    uint64_t at = 0;
    ck_assert_msg(file != NULL, "%s cannot be written", path);
    ck_assert_int_ge(fputs("GGUF", file), 0);
    put_number(file, 3, 4);
    put_number(file, work->target_count, 8);
    put_number(file, work->key_count, 8);
    ck_assert_uint_eq(fwrite(keys, 1, key_bytes, file), key_bytes);
    for (size_t k = 0; k < work->target_count; k++) {
        const arch_tensor *const t = &work->targets[k].tensor;
        ck_assert_msg(work->targets[k].filled == t->elements, "%s has not all its values", t->name);
        put_string(file, t->name);
        put_number(file, t->rank, 4);
        for (unsigned d = t->rank; d-- > 0;)
            put_number(file, t->shape[d], 8);
        put_number(file, 0, 4); /* F32 */
        put_number(file, at, 8);
        at += (t->elements * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (size_t k = 0; k < work->target_count; k++) {
        const size_t count = (size_t)work->targets[k].filled;
        pad(file);
        if (arch_is_hole(work->model, &work->targets[k].tensor))
            ck_assert_int_eq(fseek(file, (long)(count * sizeof(float)), SEEK_CUR), 0);
        else
            ck_assert_uint_eq(fwrite(work->targets[k].values, sizeof(float), count, file), count);
    }
    pad(file);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(ftruncate(fileno(file), ftell(file)), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static arch_reference make(const char *model_type, const char *path, const char *other, bool is_outline)
{
    arch_reference reference;
    char from[256], *keys;
    size_t key_bytes;
    arch_model model = arch_model_read(model_type, &reference);
    model.is_outline = is_outline;
    gguf_work work = {
        .model = &model, .keys = open_memstream(&keys, &key_bytes), .targets = calloc(1024, sizeof(gguf_target))};
    ck_assert(work.keys && work.targets);
    snprintf(from, sizeof from, "fixtures/architectures/%s/gguf.tsv", model_type);
    read_description(&work, from, other);
    ck_assert_int_eq(fclose(work.keys), 0);
    write_file(&work, path, keys, key_bytes);
    for (size_t k = 0; k < work.target_count; k++)
        free(work.targets[k].values);
    free(work.targets);
    free(keys);
    free(model.tensors);
    return reference;
}

arch_reference arch_make_gguf(const char *model_type, const char *path, const char *other)
{
    return make(model_type, path, other, false);
}

arch_reference arch_outline_gguf(const char *model_type, const char *path, const char *other)
{
    return make(model_type, path, other, true);
}
