/* SPDX-License-Identifier: MIT */
#include "tests/kit/forward_rig.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

organ_status session_open(session *s, const char *path, unsigned threads, uint64_t memory, organ_error *error)
{
    const char *why;
    *s = (session){0};
    *error = (organ_error){0};
    ck_assert_int_eq(organ_topology_discover(&s->topology, error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(s->topology, threads, &s->workers, error), ORGAN_OK);
    s->engine = (organ_engine){.topology = s->topology,
                               .workers = s->workers,
                               .memory = memory,
                               .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
    if (organ_model_open(path, &s->model, error))
        return error->status;
    const organ_status status = organ_forward_open(s->model, &s->engine, &s->forward, error);
    ck_assert_int_eq(status, error->status);
    ck_assert((s->forward != NULL) == (status == ORGAN_OK));
    return status;
}

void session_close(session *s)
{
    organ_forward_close(s->forward);
    organ_model_close(s->model);
    organ_workers_destroy(s->workers);
    organ_topology_destroy(s->topology);
}

typedef struct keeping {
    float *logits;
    size_t words;
    int *calls; /* calls for each row */
} keeping;

static void keep(void *context, size_t k, float *logits)
{
    const keeping *keep = context;
    memcpy(keep->logits + k * keep->words, logits, keep->words * sizeof *logits);
    memset(logits, 0xff, keep->words * sizeof *logits);
    __atomic_add_fetch(&keep->calls[k], 1, __ATOMIC_RELAXED);
}

float *session_logits(session *s, const organ_windows *windows, const size_t *rows, size_t count, organ_error *error)
{
    const size_t words = (size_t)organ_forward_describe(s->forward)->vocabulary;
    keeping k = {calloc(count * words + 1, sizeof(float)), words, calloc(count + 1, sizeof(int))};
    ck_assert(k.logits && k.calls);
    *error = (organ_error){0};
    const organ_status status = organ_forward_run(s->forward, windows, rows, count, &k, keep, NULL, error);
    ck_assert_int_eq(status, error->status);
    for (size_t r = 0; status == ORGAN_OK && r < count; r++)
        ck_assert_int_eq(k.calls[r], 1);
    free(k.calls);
    if (status) {
        free(k.logits);
        return NULL;
    }
    return k.logits;
}

static void *values_of(const organ_model *model, const char *name, size_t *count)
{
    organ_error error = {0};
    const organ_tensor *tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s: no tensor '%s'", model->path, name);
    void *values = malloc(tensor->bytes);
    ck_assert_int_eq(organ_model_read(model, tensor->file, values, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    *count = tensor->elements;
    return values;
}

expected expected_read(const char *path)
{
    organ_model *model;
    organ_error error = {0};
    expected e;
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    e.token = values_of(model, "tokens", &e.tokens);
    int32_t *rows = values_of(model, "rows", &e.rows);
    e.logits = values_of(model, "logits", &e.words);
    e.words /= e.rows;
    e.row = malloc(e.rows * sizeof *e.row);
    for (size_t k = 0; k < e.rows; k++)
        e.row[k] = (size_t)rows[k];
    free(rows);
    organ_model_close(model);
    return e;
}

void expected_free(expected *e)
{
    free(e->token);
    free(e->row);
    free(e->logits);
}

float *logits_of(const char *path, const expected *e, unsigned threads, uint64_t memory)
{
    session s;
    organ_error error;
    const size_t begin[2] = {0, e->tokens};
    const organ_windows windows = {e->token, 1, begin};
    ck_assert_msg(session_open(&s, path, threads, memory, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(organ_forward_describe(s.forward)->vocabulary, e->words);
    float *logits = session_logits(&s, &windows, e->row, e->rows, &error);
    ck_assert_msg(logits != NULL, "%s", error.message);
    session_close(&s);
    return logits;
}

double farthest(const float *a, const float *b, size_t n)
{
    double max = 0;
    for (size_t k = 0; k < n; k++) {
        const double d = fabs((double)a[k] - (double)b[k]);
        max = d <= max ? max : d; /* a NaN counts as the largest difference */
    }
    return max;
}

static double log_sum(const float *logits, size_t n)
{
    double top = -INFINITY, sum = 0;
    for (size_t k = 0; k < n; k++)
        top = fmax(top, (double)logits[k]);
    for (size_t k = 0; k < n; k++)
        sum += exp((double)logits[k] - top);
    return top + log(sum);
}

double mean_divergence(const float *donor, const float *other, size_t tokens, size_t words)
{
    double sum = 0;
    for (size_t t = 0; t < tokens; t++, donor += words, other += words) {
        const double of_donor = log_sum(donor, words), of_other = log_sum(other, words);
        for (size_t k = 0; k < words; k++) {
            const double p = (double)donor[k] - of_donor;
            sum += exp(p) * (p - ((double)other[k] - of_other));
        }
    }
    return sum / (double)tokens;
}

void make_tokenizer(const char *path, unsigned extra)
{
    json_t *vocabulary = json_object();
    for (int c = '!'; c <= '~'; c++)
        json_object_set_new(vocabulary, (char[2]){(char)c}, json_integer(c - '!'));
    for (unsigned k = 0; k < extra; k++) {
        char name[3] = {(char)('a' + k % 26), (char)('a' + k / 26), '\0'};
        json_object_set_new(vocabulary, name, json_integer(94 + (json_int_t)k));
    }
    json_t *merges = json_array();
    for (unsigned k = 0; k < extra; k++)
        json_array_append_new(merges, json_sprintf("%c %c", 'a' + k % 26, 'a' + k / 26));
    json_t *tokenizer = json_pack("{s:{s:s, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:o}}", "pre_tokenizer", "type",
                                  "ByteLevel", "add_prefix_space", 0, "use_regex", 1, "decoder", "type", "ByteLevel",
                                  "model", "type", "BPE", "vocab", vocabulary, "merges", merges);
    ck_assert_ptr_nonnull(tokenizer);
    ck_assert_int_eq(json_dump_file(tokenizer, path, 0), 0);
    json_decref(tokenizer);
}
