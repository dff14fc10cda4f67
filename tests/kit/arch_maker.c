/* SPDX-License-Identifier: MIT */
#include "tests/kit/arch_maker.h"

#include "orchestrator/solve/algebra.h"
#include "tests/kit/model_maker.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TENSORS 1024
#define MAX_TOKENS  4096
#define LARGE       256 /* more elements than the tensors have whose values the forward pass reads when it is opened */

/* ---- values, as fixtures/make_arch.py makes them ---- */

static bool arch_has(const char *name, const char *const *words)
{
    for (; *words; words++)
        if (strstr(name, *words))
            return true;
    return false;
}

/* Returns the random stream of a tensor: FNV-1a of its name. */
static uint64_t arch_stream(const char *name)
{
    uint64_t value = 0xCBF29CE484222325u;
    for (; *name; name++)
        value = (value ^ (unsigned char)*name) * 0x100000001B3u;
    return value;
}

/* Sets a and b; the values are b + a u. */
static void arch_scale(const arch_tensor *t, float *a, float *b)
{
    static const char *const norms[] = {"norm", "ln_", "layer_scalar", NULL},
                             *const states[] = {"A_log", "dt_bias", "sinks", "sink_bias", NULL},
                             *const embeddings[] = {"embed", "wte", "wpe", NULL}, *const biases[] = {"bias", NULL},
                             *const vectors[] = {"embed", "wte", "wpe", "norm", "A_log", NULL},
                             *const strong[] = {"router", ".gate.", "lm_head", NULL};
    const char *const both = strstr(t->name, "norm_attn_norm."); /* of DBRX, which has more than norms there */
    const char *const name = both ? strchr(both, '.') + 1 : t->name;
    *a = 1;
    *b = 0;
    if (strstr(name, "act_fn.eps")) {
        *a = 0;
        *b = -1e-6F;
    } else if (strstr(name, "act_fn.beta")) {
        *a = 0.1F;
        *b = 0.5F;
    } else if (arch_has(name, norms)) {
        *a = 0.3F;
        *b = 1;
    } else if (arch_has(name, states))
        *b = 0.5F;
    else if (!arch_has(name, embeddings) && arch_has(name, biases))
        *a = 0.3F;
    if (t->rank >= 2 && !arch_has(name, vectors)) {
        *a = (float)((arch_has(name, strong) ? 3.0 : 1.0) * sqrt(3.0 / (double)t->shape[t->rank - 1]));
        *b = 0;
    }
}

float *arch_values(const arch_tensor *t)
{
    float *const values = malloc((size_t)t->elements * sizeof *values);
    float a, b;
    ck_assert_ptr_nonnull(values);
    organ_philox_uniform(1, arch_stream(t->name), 0, values, (size_t)t->elements);
    arch_scale(t, &a, &b);
    for (size_t k = 0; k < t->elements; k++) {
        const float scaled = values[k] * a;
        values[k] = scaled + b;
    }
    return values;
}

/* Returns whether the tensor contains bytes: codes or exponents of gpt-oss's MXFP4. */
static bool arch_is_bytes(const arch_tensor *t)
{
    static const char *const ends[] = {"_blocks", "_scales", NULL};
    return arch_has(t->name, ends);
}

/* Returns random bytes: any codes, or exponents from 2^-6 to 2^-4. */
static unsigned char *arch_bytes(const arch_tensor *t)
{
    static const char *const codes[] = {"_blocks", NULL};
    float *const values = malloc((size_t)t->elements * sizeof *values);
    unsigned char *const bytes = malloc((size_t)t->elements);
    ck_assert(values && bytes);
    organ_philox_uniform(1, arch_stream(t->name), 0, values, (size_t)t->elements);
    for (size_t k = 0; k < t->elements; k++) {
        const float number = values[k] + 1;
        bytes[k] = (unsigned char)(arch_has(t->name, codes) ? number * 128 : number * 1.5F + 121);
    }
    free(values);
    return bytes;
}

/* ---- tables of experts (tid2eid) ---- */

#define TABLE_EXPERTS 8 /* experts of the models that have such tables */

static bool arch_is_table(const arch_tensor *t)
{
    static const char *const words[] = {"tid2eid", NULL};
    return arch_has(t->name, words);
}

/* Returns rows of neighbouring numbers of experts, with a random first one. */
static int64_t *arch_table(const arch_tensor *t)
{
    float *const values = malloc((size_t)t->elements * sizeof *values);
    int64_t *const numbers = malloc((size_t)t->elements * sizeof *numbers);
    const size_t width = (size_t)t->shape[t->rank - 1];
    ck_assert(values && numbers);
    organ_philox_uniform(1, arch_stream(t->name), 0, values, (size_t)t->elements);
    for (size_t k = 0; k < t->elements; k++) {
        const float first = (values[k / width * width] + 1) * (TABLE_EXPERTS / 2);
        numbers[k] = ((int64_t)first + (int64_t)(k % width)) % TABLE_EXPERTS;
    }
    free(values);
    return numbers;
}

/* ---- codes and scales of DeepSeek-V4 ---- */

/* Returns any codes but NaN, or exponents that make weights as large as those of other models. */
static unsigned char *arch_codes(const arch_tensor *t)
{
    static const char *const words[] = {".experts.", NULL};
    float *const values = malloc((size_t)t->elements * sizeof *values);
    unsigned char *const bytes = malloc((size_t)t->elements);
    const bool few = arch_has(t->name, words);
    ck_assert(values && bytes);
    organ_philox_uniform(1, arch_stream(t->name), 0, values, (size_t)t->elements);
    for (size_t k = 0; k < t->elements; k++) {
        const float number = values[k] + 1;
        if (strcmp(t->dtype, "F8_E8M0") == 0)
            bytes[k] = (unsigned char)((unsigned char)(number * (few ? 1.0F : 1.5F)) + (few ? 122 : 116));
        else
            bytes[k] = (unsigned char)(number * 128);
        if (strcmp(t->dtype, "F8_E4M3") == 0 && (bytes[k] & 127) == 127)
            bytes[k]--;
    }
    free(values);
    return bytes;
}

/* Returns the bytes of an element. */
static size_t arch_size(const arch_tensor *t)
{
    if (*t->dtype)
        return 1;
    if (arch_is_table(t))
        return sizeof(int64_t);
    return arch_is_bytes(t) ? 1 : sizeof(float);
}

static const char *arch_dtype(const arch_tensor *t)
{
    if (*t->dtype)
        return t->dtype;
    if (arch_is_table(t))
        return "I64";
    return arch_is_bytes(t) ? "U8" : "F32";
}

/* ---- reading a fixture ---- */

void arch_shape_read(arch_tensor *t, const char *shape)
{
    char *end;
    t->elements = 1;
    t->rank = 0;
    for (const char *at = strcmp(shape, "scalar") == 0 ? "" : shape; *at; at = end + (*end == 'x')) {
        ck_assert_uint_lt(t->rank, 5);
        t->shape[t->rank] = strtoull(at, &end, 10);
        ck_assert(t->shape[t->rank] > 0 && t->shape[t->rank] <= 1 << 20);
        t->elements *= t->shape[t->rank++];
    }
}

static void read_tensor(const char *line, arch_model *model)
{
    arch_tensor *const t = &model->tensors[model->count++];
    char shape[64];
    ck_assert_uint_le(model->count, MAX_TENSORS);
    ck_assert_int_ge(sscanf(line, "tensor\t%191s\t%63s\t%15s", t->name, shape, t->dtype), 2);
    arch_shape_read(t, shape);
}

static void read_token(const char *line, arch_reference *reference)
{
    const size_t k = reference->count++;
    unsigned token;
    char loss[64];
    ck_assert_uint_le(reference->count, MAX_TOKENS);
    ck_assert_int_eq(sscanf(line, "token\t%u\t%63s", &token, loss), 2);
    reference->tokens[k] = token;
    reference->losses[k] = k ? strtod(loss, NULL) : 0;
}

static void read_fixture(const char *path, arch_model *model, arch_reference *reference)
{
    FILE *const file = fopen(path, "r");
    char line[512];
    ck_assert_msg(file != NULL, "%s cannot be opened", path);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "tensor\t", 7) == 0)
            read_tensor(line, model);
        else if (strncmp(line, "token\t", 6) == 0)
            read_token(line, reference);
        else
            ck_assert_msg(line[0] == '#', "%s: %s", path, line);
    }
    fclose(file);
}

/* ---- writing the model ---- */

static void write_header(FILE *file, const arch_model *model)
{
    char *header;
    size_t length;
    uint64_t at = 0;
    FILE *const text = open_memstream(&header, &length);
    ck_assert_ptr_nonnull(text);
    for (size_t k = 0; k < model->count; k++) {
        const arch_tensor *const t = &model->tensors[k];
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", k ? "," : "{", t->name, arch_dtype(t));
        for (unsigned d = 0; d < t->rank; d++)
            fprintf(text, d ? ",%llu" : "%llu", (unsigned long long)t->shape[d]);
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                (unsigned long long)(at + t->elements * arch_size(t)));
        at += t->elements * arch_size(t);
    }
    fputc('}', text);
    ck_assert_int_eq(fclose(text), 0);
    const uint64_t bytes = length;
    ck_assert_uint_eq(fwrite(&bytes, sizeof bytes, 1, file), 1);
    ck_assert_uint_eq(fwrite(header, 1, length, file), length);
    free(header);
}

bool arch_is_hole(const arch_model *model, const arch_tensor *tensor)
{
    return model->is_outline && tensor->elements > LARGE;
}

static void write_tensor(FILE *file, const arch_model *model, const arch_tensor *t)
{
    const size_t count = (size_t)t->elements, size = arch_size(t);
    if (arch_is_hole(model, t)) {
        ck_assert_int_eq(fseek(file, (long)(count * size), SEEK_CUR), 0);
        return;
    }
    void *values = NULL;
    if (*t->dtype)
        values = arch_codes(t);
    else if (arch_is_table(t))
        values = arch_table(t);
    else
        values = arch_is_bytes(t) ? (void *)arch_bytes(t) : arch_values(t);
    ck_assert_uint_eq(fwrite(values, size, count, file), count);
    free(values);
}

static void write_model(const char *directory, const arch_model *model)
{
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    FILE *const file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s cannot be written", path);
    write_header(file, model);
    for (size_t k = 0; k < model->count; k++)
        write_tensor(file, model, &model->tensors[k]);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(ftruncate(fileno(file), ftell(file)), 0); /* the last tensor may be a hole */
    ck_assert_int_eq(fclose(file), 0);
}

arch_model arch_model_read(const char *model_type, arch_reference *reference)
{
    arch_model model = {.tensors = calloc(MAX_TENSORS, sizeof(arch_tensor))};
    char from[256];
    *reference = (arch_reference){0, calloc(MAX_TOKENS, sizeof(uint32_t)), calloc(MAX_TOKENS, sizeof(double))};
    ck_assert(reference->tokens && reference->losses && model.tensors);
    snprintf(from, sizeof from, "fixtures/architectures/%s/model.tsv", model_type);
    read_fixture(from, &model, reference);
    return model;
}

static arch_reference make(const char *model_type, const char *directory, bool is_outline)
{
    arch_reference reference;
    char from[256], to[512];
    arch_model model = arch_model_read(model_type, &reference);
    model.is_outline = is_outline;
    ck_assert_int_eq(mkdir(directory, 0777), 0);
    write_model(directory, &model);
    snprintf(from, sizeof from, "fixtures/architectures/%s/config.json", model_type);
    snprintf(to, sizeof to, "%s/config.json", directory);
    copy_file(from, to);
    free(model.tensors);
    return reference;
}

arch_reference arch_make(const char *model_type, const char *directory) { return make(model_type, directory, false); }

arch_reference arch_outline(const char *model_type, const char *directory) { return make(model_type, directory, true); }

void arch_set_config(const char *directory, const char *members)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", directory);
    json_t *const root = json_load_file(path, 0, NULL), *const set = json_loads(members, 0, NULL), *value;
    const char *key;
    const size_t inside = strlen("text_config.");
    json_object_foreach(set, key, value)
    {
        const bool nested = strncmp(key, "text_config.", inside) == 0;
        json_t *const object = nested ? json_object_get(root, "text_config") : root;
        ck_assert_int_eq(json_object_set(object, nested ? key + inside : key, value), 0);
    }
    ck_assert_int_eq(json_dump_file(root, path, 0), 0);
    json_decref(root);
    json_decref(set);
}

void arch_reference_free(arch_reference *reference)
{
    free(reference->tokens);
    free(reference->losses);
}
