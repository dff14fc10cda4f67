/* SPDX-License-Identifier: MIT
 * Tests which matrices get an entry in an importance matrix, for each small model of fixtures/architectures that has a
 * GGUF file: all of that file, but those listed here. */
#include "orchestrator/forward/forward_parts.h"
#include "orchestrator/surgery/scoring/input_sums.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <math.h>
#include <organ/models.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Endings of tensors of layers with two dimensions that multiply no token's inputs: kernels of convolutions, scales of
 * recurrent layers, and norms of single heads or groups. */
static const char *const no_inputs[] = {"ssm_conv1d.weight",   "ssm_conv1d_q.weight",   "ssm_conv1d_k.weight",
                                        "ssm_conv1d_v.weight", "shortconv.conv.weight", "ssm_norm.weight",
                                        "attn_q_norm.weight",  "attn_k_norm.weight"};

typedef struct sums_run {
    run_engine room;
    organ_model *model;
    organ_forward *forward;
    organ_input_sums *sums; /* NULL: llama.cpp does not have the architecture */
    float *hidden;          /* outputs of the last layer, if there are sums */
} sums_run;

static organ_status run_layers(sums_run *r, const organ_windows *windows, float *hidden, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(r->forward);
    organ_layer *layer = NULL;
    const unsigned count = c->layers + organ_forward_drafts(r->forward);
    for (unsigned l = 0; l < count && !error->status; l++) {
        const organ_tap tap = organ_input_sums_tap(r->sums, l);
        if (organ_layer_load_to_run(r->forward, (int32_t)l, &layer, error) != ORGAN_OK)
            break;
        organ_layer_tap_heads(layer, organ_input_sums_heads_tap(r->sums));
        if (l < c->layers)
            organ_layer_run(r->forward, layer, windows, hidden, &tap, error);
        else
            organ_draft_run(r->forward, layer, windows->tokens, windows->begin[1], hidden, &tap, error);
    }
    organ_layer_free(layer);
    return error->status;
}

/* Runs the tokens of the reference through a model. */
static sums_run sums_of(const char *path, const arch_reference *reference)
{
    sums_run r = {0};
    organ_error error = {0};
    json_t *filled = NULL;
    const size_t begin[2] = {0, reference->count};
    const organ_windows windows = {.tokens = reference->tokens, .count = 1, .begin = begin};
    run_engine_open(&r.room, (run_way){0});
    ck_assert_msg(organ_model_open(path, &r.model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_forward_open(r.model, &r.room.engine, &r.forward, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_forward_open_draft(r.forward, &error) == ORGAN_OK, "%s", error.message);
    if (!organ_forward_has_input_names(r.forward))
        return r;
    ck_assert_msg(organ_input_sums_open(r.forward, &r.room.engine, &r.sums, &error) == ORGAN_OK, "%s", error.message);
    r.hidden = malloc(reference->count * organ_forward_describe(r.forward)->state * sizeof *r.hidden);
    ck_assert_ptr_nonnull(r.hidden);
    if (organ_forward_embed(r.forward, &windows, r.hidden, &error) == ORGAN_OK)
        run_layers(&r, &windows, r.hidden, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s: %s", path, error.message);
    ck_assert_int_eq(organ_input_sums_complete(r.sums, &filled, &error), ORGAN_OK);
    json_decref(filled);
    return r;
}

static void close_run(sums_run *r)
{
    organ_input_sums_close(r->sums);
    free(r->hidden);
    organ_forward_close(r->forward);
    organ_model_close(r->model);
    run_engine_close(&r->room);
}

static const organ_input_entry *entry_of(const organ_input_sums *sums, const char *name)
{
    for (size_t k = 0; k < sums->count; k++)
        if (strcmp(sums->entries[k].name, name) == 0)
            return &sums->entries[k];
    return NULL;
}

static bool ends(const char *name, const char *end)
{
    const size_t n = strlen(name), e = strlen(end);
    return n >= e && strcmp(name + n - e, end) == 0;
}

/* A matrix of a layer, as llama-quantize sees it: its name ends with "weight", and it has two dimensions above 1. */
static bool needs_entry(const organ_tensor *t)
{
    unsigned dimensions = 0;
    for (unsigned d = 0; d < t->rank; d++)
        dimensions += t->shape[d] > 1;
    for (size_t k = 0; k < sizeof no_inputs / sizeof *no_inputs; k++)
        if (ends(t->name, no_inputs[k]))
            return false;
    return dimensions > 1 && strncmp(t->name, "blk.", 4) == 0 && ends(t->name, "weight");
}

/* The model in safetensors has the entries of the GGUF file, except the draft's own head of one fixture. */
static void expect_same(const char *type, const organ_input_sums *gguf, const organ_input_sums *hf)
{
    for (size_t k = 0; k < gguf->count; k++) {
        const organ_input_entry *const e = &gguf->entries[k], *const f = entry_of(hf, e->name);
        ck_assert_msg(ends(e->name, "shared_head_head.weight") ||
                          (f && f->features == e->features && f->matrices == e->matrices),
                      "%s: %s", type, e->name);
    }
}

/* Returns whether llama.cpp has the architecture. */
static bool check_type(const char *type)
{
    char path[200], folder[200];
    snprintf(path, sizeof path, "%s", scratch_path("%s.gguf", type));
    snprintf(folder, sizeof folder, "%s", scratch_path("%s", type));
    arch_reference reference = arch_make_gguf(type, path, "");
    sums_run r = sums_of(path, &reference);
    for (size_t t = 0; r.sums && t < r.model->tensor_count; t++)
        if (needs_entry(&r.model->tensors[t]))
            ck_assert_msg(entry_of(r.sums, r.model->tensors[t].name) != NULL, "%s: %s has no entry", type,
                          r.model->tensors[t].name);
    const bool has = r.sums != NULL;
    arch_reference_free(&reference);
    reference = arch_make(type, folder);
    sums_run hf = sums_of(folder, &reference);
    if (has && hf.sums)
        expect_same(type, r.sums, hf.sums);
    close_run(&hf);
    close_run(&r);
    arch_reference_free(&reference);
    remove(path);
    return has;
}

START_TEST(every_matrix_has_an_entry)
{
    struct dirent **entries;
    const int count = scandir("fixtures/architectures", &entries, NULL, alphasort);
    size_t checked = 0;
    for (int k = 0; k < count; k++) {
        char path[400];
        snprintf(path, sizeof path, "fixtures/architectures/%s/gguf.tsv", entries[k]->d_name);
        FILE *const file = fopen(path, "r");
        if (file) {
            fclose(file);
            checked += check_type(entries[k]->d_name);
        }
        free(entries[k]);
    }
    free(entries);
    ck_assert_uint_ge(checked, 80);
}
END_TEST

static double sum_of(const organ_exact_sum *sum)
{
    return ldexp((double)sum->words[2], 16) + ldexp((double)sum->words[1], -48) + ldexp((double)sum->words[0], -112);
}

/* The block for multi-token prediction, whose norms are stored as 1 + x in GGUF; this file has a head of its own. */
START_TEST(drafts_of_both_formats_are_equal)
{
    static const char type[] = "qwen3_5_text-mtp";
    char path[200], folder[200];
    size_t drafts = 0;
    snprintf(path, sizeof path, "%s", scratch_path("draft.gguf"));
    snprintf(folder, sizeof folder, "%s", scratch_path("draft"));
    arch_reference reference = arch_make_gguf(type, path, ""), other = arch_make(type, folder);
    sums_run gguf = sums_of(path, &reference), hf = sums_of(folder, &other);
    for (size_t k = 0; k < gguf.sums->count; k++) {
        const organ_input_entry *const e = &gguf.sums->entries[k], *const f = entry_of(hf.sums, e->name);
        if (strncmp(e->name, "blk.4.", 6) != 0)
            continue;
        drafts++;
        ck_assert_uint_eq(e->counts[0], reference.count - 1);
        if (ends(e->name, "shared_head_head.weight")) {
            ck_assert_ptr_null(f);
            continue;
        }
        ck_assert_ptr_nonnull(f);
        for (size_t x = 0; x < e->features; x++) {
            const double a = sum_of(&e->sums[x]), b = sum_of(&f->sums[x]);
            ck_assert_msg(fabs(a - b) <= 1e-4 * b, "%s: input %zu: %g is not %g", e->name, x, a, b);
        }
    }
    ck_assert_uint_eq(drafts, 9); /* the projection, q, k, v, output, gate, up, down, the head */
    close_run(&gguf);
    close_run(&hf);
    arch_reference_free(&reference);
    arch_reference_free(&other);
}
END_TEST

/* ---- blocks that other models have ---- */

/* Tensors whose names begin with `from` are copied to names that begin with that of the block and `to`. */
typedef struct copied {
    const char *from, *to;
} copied;

/* How a block reads states. */
enum { HIDDEN_FIRST = 1, RAW_STATE = 2, RAW_AGAIN = 4 };

/* A fixture, and the blocks that a test adds: '#' stands for first, first + 1 ... */
static const struct draft_row {
    const char *type, *model_type; /* model_type NULL: that of the fixture */
    const char *ladder;
    copied parts[5];
    const char *more[8]; /* further tensors, then NULL */
    unsigned layers, first, blocks, entries;
    const char *embedding_norm, *hidden_norm;
    const char *head_norm; /* with which a later block's states were normed */
    unsigned flags;
    size_t unrun;
} draft_rows[] = {
    {"ernie4_5_moe",
     NULL,
     "model.mtp_block.#.",
     {{"model.layers.0.", ""}},
     {"model.mtp_linear_proj.#.weight\t64x128", "model.mtp_emb_norm.#.weight\t64",
      "model.mtp_hidden_norm.#.weight\t64"},
     4,
     0,
     2,
     8,
     "model.mtp_emb_norm.#.weight",
     "model.mtp_hidden_norm.#.weight",
     "model.norm.weight",
     RAW_AGAIN,
     0},
    {"mimo_v2_flash",
     NULL,
     "model.mtp.layers.#.",
     {{"model.layers.1.self_attn.", "self_attn."},
      {"model.layers.1.input_layernorm.", "input_layernorm."},
      {"model.layers.0.mlp.", "mlp."},
      {"model.layers.0.post_attention_layernorm.", "pre_mlp_layernorm."}},
     {"model.mtp.layers.#.eh_proj.weight\t64x128", "model.mtp.layers.#.enorm.weight\t64",
      "model.mtp.layers.#.hnorm.weight\t64", "model.mtp.layers.#.final_layernorm.weight\t64"},
     4,
     0,
     3,
     6,
     "model.mtp.layers.#.enorm.weight",
     "model.mtp.layers.#.hnorm.weight",
     "model.mtp.layers.#.final_layernorm.weight",
     RAW_STATE | RAW_AGAIN,
     0},
    {"qwen2",
     "mimo",
     "model.mtp_layers.#.",
     {{"model.layers.0.", ""}},
     {"model.mtp_layers.#.input_proj.weight\t64x128", "model.mtp_layers.#.token_layernorm.weight\t64",
      "model.mtp_layers.#.hidden_layernorm.weight\t64", "model.mtp_layers.#.final_layernorm.weight\t64"},
     4,
     0,
     2,
     8,
     "model.mtp_layers.#.token_layernorm.weight",
     "model.mtp_layers.#.hidden_layernorm.weight",
     "model.mtp_layers.#.final_layernorm.weight",
     HIDDEN_FIRST | RAW_STATE,
     0},
    {"hy_v3",
     NULL,
     "model.layers.#.",
     {{"model.layers.0.", ""}},
     {"model.layers.#.eh_proj.weight\t64x128", "model.layers.#.enorm.weight\t64", "model.layers.#.hnorm.weight\t64",
      "model.layers.#.final_layernorm.weight\t64"},
     4,
     4,
     2,
     8,
     "model.layers.#.enorm.weight",
     "model.layers.#.hnorm.weight",
     "model.layers.#.final_layernorm.weight",
     0,
     0},
    {"exaone_moe",
     NULL,
     "mtp.layers.#.",
     {{"model.layers.0.", ""}},
     {"mtp.fc.weight\t64x128", "mtp.pre_fc_norm_embedding.weight\t64", "mtp.pre_fc_norm_hidden.weight\t64",
      "mtp.norm.weight\t64"},
     4,
     0,
     1,
     8,
     "mtp.pre_fc_norm_embedding.weight",
     "mtp.pre_fc_norm_hidden.weight",
     "mtp.norm.weight",
     0,
     0},
    {"deepseek_v3",
     NULL,
     "model.layers.#.",
     {{"model.layers.0.", ""}},
     {"model.layers.#.eh_proj.weight\t64x128", "model.layers.#.enorm.weight\t64", "model.layers.#.hnorm.weight\t64",
      "model.layers.#.shared_head.norm.weight\t64"},
     4,
     4,
     2,
     11, /* as ERNIE, with q_a, kv_a, kv_b, k_b and v_b in place of k and v */
     "model.layers.#.enorm.weight",
     "model.layers.#.hnorm.weight",
     "model.layers.#.shared_head.norm.weight",
     0,
     0},
    {"nemotron_h-moe", /* a block of two layers, which organ does not run */
     NULL,
     "mtp.layers.#.",
     {{NULL, NULL}},
     {"mtp.layers.#.eh_proj.weight\t64x128", "mtp.layers.#.enorm.weight\t64", "mtp.layers.#.hnorm.weight\t64",
      "mtp.layers.#.final_layernorm.weight\t64", "mtp.layers.#.mixer.q_proj.weight\t64x64",
      "mtp.layers.#.mixer.experts.0.up_proj.weight\t32x64", "mtp.layers.#.mixer.experts.1.up_proj.weight\t32x64"},
     4,
     0,
     1,
     0,
     NULL,
     NULL,
     NULL,
     0,
     4}};

static void number_words(const char *pattern, unsigned number, char *out, size_t size)
{
    const char *const at = strchr(pattern, '#');
    if (at)
        snprintf(out, size, "%.*s%u%s", (int)(at - pattern), pattern, number, at + 1);
    else
        snprintf(out, size, "%s", pattern);
}

static void write_block(FILE *file, const struct draft_row *row, const arch_model *model, unsigned number)
{
    char words[300];
    for (const copied *part = row->parts; part->from; part++)
        for (size_t k = 0; k < model->count; k++) {
            const arch_tensor *const t = &model->tensors[k];
            if (strncmp(t->name, part->from, strlen(part->from)) != 0)
                continue;
            number_words(row->ladder, number, words, sizeof words);
            fprintf(file, "tensor\t%s%s%s\t", words, part->to, t->name + strlen(part->from));
            for (unsigned d = 0; d < t->rank; d++)
                fprintf(file, d ? "x%llu" : "%llu", (unsigned long long)t->shape[d]);
            fputc('\n', file);
        }
    for (const char *const *more = row->more; *more; more++) {
        number_words(*more, number, words, sizeof words);
        fprintf(file, "tensor\t%s\n", words);
    }
}

/* Copies a fixture with its blocks into the scratch directory, and returns its path from fixtures/architectures. */
static const char *extend_fixture(const struct draft_row *row, char fixture[400])
{
    char path[300], line[512];
    arch_reference reference;
    const arch_model model = arch_model_read(row->type, &reference);
    static const char *const names[] = {"config.json", "model.tsv"};
    ck_assert_int_eq(mkdir(scratch_path("extended"), 0700), 0);
    for (size_t k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "fixtures/architectures/%s/%s", row->type, names[k]);
        FILE *const from = fopen(path, "r"), *const to = fopen(scratch_path("extended/%s", names[k]), "w");
        ck_assert(from && to);
        while (fgets(line, sizeof line, from))
            if (row->model_type && strstr(line, "\"model_type\""))
                fprintf(to, " \"model_type\": \"%s\",\n", row->model_type);
            else
                fputs(line, to);
        for (unsigned b = 0; k == 1 && b < row->blocks; b++)
            write_block(to, row, &model, row->first + b);
        fclose(from);
        ck_assert_int_eq(fclose(to), 0);
    }
    free(model.tensors);
    arch_reference_free(&reference);
    snprintf(fixture, 400, "../../../../../../../../../../../..%s", scratch_path("extended"));
    return fixture;
}

static float *vector_of(const char *pattern, unsigned number)
{
    arch_tensor norm = {0};
    number_words(pattern, number, norm.name, sizeof norm.name);
    arch_shape_read(&norm, "64");
    return arch_values(&norm);
}

static double mean_square(const double *x)
{
    double squares = 0;
    for (size_t k = 0; k < 64; k++)
        squares += x[k] * x[k];
    return squares / 64;
}

static void norm_row(double *x, const float *weights, double eps)
{
    const double factor = 1 / sqrt(mean_square(x) + eps);
    for (size_t k = 0; k < 64; k++)
        x[k] *= factor * (double)weights[k];
}

typedef struct expected_inputs {
    double sums[64];
    size_t tokens;
} expected_inputs;

/* Adds the squares of a row of 64 numbers, normed by `weights`, and by `before` first if that is not NULL. */
static void add_row(expected_inputs *e, const float *row, const float *before, const float *weights, double eps)
{
    double x[64];
    for (size_t k = 0; k < 64; k++)
        x[k] = (double)row[k];
    if (before)
        norm_row(x, before, eps);
    norm_row(x, weights, eps);
    for (size_t k = 0; k < 64; k++)
        e->sums[k] += x[k] * x[k];
    e->tokens++;
}

static void expect_sums(const struct draft_row *row, unsigned block, const char *of, const organ_exact_sum *sums,
                        const expected_inputs *e)
{
    for (size_t k = 0; k < 64; k++)
        ck_assert_msg(fabs(sum_of(&sums[k]) - e->sums[k]) <= 1e-3 * e->sums[k], "%s block %u, %s %zu: %g is not %g",
                      row->type, block, of, k, sum_of(&sums[k]), e->sums[k]);
}

/* One half of the inputs of M are normed embeddings of the tokens 1 + block, 2 + block ... */
static void expect_embeddings(const struct draft_row *row, unsigned block, const arch_reference *reference, double eps,
                              const organ_input_entry *entry)
{
    arch_tensor table = {.name = "model.embed_tokens.weight"};
    expected_inputs e = {0};
    arch_shape_read(&table, "256x64");
    float *const rows = arch_values(&table), *const weights = vector_of(row->embedding_norm, row->first + block);
    for (size_t t = 1 + block; t < reference->count; t++)
        add_row(&e, rows + 64 * reference->tokens[t], NULL, weights, eps);
    expect_sums(row, block, "embedding", entry->sums + (row->flags & HIDDEN_FIRST ? 64 : 0), &e);
    free(rows);
    free(weights);
}

/* The other half are normed states: of the model's last layer, with the final norm or without, or of the block before.
 * The latter have the mean square 1 if they are divided by the weights of the norm that they had. */
static void expect_states(const struct draft_row *row, unsigned block, const sums_run *r, size_t tokens, double eps,
                          const organ_input_entry *entry)
{
    expected_inputs e = {0};
    const float *const states = block ? r->forward->drafts[block - 1].outputs : r->hidden;
    float *const weights = vector_of(row->hidden_norm, row->first + block), *const final =
                                                                                vector_of("model.norm.weight", 0);
    float *const before = block ? vector_of(row->head_norm, row->first + block - 1) : NULL;
    for (size_t t = 0; t + 1 + block < tokens; t++)
        add_row(&e, states + 64 * t, block || row->flags & RAW_STATE ? NULL : final, weights, eps);
    expect_sums(row, block, "state", entry->sums + (row->flags & HIDDEN_FIRST ? 0 : 64), &e);
    size_t normed = 0;
    for (size_t t = 0; block && t + 1 + block < tokens; t++) {
        double x[64];
        for (size_t k = 0; k < 64; k++)
            x[k] = (double)states[64 * t + k] / (double)before[k];
        normed += fabs(mean_square(x) - 1) < 0.05;
    }
    ck_assert_msg(!block || (normed == e.tokens) == !(row->flags & RAW_AGAIN), "%s: %zu of %zu states are normed",
                  row->type, normed, e.tokens);
    free(weights);
    free(final);
    free(before);
}

static void count_name(void *context, const char *tensor)
{
    ck_assert_msg(strncmp(tensor, "mtp.", 4) == 0, "%s", tensor);
    ++*(size_t *)context;
}

START_TEST(blocks_of_other_names_have_entries)
{
    const struct draft_row *const row = &draft_rows[_i];
    char fixture[400], folder[200], name[64];
    size_t unrun = 0;
    snprintf(folder, sizeof folder, "%s", scratch_path("model"));
    arch_reference reference = arch_make(extend_fixture(row, fixture), folder);
    sums_run r = sums_of(folder, &reference);
    ck_assert_uint_eq(organ_forward_drafts(r.forward), row->entries ? row->blocks : 0);
    for (unsigned b = 0; b < organ_forward_drafts(r.forward); b++) {
        size_t entries = 0;
        snprintf(name, sizeof name, "blk.%u.", row->layers + b);
        for (size_t k = 0; k < r.sums->count; k++)
            if (strncmp(r.sums->entries[k].name, name, strlen(name)) == 0) {
                entries++;
                ck_assert_msg(r.sums->entries[k].counts[0] == reference.count - 1 - b, "%s", r.sums->entries[k].name);
            }
        ck_assert_msg(entries == row->entries, "%s: %zu entries of block %u", row->type, entries, b);
        snprintf(name, sizeof name, "blk.%u.nextn.eh_proj.weight", row->layers + b);
        ck_assert_ptr_nonnull(entry_of(r.sums, name));
        expect_embeddings(row, b, &reference, organ_forward_describe(r.forward)->rms_eps, entry_of(r.sums, name));
        expect_states(row, b, &r, reference.count, organ_forward_describe(r.forward)->rms_eps, entry_of(r.sums, name));
    }
    organ_forward_visit_unrun_drafts(r.forward, &unrun, count_name);
    ck_assert_uint_eq(unrun, row->unrun);
    close_run(&r);
    arch_reference_free(&reference);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"entries", {every_matrix_has_an_entry, drafts_of_both_formats_are_equal}}};
    Suite *const suite =
        suite_of("importance_entries", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
    TCase *const blocks = tcase_create("blocks");
    tcase_add_checked_fixture(blocks, scratch_make, scratch_remove);
    tcase_add_loop_test(blocks, blocks_of_other_names_have_entries, 0, sizeof draft_rows / sizeof *draft_rows);
    suite_add_tcase(suite, blocks);
    return run_suites((Suite *const[]){suite, NULL});
}
