/* SPDX-License-Identifier: MIT
 * Makes a smaller model: plans it, writes it, and describes the cut for the report. */
#include "orchestrator/verbs/shrink/cut_parts.h"
#include "formats/model/recognise.h"

#include "formats/config/model_config.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/output/head.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/readers/readers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* run->weight_of[t] is SIZE_MAX if tensor t belongs to no weight. */
static organ_status find_weights(organ_cut_run *run, organ_error *error)
{
    const organ_model *const model = run->model;
    if (organ_weights_find(model, &run->weights, error) || organ_refuse_rotated(model, run->weights, error))
        return error->status;
    run->weight_of = calloc(model->tensor_count + 1, sizeof *run->weight_of);
    if (!run->weight_of)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        run->weight_of[t] = SIZE_MAX;
    for (size_t k = 0; k < run->weights->count; k++)
        for (size_t part = 0; part < ORGAN_WEIGHT_TENSORS; part++) {
            const organ_tensor *const t = organ_weight_tensor(&run->weights->weights[k], part);
            if (t)
                run->weight_of[t - model->tensors] = k;
        }
    return ORGAN_OK;
}

/* The driver edits config.json by organ_cut_edit_config; here only the quantisation files next to it are checked. */
static organ_status cut_make_header(organ_cut_run *run, organ_error *error)
{
    if (!run->model->gguf)
        return organ_cut_check_quant_files(run, error);
    return organ_layout_metadata(run->model->gguf, &run->gguf, error) ? error->status : organ_cut_edit_keys(run, error);
}

/* ---- callbacks of the writer ---- */

static organ_status cut_fill(void *inner, organ_writing *writing, organ_error *error)
{
    organ_cut_run *const run = inner;
    run->writing = writing;
    return run->cut->refit && run->cut->refit(run->cut->refit_context, run, error) ? error->status
                                                                                   : organ_cut_copy(run, error);
}

/* Implements organ_write.recall: run->cut->recall, if it is set, decides about a refitted tensor. All other pieces
 * can be reused if `results` is not NULL. */
static bool cut_recall(void *context, size_t item, const json_t *results)
{
    const organ_cut_run *const run = context;
    for (size_t k = 0; k < run->part_count && run->cut->recall; k++)
        if (run->parts[k].piece == item && run->parts[k].matrices > 0)
            return run->cut->recall(run->cut->refit_context, run->parts[k].tensor, results);
    return results != NULL;
}

static json_t *keep_json(const organ_cut_keep *keep)
{
    return keep->numbers ? organ_ids_json(keep->numbers, keep->count) : json_null();
}

/* A list of the indices of all kept channels would be too long for the journal. */
static json_t *experts_digest(const organ_cut_run *run, size_t l)
{
    const organ_cut_keep *const each = run->cut->layers[l].expert_channels;
    char digits[17];
    uint64_t digest = 0;
    for (uint32_t e = 0; e < run->facts[l].experts; e++)
        if (each[e].numbers && (!run->facts[l].expert_of || run->facts[l].expert_of[e] >= 0))
            digest = XXH3_64bits_withSeed(each[e].numbers, each[e].count * sizeof *each[e].numbers, digest);
    snprintf(digits, sizeof digits, "%016" PRIx64, digest);
    return json_string(digits);
}

static json_t *requested_json(const void *context, size_t l)
{
    const organ_cut_run *const run = context;
    const organ_cut_layer *const layer = &run->cut->layers[l];
    return layer->dropped
               ? json_null()
               : ORGAN_OBJECT(
                     SET("experts", keep_json(&layer->experts)), SET("channels", keep_json(&layer->channels)),
                     SET("kv_heads", keep_json(&layer->kv_heads)),
                     SET_IF(layer->expert_channels, "expert_channels", experts_digest(run, l)),
                     SET_IF(layer->shared_channels.numbers, "shared_channels", keep_json(&layer->shared_channels)));
}

/* Implements organ_write_make.depends: the kept parts of all layers determine the output. */
static json_t *cut_kept_json(void *context)
{
    const organ_cut_run *const run = context;
    return ORGAN_OBJECT(SET("layers", organ_json_rows(run->cut->layer_count, requested_json, run)));
}

/* ---- documents ---- */

static json_t *cut_layer_json(const void *context, size_t l)
{
    const organ_cut_run *const run = context;
    const organ_cut_facts *const f = &run->facts[l];
    const organ_cut_layer *const cut = &run->cut->layers[l];
    const bool stays = f->becomes >= 0, shared = stays && cut->shared_channels.numbers;
    return ORGAN_OBJECT(
        SET_COUNT("layer", l), SET_INDEX("becomes", f->becomes), SET_COUNT_OF("experts", f->experts, f->experts),
        SET("kept_experts", stays ? keep_json(&cut->experts) : json_null()),
        SET_COUNT_OF("channels", stays && cut->channels.numbers, run->channels_before),
        SET("kept_channels", stays ? keep_json(&cut->channels) : json_null()),
        SET_COUNT_OF("kv_heads", stays && cut->kv_heads.numbers, run->kv_heads_before),
        SET("kept_kv_heads", stays ? keep_json(&cut->kv_heads) : json_null()),
        SET_IF(stays && cut->expert_channels, "expert_channels", json_integer((json_int_t)run->expert_channels_before)),
        SET_IF(stays && cut->expert_channels, "expert_channels_after",
               json_integer((json_int_t)run->expert_channels_after)),
        SET_IF(shared, "shared_channels", json_integer((json_int_t)run->shared_channels_before)),
        SET_IF(shared, "kept_shared_channels", keep_json(&cut->shared_channels)));
}

json_t *organ_cut_document(const organ_cut_run *run, uint64_t bytes_after)
{
    uint64_t before = 0, after = 0;
    for (size_t k = 0; k < run->weights->count; k++)
        before += run->weights->weights[k].elements;
    for (size_t k = 0; k < run->piece_count; k++) {
        uint64_t elements = 1;
        for (unsigned axis = 0; axis < run->pieces[k].rank; axis++)
            elements *= run->pieces[k].shape[axis];
        after += elements;
    }
    return ORGAN_OBJECT(
        SET_COUNT("bytes_before", organ_model_tensor_bytes(run->model)), SET_COUNT("bytes_after", bytes_after),
        SET_COUNT("elements_before", before), SET_COUNT("elements_after", after),
        SET_COUNT("layers_after", run->layers_after), SET_COUNT("experts_before", run->experts_before),
        SET_COUNT("experts_after", run->experts_after),
        SET("layers", organ_json_rows(run->layer_count, cut_layer_json, run)), SET_HELD("settings", run->settings));
}

/* The new files, from which the digests of the refitted tensors are computed. */
typedef struct cut_made {
    organ_cut_run *run;
    organ_model *model;
    const organ_tensor *tensor; /* the tensor of `model` that read_made reads */
} cut_made;

static organ_status read_made(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const cut_made *const made = context;
    return organ_model_read(made->model, made->tensor->file, data, bytes, made->tensor->offset + offset, error);
}

static organ_status digest_part(void *context, size_t k, size_t worker, organ_error *error)
{
    cut_made made = *(const cut_made *)context;
    organ_cut_part *const part = &made.run->parts[k];
    const char *const name = made.run->pieces[part->piece].name;
    (void)worker;
    if (!part->matrices)
        return ORGAN_OK;
    if (!(made.tensor = organ_model_find(made.model, name)))
        return organ_fail(error, ORGAN_IO, "tensor '%s': is missing in the new files", name);
    return organ_run_digest(read_made, &made, /*offset=*/0, made.tensor->bytes, NULL, part->xxh3, error);
}

/* Implements organ_write_make.written: the report of rank 0 states the digests of the bytes in the output. */
static organ_status cut_digest(void *context, const char *path, organ_error *error)
{
    organ_cut_run *const run = context;
    cut_made made = {.run = run};
    if (!run->cut->refitted || !organ_ranks_first(run->cut->write.engine->ranks))
        return ORGAN_OK;
    if (organ_model_open_codes(path, NULL, &made.model, error) == ORGAN_OK)
        organ_share_try(run->cut->write.engine, run->part_count, digest_part, &made, error);
    organ_model_close(made.model);
    run->digested = !error->status;
    return error->status;
}

static json_t *refitted_json(const organ_cut_run *run)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < run->part_count && run->digested; k++)
        if (run->parts[k].matrices)
            json_array_append_new(list, ORGAN_OBJECT(SET_TEXT("tensor", run->pieces[run->parts[k].piece].name),
                                                     SET_TEXT("xxh3", run->parts[k].xxh3)));
    if (json_array_size(list))
        return list;
    json_decref(list);
    return json_null();
}

json_t *organ_cut_json(const organ_writing *made)
{
    const organ_cut_run *const run = organ_write_inner(made);
    return organ_json_joined(organ_cut_document(run, organ_layout_total(organ_write_files(made))),
                             ORGAN_OBJECT(SET("refitted", refitted_json(run))));
}

/* ---- the run ---- */

organ_status organ_cut_prepare(organ_cut_run *run, organ_error *error)
{
    if (!run->settings)
        return organ_fail_memory(error, run->model->path);
    if (find_weights(run, error) || organ_cut_resolve(run, error) || organ_cut_plan(run, error))
        return error->status;
    return cut_make_header(run, error);
}

void organ_cut_release(organ_cut_run *run)
{
    organ_gguf_writer_destroy(run->gguf);
    organ_weights_free(run->weights);
    json_decref(run->settings);
    free(run->weight_of);
    organ_rows_free(run->pieces);
    organ_rows_free(run->parts);
    free(run->part_of);
    organ_arena_release(&run->arena);
}

static organ_status cut_check_output(const organ_cut_run *run, organ_error *error)
{
    if (organ_memory_claim(run->cut->write.engine, organ_cut_copy_memory(), error, "the buffers of a copy") != ORGAN_OK)
        return error->status;
    if (!run->model->gguf && run->model->config.present && organ_output_is_file(run->cut->write.requested->output))
        return organ_fail(error, ORGAN_USAGE, "%s: the smaller model needs its own config.json: name a directory",
                          run->cut->write.requested->output);
    return organ_model_is_here(run->model, "cut", error);
}

static organ_status cut_decide(void *inner, organ_writing *writing, organ_write_pieces *pieces, organ_error *error)
{
    organ_cut_run *const run = inner;
    organ_cut_out *const cut = run->cut;
    const organ_plan *const plan = cut->write.report.plan;
    if ((cut->decide && cut->decide(cut, writing, error)) || organ_cut_prepare(run, error))
        return error->status;
    if (run->drops_drafts)
        organ_progress_warn(cut->write.progress,
                            "the block for multi-token prediction is removed: config.json has one size for it and for "
                            "the layers, and the text does not run through it");
    run->plan = plan ? *plan : (organ_plan){0};
    organ_plan_memory(&run->plan, organ_cut_copy_memory(), 0);
    pieces->list = run->pieces;
    pieces->count = run->piece_count;
    pieces->gguf = run->gguf;
    return ORGAN_OK;
}

static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    return organ_cut_edit_config(context, config, error) == ORGAN_OK ? organ_readers_add_names(config, error)
                                                                     : error->status;
}

static organ_status cut_write(organ_cut_run *run, organ_write write, json_t **report, organ_error *error)
{
    write.names.model = "model";
    write.inner = run;
    write.decide = cut_decide;
    write.make.edit = edit_config;
    write.make.fill = cut_fill;
    write.make.recall = cut_recall;
    write.make.depends = cut_kept_json;
    write.make.written = cut_digest;
    write.report.made_as = ORGAN_TYPES_STAY;
    write.report.plan = &run->plan;
    return organ_write_run(&write, report, error);
}

organ_status organ_cut_make(organ_cut_out *cut, json_t **report, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_cut_release)
    organ_cut_run run = {.cut = cut, .model = cut->write.model, .settings = json_array()};
    *report = NULL;
    pthread_mutex_init(&run.lock, NULL);
    if (cut_check_output(&run, error) == ORGAN_OK)
        cut_write(&run, cut->write, report, error);
    pthread_mutex_destroy(&run.lock);
    return error->status;
}

static organ_status try_config(organ_cut_run *run, organ_error *error)
{
    ORGAN_OWNED char *const label = organ_format("%s/config.json", run->model->directory);
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (!label)
        organ_fail_memory(error, run->model->path);
    else if (organ_config_open(run->model, label, &edit, error))
        organ_cut_edit_config(run, &edit, error);
    return error->status;
}

organ_status organ_cut_try(organ_cut_out *cut, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_cut_release)
    organ_cut_run run = {.cut = cut, .model = cut->write.model, .settings = json_array()};
    if (organ_cut_prepare(&run, error) == ORGAN_OK)
        try_config(&run, error);
    return error->status;
}

organ_status organ_cut_describes(const organ_model *model, const organ_cut_layer *layers, size_t layer_count,
                                 organ_error *error)
{
    organ_cut_out cut = {.write = {.model = model}, .layers = layers, .layer_count = layer_count};
    ORGAN_RELEASED_BY(organ_cut_release) organ_cut_run run = {.cut = &cut, .model = model, .settings = json_array()};
    if (!run.settings)
        organ_fail_memory(error, model->path);
    else if (!model->gguf && organ_cut_resolve(&run, error) == ORGAN_OK)
        try_config(&run, error);
    return error->status;
}

/* ---- config.json ---- */

static void check_members(organ_cut_audit *a, const char *inside, const json_t *expected, const json_t *found);

/* `expected` or `found` is NULL if it is absent. `inside` is the name of the object that contains the member, "" for
 * the document itself. Two objects in the document itself are compared member by member, so that the problem names
 * the member. */
static void check_member(organ_cut_audit *a, const char *inside, const char *key, const json_t *expected,
                         const json_t *found)
{
    if (expected && found && json_equal(expected, found))
        return;
    if (json_is_object(expected) && json_is_object(found) && !*inside) {
        check_members(a, key, expected, found);
        return;
    }
    ORGAN_OWNED char *const is = found ? organ_json_dump(found, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    ORGAN_OWNED char *const should = expected ? organ_json_dump(expected, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    organ_problem_add(&a->problems, "config.json of %s: %s%s%s is %.150s, not %.150s", a->copy.model->path, inside,
                      *inside ? "." : "", key, is ? is : "absent", should ? should : "absent");
}

static void check_members(organ_cut_audit *a, const char *inside, const json_t *expected, const json_t *found)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)expected, name, value)
        check_member(a, inside, name, value, json_object_get(found, name));
    json_object_foreach((json_t *)found, name, value) if (!json_object_get(expected, name))
        check_member(a, inside, name, /*expected=*/NULL, value);
}

/* Returns the config.json that the planned cut would write: without leftovers, edited, with the names that `found`, the
 * copy's, has for older readers, and untied like the copy's head. The caller releases the result. It is NULL on error,
 * and without an error if the donor has no config.json. */
static json_t *required_config(organ_cut_audit *a, const json_t *found, organ_error *error)
{
    organ_json_edit edit;
    size_t stripped = 0;
    json_t *root = NULL;
    bool untied;
    if (organ_config_open(a->donor.model, "config.json", &edit, error) &&
        organ_leftovers_strip(a->donor.model, &edit, &stripped, error) == ORGAN_OK &&
        organ_cut_edit_config(&a->run, &edit, error) == ORGAN_OK &&
        (organ_readers_lack_names(found) || organ_readers_add_names(&edit, error) == ORGAN_OK) &&
        (!a->donor.model->config.tie_word_embeddings ||
         organ_head_untie(a->copy.model, a->engine, &edit, &untied, error) == ORGAN_OK))
        organ_config_parse("config.json", edit.bytes, edit.length, &root, error);
    organ_json_edit_release(&edit);
    return root;
}

static organ_status check_config_json(organ_cut_audit *a, organ_error *error)
{
    const organ_model *const copy = a->copy.model;
    ORGAN_OWNED_JSON json_t *found = NULL;
    organ_model_load_json(copy, "config.json", copy->path, &found, error);
    ORGAN_OWNED_JSON json_t *const expected = error->status ? NULL : required_config(a, found, error);
    if (error->status == ORGAN_BAD_INPUT) { /* no configuration can describe such a cut */
        organ_problem_add(&a->problems, "%s", error->message);
        *error = (organ_error){0};
    }
    if (expected && !found && !error->status)
        organ_problem_add(&a->problems, "%s has no config.json", copy->path);
    if (expected && found)
        check_members(a, /*inside=*/"", expected, found);
    return error->status;
}

/* ---- key-values ---- */

/* The key-values "split.*" are not compared. The planned cut has key-values of the donor, and those that it adds (in
 * run.settings). */
static void check_gguf_keys(organ_cut_audit *a)
{
    const organ_gguf *const found = a->copy.model->gguf;
    for (size_t k = 0; k < found->kv_count; k++) {
        const organ_gguf_kv *const kv = &found->kvs[k], *const should = organ_gguf_writer_find(a->run.gguf, kv->key);
        if (organ_gguf_is_of_split(kv->key))
            continue;
        if (!should)
            organ_problem_add(&a->problems, "key '%s' of %s is not in the donor", kv->key, a->copy.model->path);
        else if (!organ_gguf_same_value(kv, should))
            organ_problem_add(&a->problems, "key '%s' of %s does not match the cut of the donor's", kv->key,
                              a->copy.model->path);
    }
    for (size_t k = 0; k < a->donor.model->gguf->kv_count; k++) {
        const char *const key = a->donor.model->gguf->kvs[k].key;
        if (organ_gguf_writer_find(a->run.gguf, key) && !organ_gguf_find(found, key))
            organ_problem_add(&a->problems, "key '%s' is missing in %s", key, a->copy.model->path);
    }
    for (size_t k = 0; k < json_array_size(a->run.settings); k++) {
        const char *const key = json_string_value(json_object_get(json_array_get(a->run.settings, k), "key"));
        if (!organ_gguf_find(a->donor.model->gguf, key) && !organ_gguf_find(found, key))
            organ_problem_add(&a->problems, "key '%s' is missing in %s", key, a->copy.model->path);
    }
}

organ_status organ_cut_judge_settings(organ_cut_audit *a, organ_error *error)
{
    if (!a->donor.model->gguf)
        return check_config_json(a, error);
    if (a->copy.model->gguf)
        check_gguf_keys(a);
    else
        organ_problem_add(&a->problems, "%s is not GGUF, but the donor is", a->copy.model->path);
    return ORGAN_OK;
}
