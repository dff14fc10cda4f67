/* SPDX-License-Identifier: MIT
 * gguf_keys FILE: prints the key-values of a GGUF file, "KEY<tab>VALUE" with the value as JSON. Arrays of more than
 * LONG elements are printed as their number of elements.
 * gguf_keys FILE OUT EDIT...: writes the file with other key-values. An EDIT is KEY=TYPE:JSON, with TYPE a name such as
 * u32 or string and JSON a value or an array of values, or KEY= to remove the key; -NAME removes the tensors whose
 * names begin with NAME, and +NAME adds a tensor of that name with two numbers. */
#include "formats/gguf/file.h"
#include <organ/models.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONG = 4096 };

static void require(bool is, const char *what)
{
    if (!is) {
        fprintf(stderr, "gguf_keys: %s\n", what);
        exit(2);
    }
}

/* ---- printing ---- */

static json_t *value_at(const organ_gguf_kv *kv, uint64_t index)
{
    int64_t whole;
    double real;
    if (kv->element == ORGAN_GGUF_BOOL && organ_gguf_integer_at(kv, index, &whole))
        return json_boolean(whole);
    if (organ_gguf_integer_at(kv, index, &whole))
        return json_integer(whole);
    return organ_gguf_real_at(kv, index, &real) ? json_real(real) : json_null();
}

static json_t *array_of(const organ_gguf_kv *kv)
{
    json_t *const list = json_array();
    size_t at = ORGAN_GGUF_ARRAY_HEAD;
    for (uint64_t k = 0; k < kv->count; k++) {
        uint64_t length = 0;
        if (kv->element != ORGAN_GGUF_STRING) {
            json_array_append_new(list, value_at(kv, k));
            continue;
        }
        memcpy(&length, kv->bytes + at, sizeof length);
        json_array_append_new(list, json_stringn((const char *)kv->bytes + at + sizeof length, (size_t)length));
        at += sizeof length + (size_t)length;
    }
    return list;
}

static void print_keys(const organ_gguf *gguf)
{
    for (size_t k = 0; k < gguf->kv_count; k++) {
        const organ_gguf_kv *const kv = &gguf->kvs[k];
        size_t length = 0;
        const char *const text = organ_gguf_string(gguf, kv->key, &length);
        json_t *value;
        if (text)
            value = json_stringn(text, length);
        else if (kv->type != ORGAN_GGUF_ARRAY)
            value = value_at(kv, 0);
        else
            value = kv->count > LONG ? json_integer((json_int_t)kv->count) : array_of(kv);
        char *const shown = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        printf("%s\t%s\n", kv->key, shown);
        free(shown);
        json_decref(value);
    }
}

/* ---- editing ---- */

static void put_bytes(FILE *to, uint64_t value, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++)
        fputc((int)(value >> 8 * k & 255), to);
}

static void put_value(FILE *to, organ_gguf_type type, const json_t *value)
{
    if (type == ORGAN_GGUF_STRING) {
        put_bytes(to, json_string_length(value), 8);
        fwrite(json_string_value(value), 1, json_string_length(value), to);
    } else if (type == ORGAN_GGUF_F32) {
        const float real = (float)json_number_value(value);
        uint32_t bits;
        memcpy(&bits, &real, sizeof bits);
        put_bytes(to, bits, sizeof bits);
    } else if (type == ORGAN_GGUF_BOOL)
        put_bytes(to, json_is_true(value), 1);
    else
        put_bytes(to, (uint64_t)json_integer_value(value), organ_gguf_type_bytes(type));
}

static organ_gguf_type type_named(const char *name, size_t length)
{
    for (unsigned k = 0; k < ORGAN_GGUF_TYPES; k++)
        if (strlen(organ_gguf_type_name(k)) == length && memcmp(organ_gguf_type_name(k), name, length) == 0)
            return k;
    require(false, "unknown type");
    return ORGAN_GGUF_TYPES;
}

static void edit(organ_gguf_writer *writer, char *text, organ_error *error)
{
    char *const is = strchr(text, '='), *bytes;
    size_t size;
    require(is != NULL, "an edit is KEY=TYPE:JSON");
    *is = '\0';
    const char *const colon = strchr(is + 1, ':');
    if (!colon) {
        organ_gguf_writer_remove(writer, text);
        return;
    }
    json_t *const value = json_loads(colon + 1, JSON_DECODE_ANY, NULL);
    FILE *const to = open_memstream(&bytes, &size);
    require(value && to, "the value of an edit is not JSON");
    organ_gguf_kv kv = {.key = text, .element = type_named(is + 1, (size_t)(colon - is - 1)), .count = 1};
    kv.type = json_is_array(value) ? ORGAN_GGUF_ARRAY : kv.element;
    if (json_is_array(value)) {
        kv.count = json_array_size(value);
        put_bytes(to, kv.element, 4);
        put_bytes(to, kv.count, 8);
        for (size_t k = 0; k < kv.count; k++)
            put_value(to, kv.element, json_array_get(value, k));
    } else
        put_value(to, kv.element, value);
    fclose(to);
    kv.bytes = (const unsigned char *)bytes;
    kv.size = size;
    organ_gguf_writer_kv(writer, &kv, error);
    free(bytes);
    json_decref(value);
}

/* Edits of tensors among the arguments. */
typedef struct tensor_edits {
    char **items;
    int count;
} tensor_edits;

static bool is_removed(const tensor_edits *edits, const char *name)
{
    for (int k = 0; k < edits->count; k++)
        if (edits->items[k][0] == '-' && strncmp(name, edits->items[k] + 1, strlen(edits->items[k] + 1)) == 0)
            return true;
    return false;
}

static void write_file(const organ_model *model, const tensor_edits *edits, organ_gguf_writer *writer, const char *path,
                       organ_error *error)
{
    organ_gguf_layout layout = {0};
    const uint64_t two = 2;
    size_t written = 0;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (!is_removed(edits, t->name))
            organ_gguf_writer_tensor(writer, t->name, t->dtype, t->rank, t->shape, error);
    }
    for (int k = 0; k < edits->count; k++)
        if (edits->items[k][0] == '+')
            organ_gguf_writer_tensor(writer, edits->items[k] + 1, ORGAN_F32, 1, &two, error);
    require(organ_gguf_writer_finish(writer, &layout, error) == ORGAN_OK, error->message);
    FILE *const out = fopen(path, "wb");
    require(out && fwrite(layout.bytes, 1, layout.size, out) == layout.size, path);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (is_removed(edits, t->name))
            continue;
        unsigned char *const bytes = malloc(t->bytes + 1);
        require(bytes && organ_model_read(model, t->file, bytes, t->bytes, t->offset, error) == ORGAN_OK,
                error->message);
        require(fseek(out, (long)layout.offsets[written++], SEEK_SET) == 0 &&
                    fwrite(bytes, 1, t->bytes, out) == t->bytes,
                path);
        free(bytes);
    }
    require(fflush(out) == 0 && ftruncate(fileno(out), (off_t)layout.file_size) == 0 && fclose(out) == 0, path);
}

int main(int argc, char **argv)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_gguf_writer *writer = NULL;
    require(argc > 1, "usage: gguf_keys FILE [OUT EDIT...]");
    require(organ_model_open(argv[1], &model, &error) == ORGAN_OK && model->gguf, error.message);
    if (argc == 2) {
        print_keys(model->gguf);
    } else {
        organ_gguf_writer_create(&writer, &error);
        for (size_t k = 0; k < model->gguf->kv_count; k++)
            organ_gguf_writer_kv(writer, &model->gguf->kvs[k], &error);
        for (int k = 3; k < argc; k++)
            if (argv[k][0] != '-' && argv[k][0] != '+')
                edit(writer, argv[k], &error);
        write_file(model, &(tensor_edits){argv + 3, argc - 3}, writer, argv[2], &error);
        organ_gguf_writer_destroy(writer);
    }
    organ_model_close(model);
    return EXIT_SUCCESS;
}
