/* SPDX-License-Identifier: MIT
 * Tests of pages of real reports on the fixture model: autopsies, adapters, noise, precision, perplexity, tokens. Each
 * is a complete document with the report's figures, has a limited size for large models, and is made for malformed
 * reports as well. The program is linked with --wrap for the allocation functions. */
#include <organ/report.h>
#include <organ/inspect.h>
#include <organ/lora.h>
#include <organ/quantize.h>
#include <organ/prune.h>
#include <organ/evaluate.h>

#include "tests/kit/condition_rig.h"
#include "tests/kit/html_reader.h"
#include "tests/kit/memory_rig.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/svg_reader.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL  "fixtures/tiny-qwen2"
#define TEXT   MODEL "/heldout.txt"
#define SHARD  ((uint64_t)1 << 40)
#define LAYERS 143 /* a thousand matrices, seven per layer */

/* ---- reports, made once for all tests ---- */

typedef enum document {
    AUTOPSY,
    AUTOPSY_OTHER,
    QUANTIZE,
    QUANTIZE_GGUF,
    QUANTIZE_TEXT,
    QUANTIZE_MIXED,
    DEQUANTIZE,
    MERGE,
    MERGE_DRY,
    EXTRACT,
    EXTRACT_ENERGY,
    EXTRACT_DRY,
    RESIZE,
    COMBINED,
    CHECKED,
    SANITIZED,
    ORTHOGONALITY,
    NOISE_PAIRS,
    PERPLEXITY,
    COMPARISON,
    EVALUATION,
    TOKENS,
    GENERATED,
    DOCUMENTS
} document;

static json_t *documents[DOCUMENTS];

static char *names[27];
static size_t name_count;

/* Returns a path in the scratch directory that stays valid. */
static const char *at(const char *name)
{
    ck_assert_uint_lt(name_count, sizeof names / sizeof *names);
    names[name_count] = strdup(scratch_path("%s", name));
    ck_assert_ptr_nonnull(names[name_count]);
    return names[name_count++];
}

static void made(document which, organ_status status, organ_status expected, const organ_error *error)
{
    ck_assert_msg(status == expected, "document %d: status %d: %s", (int)which, (int)status, error->message);
    ck_assert_ptr_nonnull(documents[which]);
}
#define MADE(which, expected, call)                                                                                    \
    do {                                                                                                               \
        organ_error error = {0};                                                                                       \
        json_t **const report = &documents[which];                                                                     \
        made(which, call, expected, &error);                                                                           \
    } while (0)

static void make_precision(const organ_engine *e, const char *fp8, const char *int4)
{
    const organ_quantize_options to_fp8 = {
        .model = MODEL, .write.output = fp8, .scheme = "fp8-channel", .write.max_shard_size = SHARD};
    const organ_quantize_options to_int4 = {
        .model = MODEL, .write.output = int4, .scheme = "int4-group32", .write.max_shard_size = SHARD};
    const organ_quantize_options to_blocks = {.model = "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf",
                                              .write.output = at("blocks.gguf"),
                                              .scheme = "q4_k",
                                              .gguf.imatrix = "fixtures/imatrix/tiny-qwen2.gguf"};
    const organ_quantize_options by_text = {.model = MODEL,
                                            .write.output = at("by-text"),
                                            .scheme = "int4-group32",
                                            .targets = "*.0.self_attn.o_proj.weight",
                                            .write.max_shard_size = SHARD,
                                            .method = "gptq",
                                            .calibration.text = TEXT,
                                            .calibration.samples = 1,
                                            .calibration.context = 32};
    organ_quantize_options mixed = by_text;
    mixed.write.output = at("mixed");
    mixed.scheme = "mixed";
    mixed.allocate = (organ_allocate_options){.allocate = "global", .budget = "4bpw", .tokens = 64, .rounds = 1};
    mixed.targets = "*.0.self_attn.[qkv]_proj.weight";
    const organ_dequantize_options back = {
        .model = fp8, .write.output = at("plain"), .dtype = "bf16", .write.max_shard_size = SHARD};
    const organ_autopsy_options sick = {.model = "fixtures/precision/plain-types"},
                                extra = {.model = int4, .other = MODEL};
    MADE(QUANTIZE, ORGAN_OK, organ_quantize(&to_int4, e, NULL, report, &error));
    json_decref(documents[QUANTIZE]);
    MADE(QUANTIZE, ORGAN_OK, organ_quantize(&to_fp8, e, NULL, report, &error));
    MADE(QUANTIZE_GGUF, ORGAN_OK, organ_quantize(&to_blocks, e, NULL, report, &error));
    MADE(QUANTIZE_TEXT, ORGAN_OK, organ_quantize(&by_text, e, NULL, report, &error));
    MADE(QUANTIZE_MIXED, ORGAN_OK, organ_quantize(&mixed, e, NULL, report, &error));
    MADE(DEQUANTIZE, ORGAN_OK, organ_dequantize(&back, e, NULL, report, &error));
    MADE(AUTOPSY, ORGAN_CHECK_FAILED, organ_autopsy(&sick, e, NULL, report, &error));
    MADE(AUTOPSY_OTHER, ORGAN_OK, organ_autopsy(&extra, e, NULL, report, &error));
}

static void make_adapters(const organ_engine *e, const char *fp8, const char *int4)
{
    const char *const lora = "fixtures/tiny-lora", *const tuned = at("tuned"), *const adapter = at("adapter");
    organ_lora_merge_options merge = {
        .base = MODEL, .adapter = lora, .write.output = tuned, .scale = 4, .write.max_shard_size = SHARD};
    organ_lora_extract_options extract = {
        .base = fp8, .tuned = tuned, .write.output = adapter, .rank = 4, .dtype = "bf16"};
    const organ_lora_resize_options resize = {.adapter = adapter, .output = at("small"), .rank = 2, .energy = 0.5};
    organ_lora_sanitize_options sanitize = {.adapter = lora, .output = at("servable")};
    const char *const both[] = {adapter, at("servable")};
    organ_lora_combine_options combine = organ_lora_combine_defaults();
    combine.adapters = both;
    combine.adapter_count = 2;
    combine.method = "svd";
    combine.write.output = at("combined");
    const organ_orthogonality_options noise = {
        .clean = MODEL, .noisy = fp8, .noisy2 = int4, .adapter = adapter, .draws = 2};
    MADE(MERGE, ORGAN_OK, organ_lora_merge(&merge, e, NULL, report, &error));
    MADE(EXTRACT, ORGAN_OK, organ_lora_extract(&extract, e, NULL, report, &error));
    const organ_noise_pairs_options pairs = {.clean = {MODEL, tuned}, .noisy = {fp8, int4}, .draws = 2};
    MADE(RESIZE, ORGAN_OK, organ_lora_resize(&resize, e, NULL, report, &error));
    MADE(SANITIZED, ORGAN_OK, organ_lora_sanitize(&sanitize, e, NULL, report, &error));
    MADE(COMBINED, ORGAN_OK, organ_lora_combine(&combine, e, NULL, report, &error));
    MADE(ORTHOGONALITY, ORGAN_OK, organ_orthogonality(&noise, e, NULL, report, &error));
    MADE(NOISE_PAIRS, ORGAN_OK, organ_noise_pairs(&pairs, e, NULL, report, &error));
    sanitize.check = true;
    sanitize.output = NULL;
    merge.write.dry_run = extract.write.dry_run = true;
    merge.write.output = extract.write.output = at("none");
    MADE(CHECKED, ORGAN_CHECK_FAILED, organ_lora_sanitize(&sanitize, e, NULL, report, &error));
    MADE(MERGE_DRY, ORGAN_OK, organ_lora_merge(&merge, e, NULL, report, &error));
    MADE(EXTRACT_DRY, ORGAN_OK, organ_lora_extract(&extract, e, NULL, report, &error));
    extract = (organ_lora_extract_options){.base = MODEL,
                                           .tuned = tuned,
                                           .write.output = at("energy"),
                                           .rank = 8,
                                           .rank_by = "energy=0.9",
                                           .dtype = "bf16"};
    MADE(EXTRACT_ENERGY, ORGAN_OK, organ_lora_extract(&extract, e, NULL, report, &error));
}

static void make_perplexity(const organ_engine *e)
{
    const organ_experiment_options experiment = {.text = TEXT, .style = "hf", .context = 16, .max_tokens = 48};
    const char *const pruned[] = {at("pruned-20"), at("pruned-40")};
    const double sparsities[] = {20, 40};
    const organ_perplexity_options one = {.model = MODEL, .experiment = experiment};
    const organ_perplexity_options two = {.model = MODEL, .compare = pruned[0], .experiment = experiment};
    const organ_evaluate_options all = {.donor = MODEL, .pruned = pruned, .count = 2, .experiment = experiment};
    const organ_tokenize_options tokens = {.model = MODEL, .text = TEXT};
    const organ_generate_options streamer = {.model = MODEL, .prompt = "In the <b>beginning\n\n", .count = 8};
    for (size_t k = 0; k < 2; k++) {
        const organ_prune_options prune = {.donor = MODEL,
                                           .write.output = pruned[k],
                                           .block_size = 256,
                                           .iterations = 2,
                                           .beta = 2,
                                           .coupling = 1,
                                           .sparsity = sparsities[k]};
        organ_error error = {0};
        json_t *report = NULL;
        ck_assert_msg(organ_prune(&prune, e, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
        json_decref(report);
    }
    MADE(PERPLEXITY, ORGAN_OK, organ_perplexity(&one, e, NULL, report, &error));
    MADE(COMPARISON, ORGAN_OK, organ_perplexity(&two, e, NULL, report, &error));
    MADE(EVALUATION, ORGAN_OK, organ_evaluate(&all, e, NULL, report, &error));
    MADE(TOKENS, ORGAN_OK, organ_tokenize(&tokens, NULL, report, &error));
    MADE(GENERATED, ORGAN_OK, organ_generate(&streamer, e, NULL, NULL, report, &error));
}

static void make_documents(void)
{
    run_engine room;
    scratch_make();
    run_engine_open(&room, (run_way){.threads = 1, .memory = (uint64_t)512 << 20}); /* the threads change no document */
    const char *const fp8 = at("fp8"), *const int4 = at("int4");
    make_precision(&room.engine, fp8, int4);
    make_adapters(&room.engine, fp8, int4);
    make_perplexity(&room.engine);
    run_engine_close(&room);
    scratch_remove();
    while (name_count)
        free(names[--name_count]);
}

static void drop_documents(void)
{
    for (size_t k = 0; k < DOCUMENTS; k++)
        json_decref(documents[k]);
}

/* ---- content of pages ---- */

/* Fails the test unless the `key` of every row is the head of a table row. */
static void has_rows(document which, const char *rows, const char *key)
{
    char *const page = html_page_of(documents[which]);
    const json_t *const all = organ_json_at(documents[which], rows);
    ck_assert_msg(json_array_size(all) > 0, "document %d has no %s", (int)which, rows);
    for (size_t k = 0; k < json_array_size(all); k++) {
        char head[256];
        snprintf(head, sizeof head, "<th scope=\"row\">%s</th>", organ_json_text(json_array_get(all, k), key));
        ck_assert_msg(strstr(page, head), "document %d has no row %s", (int)which, head);
    }
    free(page);
}

static void has_texts(document which, const char *const *texts)
{
    char *const page = html_page_of(documents[which]);
    for (; *texts; texts++)
        ck_assert_msg(strstr(page, *texts), "document %d does not say: %s", (int)which, *texts);
    free(page);
}
#define HAS(which, ...) has_texts(which, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(every_tensor_and_module_has_its_row)
{
    has_rows(AUTOPSY, "tensors", "name");
    has_rows(AUTOPSY, "findings", "tensor");
    has_rows(AUTOPSY_OTHER, "tensors", "name");
    has_rows(QUANTIZE, "tensors", "tensor");
    has_rows(QUANTIZE_MIXED, "allocation.tensors", "name");
    has_rows(DEQUANTIZE, "weights", "name");
    has_rows(MERGE, "modules", "module");
    has_rows(EXTRACT, "modules", "module");
    has_rows(EXTRACT_ENERGY, "modules", "module");
    has_rows(RESIZE, "modules", "module");
    has_rows(COMBINED, "modules", "module");
    has_rows(SANITIZED, "modules", "module");
    has_rows(SANITIZED, "findings", "where");
    has_rows(CHECKED, "findings", "where");
    has_rows(ORTHOGONALITY, "modules", "module");
    has_rows(NOISE_PAIRS, "modules", "module");
}
END_TEST

/* Returns a share of the report as "72.31 %". */
static const char *percent(document which, const char *path, const char *format)
{
    static char texts[8][40];
    static size_t turn;
    char *const text = texts[turn++ % 8];
    snprintf(text, sizeof *texts, format, 100 * organ_json_real(documents[which], path));
    return text;
}

START_TEST(the_numbers_are_there)
{
    HAS(EXTRACT, "Method B: the base is quantised", percent(EXTRACT, "totals.explained", "<b>%.2f %%</b>"),
        percent(EXTRACT, "totals.change", "<b>%.2f %%</b>"), "Explained share by rank",
        "Explained share of the change, by layer");
    HAS(EXTRACT_ENERGY, "Rank by layer");
    HAS(RESIZE, percent(RESIZE, "totals.explained", "<b>%.2f %%</b>"), "keeping 0.5 of the energy of every module");
    HAS(COMBINED, percent(COMBINED, "totals.explained", "<b>%.2f %%</b>"), "Cosine of the changes, by layer",
        "Opposed signs, by layer");
    HAS(MERGE, percent(MERGE, "totals.arrived", "<b>%.2f %%</b>"), "The change was scaled by 4.",
        "Share of the change that arrived");
    HAS(QUANTIZE, percent(QUANTIZE, "totals.relative_error", "<b>%.4f %%</b>"), "Relative error by layer",
        "organ perplexity --compare");
    HAS(QUANTIZE_MIXED, "Width by layer and projection", "One budget of 4bpw was divided over 3 tensors by");
    HAS(DEQUANTIZE, "FP8 E4M3, per channel, BF16 scales", "Schemes by role");
    HAS(GENERATED, "In the &lt;b&gt;beginning</p>", "<b>8</b>", "tokens generated", "d5c0be0cd93c3289",
        "at the requested number of tokens");
    HAS(TOKENS, "<b>55,040</b>", "27cb235213128aac", "d5c0be0cd93c3289");
    HAS(MERGE_DRY, "Dry run, nothing was written: every key matches a weight.");
    HAS(EXTRACT_DRY, "Dry run, nothing was written and nothing compared.");
    HAS(SANITIZED, "Kept: 9 of 9 modules, with r = lora_alpha = 4.", "A server accepts the result.");
    HAS(CHECKED, "A server would reject it: 2 findings.");
}
END_TEST

START_TEST(an_autopsy_begins_with_its_findings)
{
    char *const page = html_page_of(documents[AUTOPSY]);
    const char *const finding =
        strstr(page, organ_json_text(json_array_get(organ_json_at(documents[AUTOPSY], "findings"), 0), "cause"));
    const char *const layers = strstr(page, "id=\"s2-");
    ck_assert(strstr(page, "<p class=\"lead\">NOT healthy: ") && finding && layers && finding < layers);
    free(page);
    HAS(AUTOPSY_OTHER, "<p class=\"lead\">Healthy: 50 tensors, no finding.", "None.",
        "Standard deviation of the weights by layer", "Largest value by layer",
        "Distance from the other model by layer", "Distance of each weight from the expected limits");
}
END_TEST

START_TEST(noise_begins_with_its_verdict)
{
    const json_t *const noises = organ_json_at(documents[ORTHOGONALITY], "noises");
    for (size_t n = 0; n < 2; n++) {
        const json_t *const sentences = organ_json_at(json_array_get(noises, n), "verdict.sentences");
        char *const page = html_page_of(documents[ORTHOGONALITY]);
        ck_assert_uint_ge(json_array_size(sentences), 3);
        ck_assert_ptr_nonnull(strstr(page, organ_json_text(json_array_get(sentences, 0), "")));
        free(page);
    }
    HAS(NOISE_PAIRS, "The premise of Method A", "These figures describe weights",
        "Norms of both noises, of their difference and of the change", "Cosine of both noises",
        "Significance of each cosine");
    HAS(ORTHOGONALITY, "These figures describe weights. They do not predict the answers of a model.",
        "Size of noise and adapter", "Cosine between noise and adapter", "Noise in the adapter's output directions",
        "The two noises compared", "Limits of the verdicts");
}
END_TEST

START_TEST(perplexity_states_its_experiment)
{
    static const document all[] = {PERPLEXITY, COMPARISON, EVALUATION};
    for (size_t k = 0; k < 3; k++)
        HAS(all[k], "27cb235213128aac", "d5c0be0cd93c3289", "hf; no BOS", "<td>16 tokens</td>", "<td>exact</td>",
            "of 48 tokens, in 3 windows",
            "Figures are comparable only if text, tokenizer, style, context and compute are equal");
    char value[40];
    snprintf(value, sizeof value, "%.4f \u00b1",
             organ_json_real(json_array_get(organ_json_at(documents[EVALUATION], "models"), 1), "figures.perplexity"));
    HAS(EVALUATION, value, "Perplexity against sparsity", "Change of the predictions", "physarum-v1");
    HAS(COMPARISON, "KL divergence from the first", "difference to the first");
}
END_TEST

/* ---- large models ---- */

/* Repeats the rows of layer `from` for `layers` layers, with different values of `key`. */
static void multiply(json_t *rows, json_int_t from, const char *key, size_t layers)
{
    const size_t count = json_array_size(rows);
    json_t *const kept = json_array();
    for (size_t l = 0; l < layers; l++)
        for (size_t k = 0; k < count; k++) {
            const json_t *const row = json_array_get(rows, k);
            char name[200];
            if (json_integer_value(json_object_get(row, "layer")) != from ||
                !json_is_integer(json_object_get(row, "layer")))
                continue;
            json_t *const copy = json_deep_copy(row);
            json_object_set_new(copy, "layer", json_integer((json_int_t)l));
            if (key) {
                snprintf(name, sizeof name, "%s of %zu", organ_json_text(row, key), l);
                json_object_set_new(copy, key, json_string(name));
            }
            json_array_append_new(kept, copy);
        }
    json_array_clear(rows);
    json_array_extend(rows, kept);
    json_decref(kept);
}

static void stays_small(document which, const char *rows, const char *key, size_t layers, size_t at_least)
{
    json_t *const report = json_deep_copy(documents[which]), *const noises = json_object_get(report, "noises");
    multiply(json_object_get(report, rows), 1, key, layers);
    for (size_t n = 0; n < json_array_size(noises); n++)
        multiply(json_object_get(json_array_get(noises, n), "places"), 1, NULL, layers);
    ck_assert_uint_ge(json_array_size(json_object_get(report, rows)), at_least);
    char *const page = html_page_of(report);
    ck_assert_msg(strlen(page) < 1000000, "document %d: %zu bytes", (int)which, strlen(page));
    free(page);
    json_decref(report);
}

START_TEST(a_thousand_tensors_stay_below_a_megabyte)
{
    stays_small(AUTOPSY_OTHER, "tensors", "name", LAYERS, 1000);
    stays_small(QUANTIZE, "tensors", "tensor", LAYERS, 1000);
    stays_small(EXTRACT, "modules", "module", LAYERS, 1000);
    stays_small(RESIZE, "modules", "module", LAYERS, 1000);
    stays_small(COMBINED, "modules", "module", LAYERS, 1000);
    stays_small(ORTHOGONALITY, "modules", "module", 64, 448);
    stays_small(NOISE_PAIRS, "modules", "module", 64, 448);
}
END_TEST

/* ---- malformed documents ---- */

/* Sets every string of the document, except its schema and the names of places in a model, to `name`. */
static void rename_all(json_t *value, const char *name)
{
    const char *key;
    json_t *member;
    void *next;
    json_object_foreach_safe(value, next, key, member)
    {
        if (json_is_string(member) && strcmp(key, "schema") != 0)
            json_object_set_new(value, key, json_string(name));
        else
            rename_all(member, name);
    }
    for (size_t k = 0; k < json_array_size(value); k++)
        if (json_is_string(json_array_get(value, k)))
            json_array_set_new(value, k, json_string(name));
        else
            rename_all(json_array_get(value, k), name);
}

START_TEST(names_may_hold_anything)
{
    for (size_t k = 0; k < HOSTILE_NAMES; k++) {
        json_t *const valid = json_string(hostile_names[k]);
        for (size_t d = k % 2; d < DOCUMENTS && valid; d += 2) { /* documents contain valid UTF-8 only */
            json_t *const report = json_deep_copy(documents[d]);
            rename_all(report, hostile_names[k]);
            char *const page = html_page_of(report);
            ck_assert_uint_eq(count_in(page, "<script"), 1);
            free(page);
            json_decref(report);
        }
        json_decref(valid);
    }
}
END_TEST

/* Cuts every array to at most two elements. */
static void trim(json_t *value)
{
    const char *key;
    json_t *member;
    while (json_array_size(value) > 2)
        json_array_remove(value, json_array_size(value) - 1);
    for (size_t k = 0; k < json_array_size(value); k++)
        trim(json_array_get(value, k));
    json_object_foreach(value, key, member) trim(member);
}

/* Replaces each member of `value` at any depth in turn: a page is made all the same. */
static void spoil(json_t *report, json_t *value, size_t *turn)
{
    static const char *const others[] = {
        "null", "\"<b>\"", "-1", "1e308", "[]", "[[], {}, 3]", "{\"layer\": 9007199254740992}", "true"};
    const char *key;
    json_t *member;
    void *next;
    json_object_foreach_safe(value, next, key, member)
    {
        if (strcmp(key, "schema") == 0)
            continue;
        spoil(report, member, turn);
        json_incref(member);
        json_object_set_new(value, key,
                            json_loads(others[(*turn)++ % (sizeof others / sizeof *others)], JSON_DECODE_ANY, NULL));
        free(html_page_of(report));
        json_object_set_new(value, key, member);
    }
    if (json_array_size(value))
        spoil(report, json_array_get(value, 0), turn);
}

START_TEST(any_member_may_be_anything)
{
    size_t turn = 0;
    for (size_t d = 0; d < DOCUMENTS; d++) {
        json_t *const report = json_deep_copy(documents[d]);
        trim(report);
        spoil(report, report, &turn);
        json_decref(report);
    }
    ck_assert_uint_gt(turn, 500);
}
END_TEST

/* Each of the first allocations fails, and some of the later ones. */
START_TEST(no_memory)
{
    for (size_t d = 0; d < DOCUMENTS; d++) {
        json_t *const report = json_deep_copy(documents[d]);
        trim(report);
        for (long k = 0; !memory_of_page(report, k);)
            k += k < 40 ? 1 : 37;
        json_decref(report);
    }
}
END_TEST

START_TEST(conditions_name_members) { conditions_must_name_members(documents, DOCUMENTS); }
END_TEST

/* The documents are made once, so all tests are in one case. */
int main(void)
{
    static const TTest *const *const tests[] = {&every_tensor_and_module_has_its_row,
                                                &the_numbers_are_there,
                                                &an_autopsy_begins_with_its_findings,
                                                &noise_begins_with_its_verdict,
                                                &perplexity_states_its_experiment,
                                                &a_thousand_tensors_stay_below_a_megabyte,
                                                &names_may_hold_anything,
                                                &any_member_may_be_anything,
                                                &conditions_name_members,
                                                &no_memory};
    Suite *const suite = suite_create("html quality");
    TCase *const one = tcase_create("pages");
    tcase_add_unchecked_fixture(one, make_documents, drop_documents);
    tcase_set_timeout(one, 60);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++)
        tcase_add_test(one, *tests[k]);
    suite_add_tcase(suite, one);
    return run_suites((Suite *const[]){suite, NULL});
}
