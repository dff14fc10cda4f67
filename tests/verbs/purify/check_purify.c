/* SPDX-License-Identifier: MIT
 * Tests of purify as a library: the numbers of a plain implementation, bit identity, and unchanged other tensors. */
#include "orchestrator/verbs/purify/purify_parts.h"
#include <organ/organs.h>
#include "tests/kit/measure_rig.h"
#include "tests/verbs/purify/purify_rig.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define V_PROJ "model.layers.0.self_attn.v_proj.weight" /* F32 */

/* Returns the values of an F32 tensor; the caller frees them. */
static float *values_of(const char *path, const char *name, size_t *rows, size_t *cols)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    const organ_tensor *tensor = organ_model_find(model, name);
    ck_assert(tensor && tensor->dtype == ORGAN_F32 && tensor->rank == 2);
    float *values = malloc(tensor->bytes);
    ck_assert_int_eq(organ_model_read(model, tensor->file, values, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    *rows = tensor->shape[0];
    *cols = tensor->shape[1];
    organ_model_close(model);
    return values;
}

static double energy(const float *values, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)values[k] * (double)values[k];
    return sum;
}

static const json_t *told(const char *tensor)
{
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(purify_result, "tensors"), k,
                       row) if (strcmp(json_string_value(json_object_get(row, "tensor")), tensor) == 0) return row;
    return NULL;
}

static double number(const json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

/* ---- spectra by the definition, in n^2 operations ---- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Filters one row; returns the energy of its noise. */
static double plain_fft(const float *row, double *out, size_t n, double threshold, double strength)
{
    const size_t bins = n / 2 + 1;
    double *re = calloc(bins, sizeof *re), *im = calloc(bins, sizeof *im), *power = calloc(bins, sizeof *power),
           noise = 0;
    for (size_t b = 0; b < bins; b++) {
        for (size_t k = 0; k < n; k++) {
            const double angle = 2 * M_PI * (double)(b * k % n) / (double)n;
            re[b] += (double)row[k] * cos(angle);
            im[b] -= (double)row[k] * sin(angle);
        }
        power[b] = re[b] * re[b] + im[b] * im[b];
    }
    double *sorted = malloc(bins * sizeof *sorted);
    memcpy(sorted, power, bins * sizeof *sorted);
    qsort(sorted, bins, sizeof *sorted, ascending);
    const double limit = threshold * (sorted[(bins - 1) / 2] + sorted[bins / 2]) / 2 / log(2);
    free(sorted);
    memset(out, 0, n * sizeof *out);
    for (size_t b = 0; b < bins; b++) {
        const double twice = b == 0 || 2 * b == n ? 1 : 2, factor = power[b] < limit ? 1 - strength : 1;
        noise += power[b] < limit ? twice * power[b] / (double)n : 0;
        for (size_t k = 0; k < n; k++) {
            const double angle = 2 * M_PI * (double)(b * k % n) / (double)n;
            out[k] += factor * twice * (re[b] * cos(angle) - im[b] * sin(angle)) / (double)n;
        }
    }
    free(re);
    free(im);
    free(power);
    return noise;
}

/* ---- the transform itself ---- */

/* Returns the error of every step-th bin against sums in extended precision, relative to these bins. */
static double error_of(const float *row, size_t n, double (*bins)[2], size_t step)
{
    long double wrong = 0,
                whole = 0, *const cosine = malloc(n * sizeof *cosine), *const sine = malloc(n * sizeof *sine);
    for (size_t k = 0; k < n; k++) {
        cosine[k] = cosl(2 * acosl(-1) * (long double)k / (long double)n);
        sine[k] = sinl(2 * acosl(-1) * (long double)k / (long double)n);
    }
    for (size_t b = 0; b <= n / 2; b += step) {
        long double re = 0, im = 0;
        for (size_t k = 0; k < n; k++) {
            re += row[k] * cosine[b * k % n];
            im -= row[k] * sine[b * k % n];
        }
        wrong += (re - bins[b][0]) * (re - bins[b][0]) + (im - bins[b][1]) * (im - bins[b][1]);
        whole += re * re + im * im;
    }
    free(cosine);
    free(sine);
    return (double)sqrtl(wrong / whole);
}

/* Every kind of step and their mixtures, lengths of models, and prime factors above 61. The digest of all bits is the
 * same on every machine. */
START_TEST(spectra_are_exact_to_a_few_bits)
{
    static const size_t lengths[] = {1,  2,  3,  4,   5,   6,   7,   8,   9,   12,  16,   30,   33,   61,   64,
                                     67, 77, 98, 127, 134, 210, 268, 499, 576, 896, 1031, 2062, 4096, 4864, 11008};
    XXH3_state_t *const digest = XXH3_createState();
    XXH3_64bits_reset(digest);
    for (size_t t = 0; t < sizeof lengths / sizeof *lengths; t++) {
        const size_t n = lengths[t];
        organ_fft *fft;
        organ_error error = {0};
        samples random = {t};
        float *const row = malloc(n * sizeof *row), *const back = malloc(n * sizeof *back);
        void *const scratch = aligned_alloc(64, organ_fft_scratch(n));
        ck_assert_int_eq(organ_fft_create(n, &fft, &error), ORGAN_OK);
        samples_fill(&random, NORMAL, row, n);
        double(*const bins)[2] = organ_fft_spectrum(fft, row, scratch);
        XXH3_64bits_update(digest, bins, (n / 2 + 1) * sizeof *bins);
        const double wrong = error_of(row, n, bins, n < 600 ? 1 : n / 40);
        ck_assert_msg(wrong < 6 * 0x1p-53, "%zu values: relative error %g", n, wrong);
        memcpy(back, row, n * sizeof *back);
        organ_fft_purify(fft, back, 0, 1, scratch); /* no bin is below the limit 0 */
        ck_assert_msg(memcmp(back, row, n * sizeof *back) == 0, "%zu values do not come back", n);
        organ_fft_destroy(fft);
        free(row);
        free(back);
        free(scratch);
    }
    const unsigned long long found = XXH3_64bits_digest(digest);
    XXH3_freeState(digest);
    ck_assert_msg(found == 0xaecf38b12413773dULL, "the digest of all spectra is 0x%llx", found);
}
END_TEST

/* ---- results of fixtures/make_purify_golden.py ---- */

typedef struct purify_golden {
    char method[8];
    double strength;
    char type[8], shape[16];
    uint64_t seed;
    size_t rows, cols;
    uint32_t words[3 * 77]; /* bits of the results */
} purify_golden;

static uint32_t word_of(const void *units, size_t k, size_t size)
{
    uint32_t word = 0;
    memcpy(&word, (const char *)units + k * size, size);
    return word;
}

/* Compares every bit, also of spectra: the script avoids values for which the last bits of a transform matter. */
static void compare_golden(const purify_golden *g, const void *units, size_t size)
{
    for (size_t k = 0; k < g->rows * g->cols; k++)
        ck_assert_msg(word_of(units, k, size) == g->words[k], "%s %g, seed %llu: value %zu is 0x%x instead of 0x%x",
                      g->method, g->strength, (unsigned long long)g->seed, k, word_of(units, k, size), g->words[k]);
}

static organ_dtype type_of(const char *name)
{
    if (strcmp(name, "F32") == 0)
        return ORGAN_F32;
    return strcmp(name, "F16") == 0 ? ORGAN_F16 : ORGAN_BF16;
}

START_TEST(results_are_the_oracles)
{
    enum { GOLDENS = 36 };
    static const sample_column columns[] = {SAMPLE_COLUMN(purify_golden, method),
                                            SAMPLE_COLUMN(purify_golden, strength),
                                            SAMPLE_COLUMN(purify_golden, type),
                                            SAMPLE_COLUMN(purify_golden, shape),
                                            SAMPLE_COLUMN(purify_golden, seed),
                                            SAMPLE_COLUMN(purify_golden, rows),
                                            SAMPLE_COLUMN(purify_golden, cols),
                                            SAMPLE_COLUMN(purify_golden, words),
                                            {0}};
    static purify_golden goldens[GOLDENS];
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/purify/purify_golden.tsv", columns, goldens), GOLDENS);
    for (size_t k = 0; k < GOLDENS; k++) {
        const purify_golden *g = &goldens[k];
        const organ_dtype dtype = type_of(g->type);
        const size_t n = g->rows * g->cols, size = dtype == ORGAN_F32 ? 4 : 2;
        organ_model *model;
        organ_error error = {0};
        model_text text = {0};
        samples random = {g->seed};
        float values[3 * 77], units[3 * 77];
        ck_assert_uint_le(n, sizeof values / sizeof *values);
        samples_fill(&random, sample_shape_named(g->shape), values, n);
        text_floats(&text, V_PROJ, dtype, g->rows, g->cols, values);
        text_write(&text, scratch_path("golden.safetensors"));
        must_purify("out",
                    (purify_way){.model = scratch_path("golden.safetensors"),
                                 .options = {.method = g->method, .strength = g->strength, .write.force = true}});
        ck_assert_int_eq(organ_model_open(scratch_path("out/golden.safetensors"), &model, &error), ORGAN_OK);
        const organ_tensor *tensor = organ_model_find(model, V_PROJ);
        ck_assert(tensor && tensor->dtype == dtype && tensor->bytes == n * size);
        ck_assert_int_eq(organ_model_read(model, tensor->file, units, tensor->bytes, tensor->offset, &error), ORGAN_OK);
        organ_model_close(model);
        compare_golden(g, units, size);
    }
}
END_TEST

/* Makes rows of 181 values, which is odd, and of 64, a power of two. */
static void make_wide(void)
{
    const made_tensor tensors[] = {{V_PROJ, ORGAN_F32, 2, {19, 181}},
                                   {"model.layers.0.mlp.up_proj.weight", ORGAN_F32, 2, {9, 64}},
                                   {"model.layers.0.mlp.down_proj.weight", ORGAN_F32, 2, {3, 1}},
                                   {"model.norm.weight", ORGAN_F32, 1, {181}}};
    make_shard(scratch_path("wide.safetensors"), tensors, 4);
}

static void compare_spectra(const char *tensor, double threshold, double strength)
{
    size_t rows, cols;
    float *before = values_of(scratch_path("wide.safetensors"), tensor, &rows, &cols),
          *after = values_of(scratch_path("out/wide.safetensors"), tensor, &rows, &cols);
    double *right = malloc(cols * sizeof *right), noise = 0;
    for (size_t r = 0; r < rows; r++) {
        noise += plain_fft(before + r * cols, right, cols, threshold, strength);
        for (size_t k = 0; k < cols; k++)
            ck_assert_msg(fabs(after[r * cols + k] - right[k]) < 1e-7, "%s [%zu, %zu]: %g instead of %g", tensor, r, k,
                          (double)after[r * cols + k], right[k]);
    }
    const double was = energy(before, rows * cols), is = energy(after, rows * cols);
    ck_assert_double_eq_tol(number(told(tensor), "energy_before"), was, 1e-9 * was);
    ck_assert_double_eq_tol(number(told(tensor), "energy_after"), is, 1e-9 * was);
    ck_assert_double_eq_tol(was - is, strength * (2 - strength) * noise, 1e-6 * was); /* Parseval's theorem */
    ck_assert_double_eq_tol(number(told(tensor), "energy_removed_percent"), 100 * (was - is) / was, 1e-5);
    free(before);
    free(after);
    free(right);
}

START_TEST(spectra_are_those_of_the_definition)
{
    static const double strengths[] = {0.1, 0.5, 1.0}, thresholds[] = {3.0, 0.3, 1.0};
    make_wide();
    for (size_t k = 0; k < 3; k++) {
        must_purify("out", (purify_way){.model = scratch_path("wide.safetensors"),
                                        .options = {.method = "fft",
                                                    .strength = strengths[k],
                                                    .threshold = thresholds[k],
                                                    .write.force = true}});
        compare_spectra(V_PROJ, thresholds[k], strengths[k]);
        compare_spectra("model.layers.0.mlp.up_proj.weight", thresholds[k], strengths[k]);
        ck_assert_ptr_null(told("model.layers.0.mlp.down_proj.weight")); /* rows of one value */
        ck_assert_ptr_null(told("model.norm.weight"));
    }
}
END_TEST

START_TEST(wavelets_account_for_their_energy)
{
    make_wide();
    must_purify("out", (purify_way){.model = scratch_path("wide.safetensors"), .options = {.strength = 1}});
    size_t rows, cols;
    float *before = values_of(scratch_path("wide.safetensors"), V_PROJ, &rows, &cols),
          *after = values_of(scratch_path("out/wide.safetensors"), V_PROJ, &rows, &cols);
    double cross = 0;
    for (size_t k = 0; k < rows * cols; k++)
        cross += (double)before[k] * (double)after[k];
    const double is = energy(after, rows * cols), was = energy(before, rows * cols);
    ck_assert_double_eq_tol(cross, is,
                            1e-5 * is); /* at strength 1 the result is a projection, orthogonal to the removed part */
    ck_assert(is < 0.5 * was && is > 0.05 * was);
    ck_assert_double_eq_tol(number(told(V_PROJ), "energy_after"), is, 1e-9 * was);
    free(before);
    free(after);
    ck_assert(json_is_object(json_object_get(purify_result, "warning")));
    must_purify("weak", (purify_way){.model = scratch_path("wide.safetensors"), .options = {.strength = 0.01}});
    ck_assert(json_is_null(json_object_get(purify_result, "warning")));
}
END_TEST

/* ---- bit identity ---- */

START_TEST(same_bytes_whatever_the_way)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"}, *const methods[] = {"haar", "fft"};
    char name[64];
    const char *why;
    for (size_t m = 0; m < 2; m++) {
        must_purify(methods[m], (purify_way){.threads = 1, .options = {.method = methods[m]}});
        for (size_t t = 2; t < 8; t += 5) {
            snprintf(name, sizeof name, "%s-%zu", methods[m], t);
            must_purify(name,
                        (purify_way){.threads = t, .memory = t == 7 ? 12 << 20 : 0, .options = {.method = methods[m]}});
            purify_same(methods[m], name);
        }
    }
    for (size_t k = 0; k < 4; k++)
        if (organ_kernels_choose(organ_cpu_detect(), isas[k], &why)) {
            must_purify(isas[k], (purify_way){.isa = isas[k]});
            purify_same("haar", isas[k]);
        }
    ck_assert(!same_files(scratch_path("haar/model-00001-of-00002.safetensors"),
                          scratch_path("fft/model-00001-of-00002.safetensors")));
}
END_TEST

START_TEST(strength_0_changes_nothing)
{
    must_purify("out", (purify_way){.nothing = true});
    ck_assert(same_files(scratch_path("donor/model-00001-of-00002.safetensors"),
                         scratch_path("out/model-00001-of-00002.safetensors")));
    ck_assert(same_files(scratch_path("donor/model-00002-of-00002.safetensors"),
                         scratch_path("out/model-00002-of-00002.safetensors")));
    ck_assert_double_eq(number(json_object_get(purify_result, "totals"), "energy_removed_percent"), 0);
}
END_TEST

/* ---- choice of tensors ---- */

/* Returns true if the bytes of a tensor are the donor's. */
static bool untouched(const char *name)
{
    organ_model *donor, *copy;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &donor, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &copy, &error), ORGAN_OK);
    const organ_tensor *a = organ_model_find(donor, name), *b = organ_model_find(copy, name);
    ck_assert(a && b && a->bytes == b->bytes && a->dtype == b->dtype);
    char *x = malloc(a->bytes), *y = malloc(a->bytes);
    ck_assert_int_eq(organ_model_read(donor, a->file, x, a->bytes, a->offset, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_read(copy, b->file, y, b->bytes, b->offset, &error), ORGAN_OK);
    const bool same = memcmp(x, y, a->bytes) == 0;
    free(x);
    free(y);
    organ_model_close(donor);
    organ_model_close(copy);
    return same;
}

START_TEST(only_what_is_selected)
{
    static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight",
                                        "model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight",
                                        "model.layers.1.input_layernorm.weight",  "model.embed_tokens.weight"};
    static const struct {
        const char *types, *layers;
        bool touched[6];
    } rows[] = {
        {NULL, NULL, {true, true, true, true, false, false}},
        {"organ", NULL, {false, true, false, true, false, false}},
        {NULL, "1", {false, false, true, true, false, false}},
        {"skeleton", "0", {true, false, false, false, false, false}},
        {"norm", NULL, {false, false, false, false, true, false}},
        {"all", NULL, {true, true, true, true, true, true}},
        {"embed", NULL, {false, false, false, false, false, true}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        must_purify("out",
                    (purify_way){.options = {.types = rows[k].types, .layers = rows[k].layers, .write.force = true}});
        for (size_t n = 0; n < 6; n++)
            ck_assert_msg(untouched(names[n]) != rows[k].touched[n], "row %zu: %s", k, names[n]);
    }
}
END_TEST

START_TEST(types_that_cannot_be_written)
{
    organ_error error;
    const made_tensor tensors[] = {{"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {8, 40}},
                                   {"model.layers.0.mlp.gate_proj.weight", ORGAN_I16, 2, {8, 40}}};
    make_shard(scratch_path("mixed.safetensors"), tensors, 2);
    make_shard(scratch_path("whole.safetensors"), tensors + 1, 1);
    must_purify("out", (purify_way){.model = scratch_path("mixed.safetensors")});
    const json_t *left = json_object_get(purify_result, "left_alone");
    ck_assert_uint_eq(json_array_size(left), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(left, 0), "dtype")), "I16");
    ck_assert_int_eq(
        purify("no", (purify_way){.model = scratch_path("mixed.safetensors"), .options = {.types = "organ"}}, &error),
        ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "'model.layers.0.mlp.gate_proj.weight' is selected by `types`") &&
                      strstr(error.message, "I16"),
                  "%s", error.message);
    ck_assert_int_eq(purify("no", (purify_way){.model = scratch_path("whole.safetensors")}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "types like I16"), "%s", error.message);
    ck_assert(!scratch_left("no"));
}
END_TEST

/* ---- forms of models ---- */

START_TEST(organ_directory_and_single_file_agree)
{
    organ_error error = {0};
    json_t *report = NULL;
    make_wide();
    const organ_extract_options apart = {.model = scratch_path("wide.safetensors"),
                                         .write.output = scratch_path("organs")};
    ck_assert_msg(organ_extract(&apart, NULL, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    must_purify("direct.safetensors", (purify_way){.model = scratch_path("wide.safetensors")});
    ck_assert(exists(scratch_path("direct.purify.json")) && exists(scratch_path("direct.PURIFY_REPORT.md")));
    must_purify("pure", (purify_way){.model = scratch_path("organs")});
    ck_assert(exists(scratch_path("pure/organ/purify.json")) && exists(scratch_path("pure/organ/PURIFY_REPORT.md")));
    const organ_assemble_options together = {.directory = scratch_path("pure"),
                                             .write.output = scratch_path("again.safetensors")};
    ck_assert_msg(organ_assemble(&together, NULL, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    ck_assert(same_files(scratch_path("direct.safetensors"), scratch_path("again.safetensors")));
}
END_TEST

START_TEST(a_model_by_its_index)
{
    must_purify("whole", (purify_way){0});
    must_purify("out", (purify_way){.model = scratch_path("donor/model.safetensors.index.json")});
    ck_assert(same_files(scratch_path("whole/model-00001-of-00002.safetensors"),
                         scratch_path("out/model-00001-of-00002.safetensors")));
    ck_assert(same_files(scratch_path("donor/model.safetensors.index.json"),
                         scratch_path("out/model.safetensors.index.json")));
}
END_TEST

START_TEST(dry_run_writes_nothing)
{
    must_purify("out", (purify_way){.options = {.write.dry_run = true}});
    ck_assert(!scratch_left("out"));
    ck_assert_int_eq((int)number(json_object_get(purify_result, "totals"), "tensors"), 14);
}
END_TEST

START_TEST(wrong_usage)
{
    static const struct {
        purify_way way;
        const char *output, *words;
    } rows[] = {
        {{.options = {.method = "dwt"}}, "no", "method 'dwt'"},
        {{.options = {.strength = 1.5}}, "no", "strength 1.5"},
        {{.options = {.strength = NAN}}, "no", "strength"},
        {{.options = {.threshold = NAN}}, "no", "threshold"},
        {{.options = {.types = "brain"}}, "no", "brain"},
        {{.options = {.layers = "7-9"}}, "no", "`types`"},
        {{0}, "donor", "donor"},
        {{.options = {.write.force = true}}, "donor/no", "donor"},
        {{0}, "no.gguf", "is not one .gguf file"},
        {{0}, "no.safetensors", "is not one .safetensors file"},
        {{0}, "full", "exists"},
        {{.memory = 1000}, "no", "--memory"},
        {{.model = "http://127.0.0.1:1/x.safetensors"}, "no", "127.0.0.1"},
    };
    organ_error error;
    ck_assert_int_eq(mkdir(scratch_path("full"), 0777), 0);
    spill(scratch_path("full/x"), "x", 1);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const organ_status status = purify(rows[k].output, rows[k].way, &error);
        ck_assert_msg(status == ORGAN_USAGE || (rows[k].way.model && status == ORGAN_IO), "row %zu: %d: %s", k,
                      (int)status, error.message);
        ck_assert_msg(strstr(error.message, rows[k].words), "row %zu: %s", k, error.message);
        ck_assert(!scratch_left("no") && !exists(scratch_path(".donor.organ-partial")));
    }
}
END_TEST

Suite *purify_results_suite(void)
{
    const suite_case cases[] = {
        {"numbers",
         {results_are_the_oracles, spectra_are_exact_to_a_few_bits, spectra_are_those_of_the_definition,
          wavelets_account_for_their_energy}},
        {"bytes", {same_bytes_whatever_the_way, strength_0_changes_nothing}},
        {"selection", {only_what_is_selected, types_that_cannot_be_written}},
        {"places", {organ_directory_and_single_file_agree, a_model_by_its_index, dry_run_writes_nothing, wrong_usage}},
    };
    return suite_of("purify", cases, sizeof cases / sizeof *cases, purify_setup, purify_teardown);
}

int main(void) { return run_suites((Suite *const[]){purify_results_suite(), purify_faults_suite(), NULL}); }
