/* SPDX-License-Identifier: MIT */
#include "tests/kit/weights_rig.h"

#include "tests/kit/scratch_model.h"
#include "tests/kit/require.h"

#include <check.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE "model.layers.0.mlp.up_proj"

/* One parsed line of the description. */
typedef struct line {
    char name[400], dtype[16], shape[80], values[300];
} line;

static line take_apart(const char *text, size_t length)
{
    line l = {"", "", "", ""};
    char name[400] = "", rest[400] = "", whole[900];
    REQUIRE(length < sizeof whole);
    memcpy(whole, text, length);
    whole[length] = '\0';
    REQUIRE_MSG(sscanf(whole, " %399s %15s %399s", name, l.dtype, rest) >= 2, "\"%s\" is no tensor", whole);
    char *const values = strchr(rest, '=');
    if (values) {
        *values = '\0';
        snprintf(l.values, sizeof l.values, "%.299s", values + 1);
    }
    snprintf(l.shape, sizeof l.shape, "%.79s", strcmp(rest, "-") == 0 ? "" : rest);
    const char *const dollar = strchr(name, '$');
    if (dollar)
        snprintf(l.name, sizeof l.name, "%.*s" MODULE "%.300s", (int)(dollar - name), name, dollar + 1);
    else
        strcpy(l.name, name);
    return l;
}

static uint64_t bytes_of(const line *l)
{
    const organ_dtype dtype = organ_dtype_from_name(l->dtype);
    uint64_t elements = 1, bytes;
    REQUIRE_MSG(dtype != ORGAN_DTYPE_COUNT, "%s is no type", l->dtype);
    for (const char *s = l->shape; *s; s += strcspn(s, ","), s += *s == ',')
        elements *= strtoull(s, NULL, 10);
    REQUIRE(organ_dtype_bytes(dtype, elements, &bytes));
    return bytes;
}

static void put_values(FILE *file, const line *l)
{
    if (*l->values == '{') { /* a text, with spaces up to the size of the tensor */
        fprintf(file, "%-*s", (int)bytes_of(l), l->values);
        return;
    }
    const size_t width = strcmp(l->dtype, "I64") == 0 ? 8 : 4;
    for (const char *s = l->values; *s; s += strcspn(s, ","), s += *s == ',') {
        const int64_t value = strtoll(s, NULL, 10);
        fwrite(&value, 1, width, file);
    }
}

void rig_tensors(const char *file, const char *tensors)
{
    char *header = NULL;
    size_t length = 0;
    uint64_t offset = 0;
    FILE *const text = open_memstream(&header, &length);
    fputc('{', text);
    for (const char *s = tensors; *s; s += strcspn(s, "\n"), s += *s == '\n') {
        const line l = take_apart(s, strcspn(s, "\n"));
        const uint64_t bytes = bytes_of(&l);
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                s == tensors ? "" : ",", l.name, l.dtype, l.shape, offset, offset + bytes);
        offset += bytes;
    }
    fputc('}', text);
    fclose(text);
    FILE *const out = fopen(scratch_path(file), "wb");
    const uint64_t size = length;
    ck_assert_ptr_nonnull(out);
    fwrite(&size, 8, 1, out);
    fwrite(header, 1, length, out);
    free(header);
    offset = 8 + length;
    for (const char *s = tensors; *s; s += strcspn(s, "\n"), s += *s == '\n') {
        const line l = take_apart(s, strcspn(s, "\n"));
        REQUIRE(fseeko(out, (off_t)offset, SEEK_SET) == 0);
        put_values(out, &l);
        offset += bytes_of(&l);
    }
    ck_assert_int_eq(fflush(out), 0);
    ck_assert_int_eq(ftruncate(fileno(out), (off_t)offset), 0);
    ck_assert_int_eq(fclose(out), 0);
}

void rig_model(const char *config, const char *tensors)
{
    rig_tensors("model.safetensors", tensors);
    unlink(scratch_path("config.json"));
    if (config)
        scratch_text("config.json", config);
}

organ_status rig_find(organ_model **model, organ_weights **weights, organ_error *error)
{
    *weights = NULL;
    if (organ_model_open(scratch_path(""), model, error) != ORGAN_OK)
        return error->status;
    return organ_weights_find(*model, weights, error);
}

static void put_weight(FILE *out, const organ_weight *w)
{
    char text[128];
    fprintf(out, "%s %s [", w->name, organ_scheme_name(w->scheme));
    for (unsigned k = 0; k < w->rank; k++)
        fprintf(out, "%s%" PRIu64, k ? "," : "", w->shape[k]);
    fprintf(out, "] %u bits %" PRIu64 "x%" PRIu64, w->bits, w->block_rows, w->block_cols);
    const organ_tensor *const companions[] = {w->scale, w->zero, w->g_idx, w->global, w->shape_tensor, w->bias};
    static const char *const kinds[] = {"scale", "zero", "g_idx", "global", "shape", "bias"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (companions[k])
            fprintf(out, " %s", kinds[k]);
    fprintf(out, "%s%s%s%s: %s\n", w->dense_words ? " DENSE" : "", w->divides ? " DIVIDES" : "",
            w->transposed ? " TRANSPOSED" : "", w->labelled_v2 ? " V2" : "", organ_weight_text(w, text, sizeof text));
}

const char *rig_text(const organ_weights *weights)
{
    static char buffer[8192];
    FILE *const out = fmemopen(buffer, sizeof buffer, "w");
    buffer[0] = '\0';
    for (size_t k = 0; k < weights->count; k++)
        if (weights->weights[k].scheme != ORGAN_SCHEME_PLAIN || weights->weights[k].global)
            put_weight(out, &weights->weights[k]);
    for (size_t k = 0; k < weights->unmatched_count; k++)
        fprintf(out, "%s %s: %s\n", weights->unmatched[k].dropped ? "dropped" : "kept",
                weights->unmatched[k].tensor->name, weights->unmatched[k].why);
    for (size_t k = 0; k < weights->note_count; k++)
        fprintf(out, "note: %s\n", weights->notes[k]);
    fclose(out);
    return buffer;
}
