/* SPDX-License-Identifier: MIT
 * Tests of importance matrices that organ makes: the numbers against llama.cpp's own program, both formats, and the
 * exact sums. */
#include "formats/imatrix/imatrix.h"
#include "orchestrator/surgery/scoring/input_sums.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <organ/evaluate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "fixtures/tiny-moe"

static void write_text(const char *path, size_t count)
{
    static char bytes[6000];
    FILE *const from = fopen(MODEL "/calibration.txt", "rb"), *const to = fopen(path, "wb");
    ck_assert(from && to && count <= sizeof bytes && fread(bytes, 1, count, from) == count);
    ck_assert(fwrite(bytes, 1, count, to) == count);
    fclose(from);
    ck_assert_int_eq(fclose(to), 0);
}

static organ_imatrix *made_of(const char *model, size_t bytes, unsigned context, const char *name, const char *format)
{
    run_engine room;
    organ_error error = {0};
    organ_imatrix *imatrix = NULL;
    json_t *report = NULL;
    char text[200], output[200];
    snprintf(text, sizeof text, "%s", scratch_path("calibration.txt"));
    snprintf(output, sizeof output, "%s", scratch_path("%s", name));
    write_text(text, bytes);
    organ_importance_options o = organ_importance_defaults();
    o.model = model;
    o.text = text;
    o.output = output;
    o.format = format;
    o.context = context;
    o.chunks = 2;
    run_engine_open(&room, (run_way){0});
    ck_assert_msg(organ_importance(&o, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    run_engine_close(&room);
    ck_assert_msg(organ_imatrix_open(output, &imatrix, &error) == ORGAN_OK, "%s", error.message);
    return imatrix;
}

/* The text and the chunks of fixtures/make_llama_imatrix.sh. */
static organ_imatrix *made(const char *name, const char *format) { return made_of(MODEL, 2000, 64, name, format); }

/* Sets means[j] to the mean square of input j of a matrix. Returns the tokens, 0 if none reached the matrix. */
static double means_of(const organ_imatrix *m, const organ_imatrix_entry *e, uint64_t matrix, uint64_t matrices,
                       float *means)
{
    organ_error error = {0};
    double count = 0;
    bool reached;
    const uint64_t features = e->values / matrices;
    const organ_imatrix_place place = {e, matrix, matrices};
    ck_assert_int_eq(organ_imatrix_reached(m, &place, "t", features, &reached, &error), ORGAN_OK);
    if (!reached)
        return 0;
    ck_assert_msg(organ_imatrix_norms(m, &place, "t", features, means, &count, &error) == ORGAN_OK, "%s",
                  error.message);
    for (uint64_t j = 0; j < features; j++)
        means[j] *= means[j];
    return count;
}

static void expect_near(const float *own, const float *other, uint64_t features, const char *name, double relative)
{
    float most = 0;
    for (uint64_t j = 0; j < features; j++)
        most = fmaxf(most, other[j]);
    for (uint64_t j = 0; j < features; j++)
        ck_assert_msg(fabsf(own[j] - other[j]) <= relative * (double)other[j] + 1e-6 * relative * (double)most,
                      "%s: input %d: %g is not %g", name, (int)j, (double)own[j], (double)other[j]);
}

/* An expert that no token reached has the mean of the others in organ's file, nothing in llama.cpp's. */
static void expect_filled(const organ_imatrix *llama, const organ_imatrix_entry *e, const float *own, double count)
{
    float means[192];
    double sums[192] = {0}, all = 0;
    const uint64_t features = e->values / e->counts;
    ck_assert(count == 1);
    for (uint64_t k = 0; k < e->counts; k++) {
        const double tokens = means_of(llama, e, k, e->counts, means);
        all += tokens;
        for (uint64_t j = 0; j < features && tokens > 0; j++)
            sums[j] += tokens * (double)means[j];
    }
    for (uint64_t j = 0; j < features; j++)
        means[j] = (float)(sums[j] / all);
    expect_near(own, means, features, e->name, 1e-3);
}

START_TEST(sums_are_those_of_llama_cpp)
{
    organ_error error = {0};
    organ_imatrix *const own = made("own.gguf", NULL), *llama;
    size_t filled = 0;
    float a[192], b[192];
    ck_assert_int_eq(organ_imatrix_open("fixtures/imatrix/tiny-moe-llama.gguf", &llama, &error), ORGAN_OK);
    ck_assert_uint_eq(own->entry_count, llama->entry_count);
    ck_assert(own->chunks == llama->chunks && own->chunk_size == llama->chunk_size);
    ck_assert_uint_eq(own->dataset_count, 1);
    ck_assert_str_eq(own->datasets[0], llama->datasets[0]);
    for (size_t k = 0; k < own->entry_count; k++) {
        const organ_imatrix_entry *const e = &own->entries[k], *const f = &llama->entries[k];
        ck_assert_str_eq(e->name, f->name);
        ck_assert(e->values == f->values && e->counts == f->counts && e->values / e->counts <= 192);
        for (uint64_t m = 0; m < e->counts; m++) {
            const double mine = means_of(own, e, m, e->counts, a), other = means_of(llama, f, m, f->counts, b);
            if (other > 0) {
                ck_assert_msg(mine == other, "%s: %g tokens, not %g", e->name, mine, other);
                expect_near(a, b, e->values / e->counts, e->name, 1e-3);
            } else {
                expect_filled(llama, f, a, mine);
                filled++;
            }
        }
    }
    ck_assert_uint_eq(filled, 3); /* gate, up and down of expert 14 in layer 2 */
    organ_imatrix_close(own);
    organ_imatrix_close(llama);
}
END_TEST

static const organ_imatrix_entry *entry_of(const organ_imatrix *m, const char *name)
{
    for (size_t k = 0; k < m->entry_count; k++)
        if (strcmp(m->entries[k].name, name) == 0)
            return &m->entries[k];
    ck_abort_msg("no entry %s", name);
    return NULL;
}

/* The model of fixtures/architectures/TYPE with the members `settings` in config.json, and the text and chunks of
 * fixtures/make_llama_imatrix.sh and make_mtp_golden.py. */
static organ_imatrix *made_small(const char *type, const char *settings)
{
    char model[200], path[300];
    snprintf(model, sizeof model, "%s", scratch_path("%s", type));
    arch_reference reference = arch_make(type, model);
    arch_reference_free(&reference);
    arch_set_config(model, settings);
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    make_tokenizer(path, 256 - 94);
    snprintf(path, sizeof path, "%s.gguf", type);
    return made_of(model, 6000, 32, path, NULL);
}

static void expect_entries(const organ_imatrix *own, const organ_imatrix *other, double relative)
{
    float a[512], b[512];
    for (size_t k = 0; k < other->entry_count; k++) {
        const organ_imatrix_entry *const f = &other->entries[k], *const e = entry_of(own, f->name);
        ck_assert_msg(e->values == f->values && e->counts == f->counts, "%s", f->name);
        ck_assert(f->values / f->counts <= 512);
        for (uint64_t m = 0; m < f->counts; m++) {
            const double theirs = means_of(other, f, m, f->counts, b), mine = means_of(own, e, m, f->counts, a);
            ck_assert_msg(theirs == 0 || mine == theirs, "%s: %g tokens, not %g", f->name, mine, theirs);
            if (theirs > 0)
                expect_near(a, b, f->values / f->counts, f->name, relative);
        }
    }
}

/* Matrices of single heads in latent attention, which llama.cpp splits from kv_b_proj, and heads that it reorders. */
START_TEST(sums_of_heads_are_those_of_llama_cpp)
{
    static const struct {
        const char *type, *settings;
        size_t more; /* entries that llama.cpp does not have: kv_b_proj as a whole */
    } rows[] = {
        {"deepseek_v3", "{\"rms_norm_eps\": 1e-6}", 4},
        {"kimi_linear-gguf", "{\"rms_norm_eps\": 1e-6}", 2},
        {"qwen3_5_text",
         "{\"rms_norm_eps\": 1e-6, \"rope_parameters\": {\"partial_rotary_factor\": 0.25, \"rope_theta\": 10000.0, "
         "\"rope_type\": \"default\", \"mrope_section\": [1, 1, 0]}}",
         0}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        organ_error error = {0};
        organ_imatrix *const own = made_small(rows[r].type, rows[r].settings), *llama;
        char path[200];
        snprintf(path, sizeof path, "fixtures/imatrix/%s-llama.gguf", rows[r].type);
        ck_assert_msg(organ_imatrix_open(path, &llama, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_uint_eq(own->entry_count, llama->entry_count + rows[r].more);
        expect_entries(own, llama, 1e-3);
        organ_imatrix_close(own);
        organ_imatrix_close(llama);
    }
}
END_TEST

/* The block for multi-token prediction, against the layer class of transformers. */
START_TEST(sums_of_drafts_are_those_of_transformers)
{
    static const char *const types[] = {"qwen3_next", "qwen3_5_text"};
    for (size_t r = 0; r < sizeof types / sizeof *types; r++) {
        organ_error error = {0};
        organ_imatrix *golden;
        char path[200], type[64];
        size_t drafts = 0;
        snprintf(type, sizeof type, "%s-mtp", types[r]);
        organ_imatrix *const own = made_small(type, "{}");
        snprintf(path, sizeof path, "fixtures/imatrix/%s-draft.gguf", types[r]);
        ck_assert_msg(organ_imatrix_open(path, &golden, &error) == ORGAN_OK, "%s", error.message);
        expect_entries(own, golden, 1e-4);
        for (size_t k = 0; k < own->entry_count; k++)
            drafts += own->entries[k].anatomy.layer >= 4;
        ck_assert_uint_eq(drafts, golden->entry_count);
        organ_imatrix_close(own);
        organ_imatrix_close(golden);
    }
}
END_TEST

/* The older file has one count for all experts, so its values are those of the newer file times the chunks. */
START_TEST(both_formats_have_the_same_means)
{
    organ_imatrix *const gguf = made("a.gguf", NULL), *const dat = made("a.dat", NULL), *const named = made("b", "dat");
    float a[192], b[192];
    ck_assert_str_eq(dat->format, "imatrix.dat");
    ck_assert_str_eq(named->format, "imatrix.dat");
    ck_assert_str_eq(gguf->format, "GGUF");
    ck_assert_uint_eq(dat->entry_count, gguf->entry_count);
    ck_assert_uint_eq(dat->bytes, named->bytes);
    ck_assert_int_eq(dat->chunks, 2);
    ck_assert_str_eq(dat->datasets[0], "calibration.txt");
    for (size_t k = 0; k < dat->entry_count; k++) {
        const organ_imatrix_entry *const e = &gguf->entries[k], *const f = &dat->entries[k];
        ck_assert_str_eq(e->name, f->name);
        ck_assert_uint_eq(e->values, f->values);
        for (uint64_t m = 0; m < e->counts; m++) {
            means_of(gguf, e, m, e->counts, a);
            means_of(dat, f, m, e->counts, b);
            expect_near(b, a, e->values / e->counts, e->name, 1e-6);
        }
    }
    organ_imatrix_close(gguf);
    organ_imatrix_close(dat);
    organ_imatrix_close(named);
}
END_TEST

/* Carries pass from word to word, and bits that leave the last word are lost, as in a number of 192 bits. */
START_TEST(exact_sums_carry)
{
    organ_exact_sum sums[2] = {{{UINT64_MAX, UINT64_MAX, 5}}, {{1, UINT64_MAX - 1, 0}}};
    const organ_exact_sum more[2] = {{{1, 0, 0}}, {{UINT64_MAX, 1, 7}}};
    organ_input_entry entry = {.sums = sums};
    organ_input_entry_add(&entry, 0, more, 2);
    ck_assert(sums[0].words[0] == 0 && sums[0].words[1] == 0 && sums[0].words[2] == 6);
    ck_assert(sums[1].words[0] == 0 && sums[1].words[1] == 0 && sums[1].words[2] == 8);
    organ_input_entry_add(&entry, 1, &(organ_exact_sum){{3, UINT64_MAX, UINT64_MAX - 8}}, 1);
    ck_assert(sums[1].words[0] == 3 && sums[1].words[1] == UINT64_MAX && sums[1].words[2] == UINT64_MAX);
}
END_TEST

/* ---- the state of an interrupted run ---- */

static organ_input_sums sums_of(organ_input_entry *entry) { return (organ_input_sums){.entries = entry, .count = 1}; }

START_TEST(states_are_added_once)
{
    organ_error error = {0};
    organ_exact_sum saved[2] = {{{7, 8, 9}}, {{1, 2, 3}}}, read[2] = {{{1, 0, 0}}, {{0}}};
    uint64_t saved_counts[1] = {4}, read_counts[1] = {2};
    organ_input_entry from = {"a", 2, 1, saved, saved_counts, false}, to = {"a", 2, 1, read, read_counts, false};
    organ_input_sums a = sums_of(&from), b = sums_of(&to);
    unsigned char done[3] = {0, 1, 0}, all[3] = {1, 0, 0};
    bool taken;
    ck_assert_int_eq(organ_input_sums_save(&a, scratch_path("state"), done, 3, &error), ORGAN_OK);
    ck_assert_int_eq(organ_input_sums_load(&b, scratch_path("state"), all, 3, &taken, &error), ORGAN_OK);
    ck_assert(taken && all[0] && all[1] && !all[2] && read_counts[0] == 6);
    ck_assert(read[0].words[0] == 8 && read[0].words[1] == 8 && read[1].words[2] == 3);
    ck_assert_int_eq(organ_input_sums_load(&b, scratch_path("state"), all, 3, &taken, &error), ORGAN_OK);
    ck_assert(!taken && read_counts[0] == 6 && read[0].words[0] == 8);
    ck_assert_int_eq(organ_input_sums_load(&b, scratch_path("none"), all, 3, &taken, &error), ORGAN_IO);
}
END_TEST

/* Each byte of the file is changed in turn, and the file is cut at each length. */
START_TEST(damaged_states_are_left_out)
{
    organ_error error = {0};
    organ_exact_sum values[2] = {{{7, 8, 9}}, {{1, 2, 3}}};
    uint64_t counts[1] = {4};
    organ_input_entry entry = {"a", 2, 1, values, counts, false};
    organ_input_sums sums = sums_of(&entry);
    unsigned char done[2] = {1, 0}, bytes[400];
    bool taken;
    ck_assert_int_eq(organ_input_sums_save(&sums, scratch_path("state"), done, 2, &error), ORGAN_OK);
    FILE *file = fopen(scratch_path("state"), "rb");
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    ck_assert(size > 100 && size < sizeof bytes);
    for (size_t k = 0; k < 2 * size; k++) {
        unsigned char all[2] = {0};
        bytes[k % size] ^= k < size;
        file = fopen(scratch_path("state"), "wb");
        ck_assert(fwrite(bytes, 1, k < size ? size : k - size, file) == (k < size ? size : k - size));
        fclose(file);
        bytes[k % size] ^= k < size;
        ck_assert_int_eq(organ_input_sums_load(&sums, scratch_path("state"), all, 2, &taken, &error), ORGAN_OK);
        ck_assert_msg(!taken && !all[0] && counts[0] == 4 && values[0].words[0] == 7, "byte %zu", k);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"numbers",
         {sums_are_those_of_llama_cpp, sums_of_heads_are_those_of_llama_cpp, sums_of_drafts_are_those_of_transformers,
          both_formats_have_the_same_means, exact_sums_carry}},
        {"state", {states_are_added_once, damaged_states_are_left_out}}};
    Suite *const suites[] = {suite_of("importance", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove),
                             NULL};
    return run_suites(suites);
}
