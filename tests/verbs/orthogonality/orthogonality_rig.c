/* SPDX-License-Identifier: MIT */
#include "tests/verbs/orthogonality/orthogonality_rig.h"

#include <organ/report.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

rig_module rig_modules[RIG_MODULES];
size_t rig_count;
json_t *rig_result;
static uint64_t state;

void rig_setup(void)
{
    fault_clear();
    scratch_make();
    rig_count = 0;
    state = 0x9e3779b97f4a7c15u;
}

static void forget(void)
{
    for (size_t k = 0; k < rig_count; k++) {
        free(rig_modules[k].clean);
        free(rig_modules[k].noisy[0]);
        free(rig_modules[k].noisy[1]);
        free(rig_modules[k].a);
        free(rig_modules[k].b);
    }
    rig_count = 0;
}

void rig_teardown(void)
{
    fault_clear();
    forget();
    json_decref(rig_result);
    rig_result = NULL;
    scratch_remove();
}

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

double rig_normal(void)
{
    const double radius = sqrt(-2 * log(uniform()));
    return radius * cos(2 * M_PI * uniform());
}

static float *normals(size_t n, double std)
{
    float *values = malloc((n + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t k = 0; k < n; k++)
        values[k] = (float)(std * rig_normal());
    return values;
}

rig_module *rig_add(const char *name, size_t rows, size_t cols, size_t rank)
{
    ck_assert_uint_lt(rig_count, RIG_MODULES);
    rig_module *m = &rig_modules[rig_count++];
    *m = (rig_module){.name = name, .rows = rows, .cols = cols, .rank = rank};
    m->clean = normals(rows * cols, 0.05);
    m->b = normals(rows * rank, 0.1);
    m->a = normals(rank * cols, 0.1);
    for (size_t n = 0; n < 2; n++) {
        m->noisy[n] = normals(rows * cols, 0.01);
        for (size_t k = 0; k < rows * cols; k++)
            m->noisy[n][k] += m->clean[k];
    }
    return m;
}

/* ---- files ---- */

typedef struct piece {
    char name[160];
    size_t rows, cols;
    const float *values;
    float *own; /* freed by the rig */
} piece;

static void write_pieces(const char *path, piece *pieces, size_t count)
{
    char header[8192] = "{";
    size_t at = 0;
    for (size_t k = 0; k < count; k++) {
        const size_t bytes = pieces[k].rows * pieces[k].cols * sizeof(float);
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]}", k ? "," : "",
                 pieces[k].name, pieces[k].rows, pieces[k].cols, at, at + bytes);
        at += bytes;
    }
    strcat(header, "}");
    const uint64_t length = (strlen(header) + 7) / 8 * 8;
    char *file = malloc(8 + length + at);
    ck_assert_ptr_nonnull(file);
    memcpy(file, &length, 8);
    memset(file + 8, ' ', length);
    memcpy(file + 8, header, strlen(header));
    for (size_t k = 0, to = 8 + length; k < count; k++) {
        const size_t bytes = pieces[k].rows * pieces[k].cols * sizeof(float);
        memcpy(file + to, pieces[k].values, bytes);
        to += bytes;
        free(pieces[k].own);
    }
    spill(path, file, 8 + length + at);
    free(file);
}

static float *transposed(const float *values, size_t rows, size_t cols)
{
    float *out = malloc((rows * cols + 1) * sizeof *out);
    ck_assert_ptr_nonnull(out);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            out[c * rows + r] = values[r * cols + c];
    return out;
}

/* Makes the adapter's factors. For a module whose weight is the transpose of B A, A contains b and B contains a. */
static void put_factors(const rig_module *m, bool turned, piece *to)
{
    static const char *const suffix[2][2] = {{".lora_A.weight", ".lora_B.weight"},
                                             {".lora_embedding_A", ".lora_embedding_B"}};
    float *a = turned ? transposed(m->b, m->rows, m->rank) : NULL,
          *b = turned ? transposed(m->a, m->rank, m->cols) : NULL;
    to[0] = (piece){.rows = m->rank, .cols = turned ? m->rows : m->cols, .values = turned ? a : m->a, .own = a};
    to[1] = (piece){.rows = turned ? m->cols : m->rows, .cols = m->rank, .values = turned ? b : m->b, .own = b};
    for (size_t k = 0; k < 2; k++)
        snprintf(to[k].name, sizeof to[k].name, "base_model.model.%s%s", m->name, suffix[m->embedding][k]);
}

void rig_write(double alpha, const char *config)
{
    static const char *const files[] = {"clean.safetensors", "noisy.safetensors", "noisy2.safetensors"};
    piece pieces[2 * RIG_MODULES];
    char text[1000];
    for (size_t f = 0; f < 3; f++) {
        for (size_t k = 0; k < rig_count; k++) {
            const rig_module *m = &rig_modules[k];
            pieces[k] = (piece){.rows = m->rows, .cols = m->cols, .values = f ? m->noisy[f - 1] : m->clean};
            snprintf(pieces[k].name, sizeof pieces[k].name, "%s.weight", m->name);
        }
        write_pieces(scratch_path("%s", files[f]), pieces, rig_count);
    }
    const bool turned = config && strstr(config, "\"fan_in_fan_out\":true");
    for (size_t k = 0; k < rig_count; k++)
        put_factors(&rig_modules[k], turned || rig_modules[k].embedding, pieces + 2 * k);
    mkdir(scratch_path("adapter"), 0777);
    write_pieces(scratch_path("adapter/adapter_model.safetensors"), pieces, 2 * rig_count);
    snprintf(text, sizeof text,
             "{\"peft_type\":\"LORA\",\"r\":%zu,\"lora_alpha\":%.17g,\"target_modules\":\"all-linear\"%s%s}",
             rig_modules[0].rank, alpha, config ? "," : "", config ? config : "");
    spill(scratch_path("adapter/adapter_config.json"), text, strlen(text));
}

/* ---- runs ---- */

organ_status rig_run(rig_way way, organ_error *error)
{
    run_engine room;
    organ_orthogonality_options o = way.options;
    *error = (organ_error){0};
    o.clean = o.clean ? o.clean : scratch_path("clean.safetensors");
    o.noisy = o.noisy ? o.noisy : scratch_path("noisy.safetensors");
    o.adapter = o.adapter ? o.adapter : scratch_path("adapter");
    o.draws = o.draws ? o.draws : 100;
    json_decref(rig_result);
    rig_result = NULL;
    run_engine_open(&room, (run_way){.threads = way.threads, .memory = way.memory, .stop = way.stop});
    const organ_status status = organ_orthogonality(&o, &room.engine, NULL, &rig_result, error);
    run_engine_close(&room);
    ck_assert_int_eq(status, error->status);
    ck_assert_msg((rig_result != NULL) == (status == ORGAN_OK), "a report and status %d", (int)status);
    return status;
}

void rig_must(rig_way way)
{
    organ_error error;
    ck_assert_msg(rig_run(way, &error) == ORGAN_OK, "%s", error.message);
}

const json_t *rig_noise(size_t m, size_t n)
{
    const json_t *const row =
        json_array_get(organ_json_at(json_array_get(organ_json_at(rig_result, "modules"), m), "noise"), n);
    ck_assert_ptr_nonnull(row);
    return row;
}

double rig_number(const json_t *row, const char *key)
{
    const json_t *const value = organ_json_at(row, key);
    ck_assert_msg(json_is_number(value), "'%s' is not a number", key);
    return json_number_value(value);
}
