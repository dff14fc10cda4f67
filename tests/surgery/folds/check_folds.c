/* SPDX-License-Identifier: MIT
 * Each model of fixtures/architectures keeps its function if the channels of its folds are scaled: with powers of two
 * the logits have the same bits, with other factors they differ by rounding. If one reader is forgotten, they differ.
 */
#include "formats/model/composed.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/folds/scaling.h"
#include "orchestrator/surgery/folds/smooth_search.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "fixtures/architectures"

/* ---- the models ---- */

#define TYPES 400

static char types[TYPES][64];
static int type_count;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void list_types(void)
{
    DIR *const folder = opendir(FIXTURES);
    for (const struct dirent *entry; folder && type_count < TYPES && (entry = readdir(folder));) {
        char path[512];
        snprintf(path, sizeof path, FIXTURES "/%s/config.json", entry->d_name);
        if (access(path, F_OK))
            continue;
        snprintf(types[type_count++], sizeof *types, "%.63s", entry->d_name);
    }
    if (folder)
        closedir(folder);
    qsort(types, (size_t)type_count, sizeof *types, by_name);
}

/* ---- a model whose files are scaled ---- */

typedef struct scaled_model {
    const char *type, *path;
    arch_reference text;
    organ_scaling scaling;
    session donor;
    float **values; /* by tensor: those of the donor, of tensors that a fold has */
    float *logits;  /* of the donor */
    size_t count;   /* number of logits */
} scaled_model;

static float *run(session *s, const arch_reference *r, size_t *count)
{
    organ_error error = {0};
    const size_t begin[] = {0, r->count};
    size_t *const rows = calloc(r->count, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (size_t k = 0; k < r->count; k++)
        rows[k] = k;
    float *const logits = session_logits(s, &(organ_windows){r->tokens, 1, begin}, rows, r->count, &error);
    ck_assert_msg(logits != NULL, "%s", error.message);
    *count = r->count * (size_t)organ_forward_describe(s->forward)->vocabulary;
    free(rows);
    return logits;
}

static float *read_tensor(const organ_model *model, const organ_tensor *t)
{
    organ_error error = {0};
    float *const values = malloc((size_t)t->bytes);
    ck_assert_ptr_nonnull(values);
    ck_assert_int_eq(t->dtype, ORGAN_F32);
    ck_assert_int_eq(organ_model_read(model, t->file, values, (size_t)t->bytes, t->offset, &error), ORGAN_OK);
    return values;
}

static void open_donor(scaled_model *m, const char *type)
{
    organ_error error;
    *m = (scaled_model){.type = type, .path = scratch_path("%s", type)};
    m->text = arch_make(type, m->path);
    ck_assert_msg(session_open(&m->donor, m->path, 2, ROOMY, &error) == ORGAN_OK, "%s: %s", type, error.message);
    m->logits = run(&m->donor, &m->text, &m->count);
    ck_assert_int_eq(organ_scaling_open(m->donor.forward, m->donor.model, &m->scaling, &error), ORGAN_OK);
    const organ_model *const model = m->donor.model;
    ck_assert_ptr_nonnull(m->values = calloc(model->tensor_count + 1, sizeof *m->values));
    for (size_t t = 0; t < model->tensor_count; t++)
        if (organ_scaling_has(&m->scaling, t))
            m->values[t] = read_tensor(model, &model->tensors[t]);
}

static void close_donor(scaled_model *m)
{
    for (size_t t = 0; t < m->donor.model->tensor_count; t++)
        free(m->values[t]);
    free(m->values);
    free(m->logits);
    organ_scaling_release(&m->scaling);
    session_close(&m->donor);
    arch_reference_free(&m->text);
}

static void write_tensor(const scaled_model *m, size_t t)
{
    const organ_tensor *const tensor = &m->donor.model->tensors[t];
    const size_t cols = (size_t)organ_tensor_matrices(tensor).cols, rows = (size_t)tensor->elements / cols;
    float *const values = malloc((size_t)tensor->bytes);
    const int file = open(m->donor.model->files[tensor->file].path, O_WRONLY);
    ck_assert(values && file >= 0);
    memcpy(values, m->values[t], (size_t)tensor->bytes);
    for (size_t row = 0; row < rows; row++)
        organ_scaling_row(&m->scaling, t, row, values + row * cols);
    ck_assert_int_eq(pwrite(file, values, (size_t)tensor->bytes, (off_t)tensor->offset), (ssize_t)tensor->bytes);
    close(file);
    free(values);
}

/* Writes the scaled model over the donor's files and returns its logits. */
static float *run_scaled(const scaled_model *m)
{
    session s;
    organ_error error;
    size_t count;
    for (size_t t = 0; t < m->donor.model->tensor_count; t++)
        if (organ_scaling_has(&m->scaling, t))
            write_tensor(m, t);
    ck_assert_msg(session_open(&s, m->path, 2, ROOMY, &error) == ORGAN_OK, "%s: %s", m->type, error.message);
    float *const logits = run(&s, &m->text, &count);
    ck_assert_uint_eq(count, m->count);
    session_close(&s);
    return logits;
}

/* ---- factors ---- */

/* A number from 0 to 1 that depends on nothing but its argument. */
static double draw(uint64_t number)
{
    number = (number + 1) * 0x9E3779B97F4A7C15U;
    number = (number ^ number >> 31) * 0xBF58476D1CE4E5B9U;
    return (double)((number ^ number >> 29) >> 11) * 0x1p-53;
}

/* Exponents from -3 to 3; norms that add one may get others, for which they are exact. */
static void choose_powers(scaled_model *m)
{
    organ_scaling *const s = &m->scaling;
    for (size_t f = 0; f < s->folds.count; f++) {
        const organ_fold *const fold = &s->folds.list[f];
        const organ_fold_side *const first = &s->folds.sides[fold->first];
        const float *const norm = first->plus != 0 ? m->values[first->weight->codes - s->model->tensors] : NULL;
        for (uint64_t c = 0; c < fold->channels; c++) {
            const organ_channel_range range = {-3, 3, norm != NULL, norm ? norm[c] : 0, first->plus, ORGAN_F32};
            const uint64_t at = s->begin[f] + c;
            const uint64_t allowed = organ_channel_exponents(&range);
            s->factors[at] = ldexpf(1, organ_smooth_nearest(exp2(8 * draw(at) - 4), /*steps=*/1, &allowed));
        }
    }
}

static void choose_reals(scaled_model *m)
{
    for (uint64_t c = 0; c < m->scaling.channels; c++)
        m->scaling.factors[c] = (float)exp2(4 * draw(c) - 2);
}

/* ---- the tests ---- */

static double size_of(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
        const double off = (double)a[k] - (b ? (double)b[k] : 0);
        sum += off * off;
    }
    return sqrt(sum / (double)count);
}

/* The difference is the root of its mean square, as a share of that of the logits. */
START_TEST(the_function_stays)
{
    scaled_model m;
    open_donor(&m, types[_i]);
    /* The files of this type are shown in another form, so that values cannot be written into them. It has the folds of
     * exaone_moe. */
    if (organ_model_is_composed(m.donor.model)) {
        ck_assert_str_eq(m.type, "exaone_moe-stacked");
        close_donor(&m);
        return;
    }
    choose_powers(&m);
    float *const same_logits = run_scaled(&m);
    ck_assert_msg(memcmp(m.logits, same_logits, m.count * sizeof *same_logits) == 0, "%s: logits are off by %g", m.type,
                  farthest(m.logits, same_logits, m.count));
    choose_reals(&m);
    float *const near_logits = run_scaled(&m);
    const double off = size_of(near_logits, m.logits, m.count) / size_of(m.logits, NULL, m.count);
    ck_assert_msg(off <= 1e-5, "%s: logits are off by %g", m.type, off);
    free(same_logits);
    free(near_logits);
    close_donor(&m);
}
END_TEST

/* Returns a side that is a reader and no expert of its own: tokens may reach no expert. */
static organ_fold_side *choose_reader(scaled_model *m, uint64_t seed)
{
    organ_folds *const f = &m->scaling.folds;
    for (uint64_t k = 0; k < 1000 && f->side_count; k++) {
        organ_fold_side *const side = &f->sides[(size_t)(draw(1000 * seed + k) * (double)f->side_count)];
        if (!side->divided && side->weight->anatomy.expert < 0)
            return side;
    }
    return NULL;
}

/* A fold without one of its readers changes the function: so the table of readers has none in vain. */
START_TEST(a_forgotten_reader_changes_the_function)
{
    scaled_model m;
    open_donor(&m, types[_i]);
    choose_powers(&m);
    organ_fold_side *const side = choose_reader(&m, (uint64_t)_i);
    if (side) {
        side->map.blocks = 0;
        side->map.first = UINT64_MAX;
        float *const other = run_scaled(&m);
        const double off = size_of(other, m.logits, m.count) / size_of(m.logits, NULL, m.count);
        ck_assert_msg(off > 1e-5, "%s without %s: logits are off by %g", m.type, side->weight->name, off);
        free(other);
    }
    close_donor(&m);
}
END_TEST

START_TEST(there_are_models)
{
    ck_assert_int_gt(type_count, 100);
    ck_assert_int_lt(type_count, TYPES);
}
END_TEST

int main(void)
{
    list_types();
    Suite *const suite = suite_create("folds");
    TCase *const cases = tcase_create("architectures");
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_add_test(cases, there_are_models);
    tcase_add_loop_test(cases, the_function_stays, 0, type_count);
    tcase_add_loop_test(cases, a_forgotten_reader_changes_the_function, 0, type_count);
    suite_add_tcase(suite, cases);
    return run_suites((Suite *const[]){suite, NULL});
}
