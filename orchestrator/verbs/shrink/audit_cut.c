/* SPDX-License-Identifier: MIT
 * Audits a cut model: finds in the bytes of the copy which parts of the donor it has kept, plans a cut of the donor to
 * these parts, and compares each tensor of the copy with the plan. A piece is a tensor of the planned output. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/results.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/report/view/views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- the report of the cut: its refitted tensors, and the digests of their bytes ---- */

static const organ_view *const reports[] = {&organ_layers_view, &organ_experts_view, &organ_width_view};

/* Enters the names of the refitted tensors in a->listed. `file` is the name of the report. */
static organ_status index_refitted(organ_cut_audit *a, const json_t *refitted, const char *file, organ_error *error)
{
    for (size_t k = 0; k < json_array_size(refitted) && !error->status; k++) {
        const json_t *const entry = json_array_get(refitted, k);
        if (!json_is_string(json_object_get(entry, "tensor")) || !json_is_string(json_object_get(entry, "xxh3")))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: refitted[%zu] has no tensor and xxh3",
                              a->copy.model->path, file, k);
        if (!organ_name_table_put(&a->listed, organ_json_text(entry, "tensor"), k))
            organ_fail_memory(error, a->copy.model->path);
    }
    return error->status;
}

/* Sets audit->report and audit->listed from the report of `organ layers`, `experts` or `width` in the copy, which is in
 * organ/ or next to a single file. Leaves them empty if there is none or if it lists no refitted tensors, as those of
 * versions before 0.3. Returns ORGAN_BAD_INPUT if a report is malformed. */
static organ_status cut_read_report(organ_cut_audit *a, organ_error *error)
{
    for (size_t k = 0; k < sizeof reports / sizeof *reports && !a->report && !error->status; k++) {
        ORGAN_OWNED_JSON json_t *const report = organ_own_report(a->copy.model, reports[k], error);
        const json_t *const refitted = json_object_get(report, "refitted");
        if (json_array_size(refitted)) {
            a->report = json_incref(report);
            index_refitted(a, refitted, organ_json_text(report, "file"), error);
        }
    }
    return error->status;
}

/* Returns the digest that the report has for a tensor of the copy; NULL if it does not list the tensor. */
static const char *cut_listed(const organ_cut_audit *a, const char *tensor)
{
    const size_t *const at = a->report ? organ_name_table_find(&a->listed, tensor) : NULL;
    return at ? organ_json_text(json_array_get(json_object_get(a->report, "refitted"), *at), "xxh3") : NULL;
}

/* Returns the name of the report, "organ/layers.json"; NULL if there is none. */
static const char *cut_report_name(const organ_cut_audit *a)
{
    return json_string_value(json_object_get(a->report, "file"));
}

/* ---- bytes ---- */

static bool has_type_and_shape_of(const organ_tensor *found, const organ_piece *piece)
{
    return found->dtype == piece->dtype && ORGAN_SAME_SHAPE(found, piece);
}

/* `scratch` has ORGAN_CUT_WINDOW bytes. */
static organ_status compare_bytes(const organ_cut_audit *a, organ_cut_reader *reader, const organ_tensor *found,
                                  unsigned char *scratch, organ_cut_verdict *v, organ_error *error)
{
    const unsigned char *expected;
    XXH3_state_t *const state = XXH3_createState();
    if (!state || XXH3_64bits_reset(state) != XXH_OK)
        organ_fail_memory(error, found->name);
    for (size_t at = 0, size; !error->status && (size = organ_cut_read(reader, &expected, error)) > 0; at += size) {
        if (organ_stop_is_requested(a->engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        else if (organ_model_read(a->copy.model, found->file, scratch, size, found->offset + at, error) == ORGAN_OK) {
            XXH3_64bits_update(state, scratch, size);
            const bool equal = memcmp(scratch, expected, size) == 0;
            for (size_t k = 0; !equal && k < size; k++)
                v->different += scratch[k] != expected[k];
        }
    }
    v->xxh3 = error->status ? 0 : XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return error->status;
}

static organ_status compare_piece(void *context, size_t piece, size_t worker, organ_error *error)
{
    organ_cut_audit *const a = context;
    organ_cut_verdict *const v = &a->verdicts[piece];
    const organ_piece *const p = &a->run.pieces[piece];
    const organ_tensor *const found = organ_model_find(a->copy.model, p->name);
    organ_cut_part whole = {.tensor = v->donor};
    (void)worker;
    v->missing = !found;
    v->mismatch = found && !has_type_and_shape_of(found, p);
    if (v->missing || v->mismatch)
        return ORGAN_OK;
    /* three buffers: bytes of the copy, then the window and the output of the reader */
    ORGAN_OWNED unsigned char *const scratch = malloc(3 * ORGAN_CUT_WINDOW);
    if (!scratch)
        return organ_fail_memory(error, p->name);
    organ_cut_reader reader = organ_cut_reader_of(a->donor.model, v->part ? v->part : &whole, found->bytes,
                                                  scratch + ORGAN_CUT_WINDOW, scratch + 2 * ORGAN_CUT_WINDOW);
    return compare_bytes(a, &reader, found, scratch, v, error);
}

static organ_status advance_piece(void *context, size_t piece, organ_error *error)
{
    const organ_cut_audit *const a = context;
    organ_progress_advance(a->progress, a->verdicts[piece].donor->bytes, a->run.pieces[piece].name, NULL);
    return error->status;
}

static organ_status list_pieces(organ_cut_audit *a, organ_error *error)
{
    const organ_cut_run *const run = &a->run;
    a->verdicts = organ_rows_take(run->piece_count + 1, sizeof *a->verdicts);
    if (!a->verdicts)
        return organ_fail_memory(error, a->copy.model->path);
    for (size_t k = 0; k < run->part_count; k++)
        a->verdicts[run->parts[k].piece] = (organ_cut_verdict){.donor = run->parts[k].tensor, .part = &run->parts[k]};
    for (size_t k = 0; k < run->piece_count; k++)
        if (run->pieces[k].same)
            a->verdicts[k].donor = run->pieces[k].same;
    return ORGAN_OK;
}

static organ_status compare_all(organ_cut_audit *a, organ_error *error)
{
    uint64_t bytes = 0;
    if (list_pieces(a, error))
        return error->status;
    for (size_t k = 0; k < a->run.piece_count; k++)
        bytes += a->verdicts[k].donor->bytes;
    if (organ_memory_claim(a->engine, 3 * ORGAN_CUT_WINDOW, error, "the buffers of a comparison") != ORGAN_OK)
        return error->status;
    const organ_parts pieces = {.count = a->run.piece_count,
                                .workers = organ_memory_workers(a->engine, 3 * ORGAN_CUT_WINDOW, 0),
                                .context = a,
                                .work = compare_piece,
                                .retire = advance_piece};
    organ_progress_begin(a->progress, "auditing", bytes, a->run.piece_count);
    organ_parts_run(&pieces, a->engine, error);
    organ_progress_end(a->progress);
    return error->status;
}

/* ---- verdict ---- */

static bool follows_removed_block(const organ_cut_audit *a, int32_t layer)
{
    for (int32_t l = 0; l < layer && (size_t)l < a->run.layer_count; l++)
        if (a->run.facts[l].becomes < 0)
            return true;
    return false;
}

/* A refit (--refit) may change down and output projections; after a removed block also routers, all other projections
 * and the final norm. */
static bool may_change(const organ_cut_audit *a, const organ_tensor *t)
{
    const organ_role role = t->anatomy.role;
    if (t->anatomy.layer < 0)
        return role == ORGAN_ROLE_NORM && follows_removed_block(a, (int32_t)a->run.layer_count);
    const bool reads = organ_role_describe(role)->projection || role == ORGAN_ROLE_ROUTER;
    return role == ORGAN_ROLE_DOWN || role == ORGAN_ROLE_O || (reads && follows_removed_block(a, t->anatomy.layer));
}

/* A piece that the report of the cut lists as refitted must have the digest of the report, unless --refitted
 * accepts all refitted weights. */
static void judge_listed(organ_cut_audit *a, const organ_cut_verdict *v, const char *name, const char *listed)
{
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)v->xxh3);
    if (strcmp(digest, listed) != 0)
        organ_problem_add(&a->problems,
                          "tensor '%s': its bytes have the XXH3 %s, but %s states %s for the refitted tensor", name,
                          digest, cut_report_name(a), listed);
    else if (v->different) {
        a->refitted++;
        json_array_append_new(a->changed_names, json_string(name));
    }
}

/* Different bytes in a weight that a refit may change are no problem with --refitted, or if they have the digest
 * that the report of the cut states. */
static void report_piece(organ_cut_audit *a, size_t piece)
{
    const organ_cut_verdict *const v = &a->verdicts[piece];
    const organ_piece *const p = &a->run.pieces[piece];
    const char *const listed = may_change(a, v->donor) && !a->options->compensated ? cut_listed(a, p->name) : NULL;
    if (v->missing)
        organ_problem_add(&a->problems, "tensor '%s' is missing in %s", p->name, a->copy.model->path);
    else if (v->mismatch)
        organ_problem_add(&a->problems,
                          "tensor '%s' of %s does not have the type and shape of the kept part of the donor's '%s'",
                          p->name, a->copy.model->path, v->donor->name);
    else if (listed)
        judge_listed(a, v, p->name, listed);
    else if (v->different && may_change(a, v->donor)) {
        a->changed++;
        json_array_append_new(a->changed_names, json_string(p->name));
        if (!a->options->compensated)
            organ_problem_add(&a->problems,
                              "tensor '%s': %" PRIu64
                              " bytes are not those of '%s' in the donor (a refit changes such weights: --refitted "
                              "counts them)",
                              p->name, v->different, v->donor->name);
    } else if (v->different)
        organ_problem_add(&a->problems, "tensor '%s': %" PRIu64 " bytes are not those of '%s' in the donor", p->name,
                          v->different, v->donor->name);
    a->identical += !v->missing && !v->mismatch && v->different == 0;
}

static organ_status check_names(organ_cut_audit *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table names = {0};
    for (size_t k = 0; k < a->run.piece_count && !error->status; k++)
        if (!organ_name_table_put(&names, a->run.pieces[k].name, k))
            organ_fail_memory(error, a->copy.model->path);
    for (size_t t = 0; t < a->copy.model->tensor_count && !error->status; t++)
        if (!organ_name_table_find(&names, a->copy.model->tensors[t].name))
            organ_problem_add(&a->problems, "tensor '%s' of %s corresponds to no kept part of the donor",
                              a->copy.model->tensors[t].name, a->copy.model->path);
    for (size_t k = 0; k < a->copy.model->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy.model->problems[k]);
    return error->status;
}

static json_t *checks_json(const organ_cut_audit *a)
{
    const size_t pieces = a->run.piece_count;
    json_t *const checks = json_array();
    organ_check_add(checks, "kept parts are the donor's, in its order", a->after_recovery == 0, "%zu layers",
                    a->run.layers_after);
    const size_t accepted = a->identical + a->refitted + (a->options->compensated ? a->changed : 0);
    if (a->report && !a->options->compensated)
        organ_check_add(checks, "tensors are kept bytes, or refitted weights with the digests of the cut's report",
                        accepted == pieces, "%zu and %zu of %zu", a->identical, a->refitted, pieces);
    else
        organ_check_add(
            checks, a->options->compensated ? "tensors are kept bytes or refitted weights" : "tensors are kept bytes",
            accepted == pieces, "%zu of %zu", a->identical, pieces);
    organ_check_add(checks, "no other tensors", a->copy.model->tensor_count == pieces, "%zu tensors",
                    a->copy.model->tensor_count);
    organ_check_add(checks, "configuration follows", a->settings_hold, "%s",
                    a->donor.model->gguf ? "key-values" : "config.json");
    return checks;
}

static json_t *made_by_json(const organ_cut_audit *a)
{
    if (!a->report || a->options->compensated)
        return json_null();
    return ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")),
                        SET_HELD("schema", json_object_get(a->report, "schema")),
                        SET_HELD("definition", json_object_get(a->report, "definition")),
                        SET_COUNT("refitted", json_array_size(json_object_get(a->report, "refitted"))));
}

static json_t *document_of(organ_cut_audit *a)
{
    json_t *const checks = checks_json(a);
    const double seconds = organ_seconds_now() - a->started;
    json_t *const made =
        ORGAN_OBJECT(SET_HEAD("organ.audit_cut/1", "cut/1"), SET("donor", organ_model_json(a->donor.model)),
                     SET("copy", organ_model_json(a->copy.model)), SET_FLAG("compensated", a->options->compensated));
    json_t *const rest = ORGAN_OBJECT(
        SET_COUNT("tensors", a->run.piece_count), SET_COUNT("identical", a->identical),
        SET_COUNT("resolved", a->changed + a->refitted), SET_HELD("resolved_tensors", a->changed_names),
        SET("made_by", made_by_json(a)), SET("checks", checks), SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit_cut/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
    return organ_json_joined(
        organ_json_joined(made, organ_cut_document(&a->run, organ_model_tensor_bytes(a->copy.model))), rest);
}

/* ---- the audit ---- */

static organ_status judge_pieces_and_settings(organ_cut_audit *a, organ_error *error)
{
    for (size_t k = 0; k < a->run.piece_count; k++)
        report_piece(a, k);
    const size_t before = organ_problems_count(&a->problems);
    if (organ_cut_judge_settings(a, error))
        return error->status;
    a->settings_hold = organ_problems_count(&a->problems) == before;
    return check_names(a, error);
}

/* ORGAN_CHECK_FAILED replaces ORGAN_USAGE and ORGAN_BAD_INPUT: if no such cut is possible, the copy is no cut of the
 * donor. */
static organ_status plan_cut(organ_cut_audit *a, organ_error *error)
{
    organ_cut_prepare(&a->run, error);
    if (error->status == ORGAN_USAGE || error->status == ORGAN_BAD_INPUT)
        error->status = ORGAN_CHECK_FAILED;
    return error->status;
}

static organ_status audit_work(organ_cut_audit *a, json_t **report, organ_error *error)
{
    a->problems.sentences = json_array();
    a->changed_names = json_array();
    a->run.settings = json_array();
    if (organ_weights_find(a->donor.model, &a->donor.weights, error) ||
        organ_weights_find(a->copy.model, &a->copy.weights, error) || cut_read_report(a, error))
        return error->status;
    a->donor.kernels = a->copy.kernels = a->engine->kernels;
    if (organ_cut_recover(a, error))
        return error->status;
    a->after_recovery = organ_problems_count(&a->problems);
    a->cut = (organ_cut_out){
        .write = {.model = a->donor.model, .engine = a->engine}, .layers = a->kept, .layer_count = a->donor.layers};
    a->run.cut = &a->cut;
    a->run.model = a->donor.model;
    if (plan_cut(a, error) || compare_all(a, error) || judge_pieces_and_settings(a, error) ||
        organ_model_unchanged(a->donor.model, error) || organ_model_unchanged(a->copy.model, error))
        return error->status;
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not a cut of %s", a->options->pruned, a->options->donor);
    return error->status;
}

static void audit_release(organ_cut_audit *a)
{
    organ_cut_release(&a->run);
    free(a->kept);
    organ_arena_release(&a->arena);
    organ_name_table_release(&a->listed);
    json_decref(a->report);
    organ_weights_free(a->donor.weights);
    organ_weights_free(a->copy.weights);
    json_decref(a->problems.sentences);
    json_decref(a->changed_names);
    organ_rows_free(a->verdicts);
}

static organ_status audit_smaller(organ_cut_audit *a, json_t **report, organ_error *error)
{
    const organ_report_work work = organ_report_begin(report);
    audit_work(a, report, error);
    audit_release(a);
    return organ_report_end(&work, a->options->pruned, error);
}

/* The audit of a copy whose report says how it was made; NULL: there is none. */
typedef organ_status (*special_audit)(const organ_audit_options *options, const organ_engine *engine,
                                      const organ_progress *progress, json_t **report, organ_error *error);
static special_audit special_audit_of(const organ_model *copy)
{
    static const struct {
        bool (*is)(const organ_model *copy);
        special_audit audit;
    } audits[] = {{organ_audit_is_trimmed, organ_audit_trimmed},
                  {organ_audit_is_labelled, organ_audit_labelled},
                  {organ_audit_is_patched, organ_audit_patched},
                  {organ_audit_is_added, organ_audit_added},
                  {organ_audit_is_of_rows, organ_audit_rows}};
    for (size_t k = 0; k < sizeof audits / sizeof *audits; k++)
        if (audits[k].is(copy))
            return audits[k].audit;
    return NULL;
}

organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_audit_options, options, report, error, "donor", options->donor, "pruned",
                         options->pruned))
        return error->status;
    organ_cut_audit a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    *report = NULL;
    if (organ_model_open_with(options->donor, options->access, &a.donor.model, error) == ORGAN_OK)
        organ_model_open_with(options->pruned, options->access, &a.copy.model, error);
    if (!error->status) {
        organ_mtp_number_layers(a.donor.model);
        organ_mtp_number_layers(a.copy.model);
    }
    const special_audit special = error->status ? NULL : special_audit_of(a.copy.model);
    const bool cut = !error->status && !special && a.donor.model->problem_count == 0 &&
                     organ_cut_is_smaller(a.donor.model, a.copy.model);
    const bool rewritten = !error->status && !special && !cut && organ_audit_is_rewritten(a.donor.model, a.copy.model);
    if (options->text_count && special != organ_audit_trimmed && !error->status)
        organ_fail(error, ORGAN_USAGE, "%s: is no output of organ vocabulary, which `texts` needs", options->pruned);
    else if (cut)
        audit_smaller(&a, report, error);
    organ_model_close(a.donor.model);
    organ_model_close(a.copy.model);
    if (special && !error->status)
        return special(options, engine, progress, report, error);
    if (rewritten && !error->status)
        return organ_audit_rewritten(options, engine, progress, report, error);
    return cut || error->status ? error->status : organ_audit_pruned(options, engine, progress, report, error);
}
