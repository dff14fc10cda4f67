/* SPDX-License-Identifier: MIT */
#include "tests/kit/condition_rig.h"

#include <organ/report.h>
#include "orchestrator/report/view/views.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pass over a view; without a document the scope is empty. */
typedef struct walk {
    json_t *paths;
    organ_scope scope;
} walk;

/* ---- paths ---- */

/* Returns true if the member exists, also with null; "*" means in any of the elements. */
static bool is_there(const json_t *at, const char *path)
{
    while (at && *path) {
        char key[128];
        const size_t length = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        path += length + (path[length] == '.');
        if (json_is_array(at) && strcmp(key, "*") == 0) {
            for (size_t k = 0; k < json_array_size(at); k++)
                if (is_there(json_array_get(at, k), path))
                    return true;
            return false;
        }
        at = organ_json_at(at, key);
    }
    return at;
}

static void note_path(const walk *w, const char *path, size_t length)
{
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)length, path);
    const bool whole = *name == '/';
    if (!json_object_get(w->paths, name))
        json_object_set_new(w->paths, name, json_false());
    if (is_there(whole ? w->scope.report : w->scope.row, name + (whole || strcmp(name, ".") == 0)))
        json_object_set_new(w->paths, name, json_true());
}

static void note_condition(const walk *w, const char *condition, size_t length)
{
    for (size_t at = 0; at < length; at++) {
        at += condition[at] == '!';
        const char *const term = condition + at;
        const size_t end = strcspn(term, "&|"), left = length - at, whole = end < left ? end : left,
                     path = strcspn(term, "=>");
        note_path(w, term, path < whole ? path : whole);
        at += whole;
    }
}

static void note_when(const walk *w, const char *condition)
{
    if (condition)
        note_condition(w, condition, strlen(condition));
}

/* Returns the end of the place that begins here: its "?", or its closing brace. */
static size_t place_end(const char *words, char stop)
{
    size_t depth = 0, k = 0;
    for (; words[k] && (depth > 0 || (words[k] != stop && words[k] != '}')); k++) {
        depth += words[k] == '{';
        depth -= words[k] == '}';
    }
    return k;
}

static void note_words(const walk *w, const char *words)
{
    for (const char *at = words ? strchr(words, '{') : NULL; at; at = strchr(at + 1, '{')) {
        const size_t end = place_end(at + 1, '?');
        if (at[1 + end] == '?')
            note_condition(w, at + 1, end);
    }
}

/* ---- blocks ---- */

static walk about(const walk *w, const json_t *row) { return (walk){w->paths, {w->scope.report, row}}; }

static const json_t *rows_of(const walk *w, const organ_block *block)
{
    return block->rows && w->scope.row ? organ_scope_at(&w->scope, block->rows) : w->scope.row;
}

/* Returns the rows of a table: those of a path, or the objects at several paths. The caller releases them. */
static json_t *table_rows(const walk *w, const organ_block *block)
{
    if (!block->rows || !strchr(block->rows, ' '))
        return json_incref((json_t *)(uintptr_t)rows_of(w, block));
    json_t *const rows = json_array();
    char *const paths = strdup(block->rows), *rest;
    for (const char *path = strtok_r(paths, " ", &rest); path && w->scope.row; path = strtok_r(NULL, " ", &rest))
        json_array_append(rows, (json_t *)(uintptr_t)organ_scope_at(&w->scope, path));
    free(paths);
    return rows;
}

/* Records the words and conditions of each row, and once without rows, so that the members that they name are known. */
static void note_rows(const walk *w, const json_t *rows, const char *where, const char *words)
{
    const walk none = about(w, NULL);
    note_when(&none, where);
    note_words(&none, words);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const walk one = about(w, json_array_get(rows, k));
        note_when(&one, where);
        note_words(&one, words);
    }
}

static void note_table(const walk *w, const organ_table_of *table, const json_t *rows)
{
    const walk whole = about(w, w->scope.report);
    note_words(w, table->total);
    note_words(w, table->caption);
    for (size_t k = 0; k < table->count; k++) {
        note_when(&whole, table->fields[k].when);
        note_rows(w, rows, NULL, table->fields[k].words);
        if (table->total_row && w->scope.row) {
            const walk total = about(w, organ_scope_at(&w->scope, table->total_row));
            note_words(&total, table->fields[k].words);
        }
    }
}

static void note_items(const walk *w, const organ_items_of *items)
{
    const json_t *const of = items->of && w->scope.row ? organ_scope_at(&w->scope, items->of) : NULL;
    note_words(w, items->caption);
    for (size_t k = 0; k < items->count; k++) {
        note_when(w, items->items[k].when);
        note_words(w, items->items[k].name);
        if (items->of)
            note_rows(w, of, NULL, items->items[k].value);
        else
            note_words(w, items->items[k].value);
    }
}

static void note_chart(const walk *w, const organ_block *block, const json_t *rows)
{
    if (block->bars) {
        note_words(w, block->bars->style.subtitle);
        note_words(w, block->bars->style.series[1]);
        note_words(w, block->bars->caption);
        note_rows(w, rows, NULL, block->bars->remark);
    }
    if (block->map) {
        note_words(w, block->map->style.title);
        note_words(w, block->map->caption);
    }
    if (block->curves)
        note_rows(w, rows, block->curves->only, NULL);
    if (block->points) {
        note_words(w, block->points->style.subtitle);
        note_words(w, block->points->caption);
    }
}

static void visit(const walk *w, const organ_block *blocks, size_t count);

static void visit_inside(const walk *w, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_EACH) {
        for (size_t k = 0; k < json_array_size(rows); k++) {
            const walk one = about(w, json_array_get(rows, k));
            visit(&one, block->blocks, block->count);
        }
        return;
    }
    json_t *made;
    if (block->kind == ORGAN_BLOCK_MADE && w->scope.row)
        made = block->make(w->scope.row);
    else if (block->kind == ORGAN_BLOCK_TOGETHER && rows)
        made = json_pack("{s:O}", "rows", rows);
    else
        made = json_incref((json_t *)(uintptr_t)rows);
    if (json_is_object(made)) {
        const walk one = about(w, made);
        visit(&one, block->blocks, block->count);
    }
    json_decref(made);
}

static void visit(const walk *w, const organ_block *blocks, size_t count)
{
    const walk none = about(w, NULL);
    for (const organ_block *block = blocks; block < blocks + count; block++) {
        const json_t *const rows = rows_of(w, block);
        note_when(w, block->when);
        note_words(w, block->words);
        note_rows(w, rows, block->where, block->same);
        note_chart(w, block, rows);
        if (block->table) {
            json_t *const of_table = table_rows(w, block);
            note_table(w, block->table, of_table);
            json_decref(of_table);
        }
        if (block->items)
            note_items(w, block->items);
        if (block->blocks && !w->scope.row)
            visit(&none, block->blocks, block->count);
        else if (block->blocks)
            visit_inside(w, block, rows);
    }
}

static void visit_view(json_t *paths, const organ_view *view, const json_t *report)
{
    const walk whole = {paths, {report, report}};
    json_t *const made = report && view->make ? view->make(report) : json_incref((json_t *)(uintptr_t)report);
    const walk w = {paths, {report, made}};
    note_words(&whole, view->kind);
    note_words(&whole, view->title);
    note_words(&whole, view->lead);
    visit(&w, view->blocks, view->count);
    json_decref(made);
}

json_t *condition_paths(const organ_view *view)
{
    json_t *const paths = json_object();
    ck_assert_ptr_nonnull(paths);
    visit_view(paths, view, NULL);
    return paths;
}

void condition_paths_meet(json_t *paths, const organ_view *view, const json_t *report)
{
    visit_view(paths, view, report);
}

/* ---- all views ---- */

/* Members of events that the documents of these tests do not contain: "schema path". */
static const char *const rare[] = {"organ.autopsy/1 dry_run", /* in words that several views share */
                                   "organ.autopsy/1 known",
                                   "organ.autopsy/1 scale_test",
                                   "organ.audit/1 smoothed", /* suite cli_smooth */
                                   "organ.dequantize/1 dropped",
                                   "organ.quantize/1 choice.unquantised", /* of outputs by size */
                                   "organ.quantize/1 unfit",
                                   "organ.quantize/1 kv_cache",
                                   "organ.quantize/1 kv_cache.zero",
                                   "organ.quantize/1 smoothed",
                                   "organ.perplexity/1 /models.*.weights_alone",
                                   "organ.perplexity/1 /models.*.weights_alone.comparison",
                                   "organ.evaluate/1 experiment.name",
                                   "organ.evaluate/1 models.*.experiment.name",
                                   "organ.evaluate/1 models.3.comparison",
                                   "organ.evaluate/1 models.*.mtp", /* suite scoring */
                                   "organ.evaluate/1 models.0.mtp.dispute",
                                   "organ.evaluate/1 mtp.dispute",
                                   "organ.evaluate/1 mtp.proposes",
                                   "organ.evaluate/1 mtp",
                                   "organ.evaluate/1 mtp.continuations",
                                   "organ.evaluate/1 mtp.continuations.count",
                                   "organ.evaluate/1 overlap",
                                   "organ.perplexity/1 models.*.mtp",
                                   "organ.perplexity/1 models.0.mtp.dispute",
                                   "organ.perplexity/1 mtp.dispute",
                                   "organ.perplexity/1 mtp.proposes",
                                   "organ.perplexity/1 mtp",
                                   "organ.perplexity/1 mtp.continuations",
                                   "organ.perplexity/1 mtp.continuations.count",
                                   "organ.perplexity/1 overlap",
                                   "organ.quantize/1 imatrix.fallback", /* suite cli_unreached */
                                   "organ.quantize/1 imatrix.fallback.names",
                                   "organ.inspect/1 dropped",
                                   "organ.inspect/1 mtp", /* check_convert_mtp.sh */
                                   "organ.inspect/1 mtp.dispute",
                                   "organ.lora_extract/1 calibration",
                                   "organ.lora_sanitize/1 modules.*.sigma.1",
                                   "organ.measure/1 models.0.seed",
                                   "organ.measure/1 others",
                                   "organ.measure/1 seed",
                                   "organ.noise_pairs/1 change.adapter",
                                   "organ.noise_pairs/1 change.tuned",
                                   "organ.quantize/1 calibration.all_experts",
                                   "organ.quantize/1 calibration.fallback",
                                   "organ.quantize/1 calibration.fallback.names",
                                   "organ.quantize/1 converted",
                                   "organ.quantize/1 cost",
                                   "organ.quantize/1 dropped",
                                   "organ.quantize/1 exact",
                                   "organ.quantize/1 activations",
                                   "organ.quantize/1 inputs",
                                   "organ.quantize/1 inputs.fallback",
                                   "organ.quantize/1 inputs.fallback.names",
                                   "organ.quantize/1 known",
                                   "organ.quantize/1 mlx.changed",
                                   "organ.quantize/1 mlx.left_out",
                                   "organ.quantize/1 of_file",
                                   "organ.quantize/1 parameters.pruning",
                                   "organ.quantize/1 provisional", /* of dry runs */
                                   "organ.quantize/1 repair",
                                   "organ.quantize/1 repair.forward_first",
                                   "organ.quantize/1 repair.outputs_after",
                                   "organ.evaluate/1 dry_run",
                                   "organ.evaluate/1 /dry_run",
                                   "organ.lora_sanitize/1 output.to", /* adapter_formats makes these three */
                                   "organ.lora_sanitize/1 output.scale",
                                   "organ.lora_sanitize/1 output.mlx",
                                   "organ.perplexity/1 dry_run",
                                   "organ.quantize/1 sparsity_allocation",
                                   "organ.quantize/1 sparsity_allocation.asked",
                                   "organ.quantize/1 tokens",
                                   "organ.quantize/1 totals.regrouped",
                                   "organ.quantize/1 totals.sparsity",
                                   "organ.tokenize/1 ids"};
/* Members of "evaluation", which documents of operations have only with --evaluate, and of the plan of a dry run
 * (tests/cli/check_cli_plan.sh). */
static const char *const optional[] = {
    "after.rounded_activations", "comparison", "compute", "compute_isa", "evaluation.comparison",
    "evaluation.experiment.style", "experiment.compute", "experiment.compute_isa", "experiment.text.tokens",
    "experiment.text.utf8", "figures.bits_per_byte", "figures.byte_perplexity", "figures.word_perplexity",
    "kv_cache.layers_without_scales", "kv_cache.rounded", "kv_cache.scales", "model", "not_evaluated", "plan",
    "plan.memory_auto", "plan.memory_auto.ranks", "plan.memory_given", "plan.memory_good", "plan.memory_short",
    "activations.rounded", "activations.servers", "after.activations.rounded", "after.activations.servers",
    "experiment.text_windows", "text_windows", "kept_sets", "kept_tied", "after.weights_alone",
    "models.*.weights_alone", "models.*.weights_alone.comparison", "weights_alone", "weights_alone.comparison",
    "rounded_activations", "run.plan", "run.plan.cpu",
    /* a plan short of memory; an end by --max-error */
    "plan.memory_with_blocks", "plan.memory_with_scratch", "run.plan.most_seconds"};

static bool is_rare(const char *schema, const char *path)
{
    char name[160];
    snprintf(name, sizeof name, "%s %s", schema, path);
    for (size_t k = 0; k < sizeof rare / sizeof *rare; k++)
        if (strcmp(rare[k], name) == 0)
            return true;
    return false;
}

static bool is_optional(const char *path)
{
    for (size_t k = 0; k < sizeof optional / sizeof *optional; k++)
        if (strcmp(optional[k], path) == 0)
            return true;
    return false;
}

/* Adds a line for each rare path that occurs, and for each path that is not rare and occurs in no document. */
static void put_wrong(FILE *out, const char *schema, json_t *paths)
{
    const char *path;
    json_t *met;
    json_object_foreach(paths, path, met)
    {
        if (json_is_true(met) == is_rare(schema, path) && (json_is_true(met) || !is_optional(path)))
            fprintf(out, "\n%s %s%s", schema, path, json_is_true(met) ? ", which is not rare" : "");
    }
}

void conditions_must_name_members(json_t *const *documents, size_t count)
{
    char *wrong = NULL;
    size_t size;
    FILE *const out = open_memstream(&wrong, &size);
    ck_assert_ptr_nonnull(out);
    for (size_t v = 0; v < ORGAN_VIEWS; v++) {
        json_t *const paths = condition_paths(organ_views[v]);
        size_t own = 0;
        for (size_t k = 0; k < count; k++)
            if (organ_view_of(documents[k]) == organ_views[v]) {
                condition_paths_meet(paths, organ_views[v], documents[k]);
                own++;
            }
        if (own > 0)
            put_wrong(out, organ_views[v]->schema, paths);
        json_decref(paths);
    }
    fclose(out);
    ck_assert_msg(*wrong == '\0', "conditions name what no document has:%s", wrong);
    free(wrong);
}
