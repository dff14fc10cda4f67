/* SPDX-License-Identifier: MIT
 * Reads how a model was made and how its projections are stored. */
#include "orchestrator/output/facts.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/view/views.h"

#include <inttypes.h>
#include <math.h>
#include <organ/weights.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST ((size_t)256 << 20) /* bytes of a document */
#define KINDS   ((size_t)32)        /* kinds of types of a model that are counted */
#define SHOWN   ((size_t)3)         /* kinds that are named */

static void name_report(const organ_model *model, const char *file, char *name, size_t size)
{
    const char *const base = organ_path_name(model->path), *const end = strrchr(base, '.');
    if (model->whole_directory)
        snprintf(name, size, "organ/%s", file);
    else
        snprintf(name, size, "%.*s.%s", end ? (int)(end - base) : (int)strlen(base), base, file);
}

json_t *organ_model_document(const organ_model *model, const char *name, size_t flags, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    json_error_t fault;
    bool no_memory;
    if (organ_model_load(model, name, LARGEST, &bytes, &length, error) != ORGAN_OK || !bytes)
        return NULL;
    json_t *const document = organ_json_load(bytes, length, flags, &fault, &no_memory);
    if (no_memory)
        organ_fail_memory(error, name);
    else if (!document)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: line %d: %s", model->path, name, fault.line, fault.text);
    return document;
}

json_t *organ_own_report(const organ_model *model, const organ_view *view, organ_error *error)
{
    char name[1024];
    name_report(model, view->files.json, name, sizeof name);
    json_t *const report = organ_model_document(model, name, JSON_REJECT_DUPLICATES, error);
    if (report && strcmp(organ_json_text(report, "schema"), view->schema) == 0) {
        json_object_set_new(report, "file", organ_document_string(name));
        return report;
    }
    json_decref(report);
    return NULL;
}

/* ---- how the model was made ---- */

static json_t *text_at(const json_t *report, const char *path)
{
    json_t *const value = (json_t *)organ_json_at(report, path);
    return json_is_string(value) ? json_incref(value) : json_null();
}

static json_t *method_of(const json_t *report, const organ_view *view)
{
    const char *const words = view->method ? view->method : "{parameters.method?{parameters.method}}";
    ORGAN_OWNED char *const text = organ_words_text(&(organ_scope){report, report}, words, ORGAN_WORDS_TERMINAL);
    return text && !*text ? json_null() : json_string(text);
}

static json_t *made_of_report(const json_t *report, const organ_view *view)
{
    return ORGAN_OBJECT(SET_TEXT("by", view->made_by), SET("method", method_of(report, view)),
                        SET("scheme", text_at(report, "parameters.scheme")));
}

json_t *organ_memory_share_json(const organ_engine *engine)
{
    const organ_memory_share *const share = engine->memory ? NULL : engine->share;
    if (!share)
        return json_null();
    return ORGAN_OBJECT(SET_COUNT("bytes", share->bytes), SET_COUNT("ceiling", share->ceiling),
                        SET_COUNT("free", share->free), SET_IF(*share->group, "group", json_string(share->group)),
                        SET_COUNT("ranks", share->ranks),
                        SET_IF(share->limit, "limit", json_integer((json_int_t)share->limit)));
}

json_t *organ_model_made(const organ_model *model, organ_error *error)
{
    organ_weights *weights = NULL;
    json_t *made = NULL;
    for (size_t k = 0; k < ORGAN_VIEWS && !made && !error->status; k++) {
        ORGAN_OWNED_JSON json_t *const report =
            organ_views[k]->made_by ? organ_own_report(model, organ_views[k], error) : NULL;
        made = report ? made_of_report(report, organ_views[k]) : NULL;
    }
    if (made || error->status || organ_weights_find(model, &weights, error) != ORGAN_OK)
        return made;
    made = ORGAN_OBJECT(SET("by", json_null()),
                        SET("method", *weights->method ? json_string(weights->method) : json_null()),
                        SET("scheme", json_null()));
    organ_weights_free(weights);
    return made ? made : (organ_fail_memory(error, model->path), NULL);
}

/* ---- how it is stored ---- */

/* Weights are counted by their elements. */
typedef struct stored_kind {
    char text[64];
    uint64_t elements;
} stored_kind;

static void write_kind(const organ_weight *w, char *out, size_t size)
{
    const organ_matrices m = organ_weight_matrices(w);
    char type[24], blocks[40] = "";
    if (w->scheme == ORGAN_SCHEME_PLAIN) {
        snprintf(out, size, "%s", organ_dtype_name(w->codes->dtype));
        return;
    }
    if (w->scheme == ORGAN_SCHEME_FP8)
        snprintf(type, sizeof type, "FP8");
    else if (w->scheme == ORGAN_SCHEME_MXFP8 || w->scheme == ORGAN_SCHEME_MXFP6 || w->scheme == ORGAN_SCHEME_MXFP4 ||
             w->scheme == ORGAN_SCHEME_MXINT4 || w->scheme == ORGAN_SCHEME_NVFP4)
        snprintf(type, sizeof type, "%s", organ_scheme_name(w->scheme));
    else if (w->scheme == ORGAN_SCHEME_BNB4)
        snprintf(type, sizeof type, "%s", organ_weight_level_type(w));
    else
        snprintf(type, sizeof type, "INT%u", w->bits);
    if (w->block_rows >= m.rows && w->block_cols >= m.cols)
        snprintf(blocks, sizeof blocks, " tensor");
    else if (w->block_rows == 1 && w->block_cols >= m.cols)
        snprintf(blocks, sizeof blocks, " channel");
    else if (w->block_rows == 1)
        snprintf(blocks, sizeof blocks, " group %" PRIu64, w->block_cols);
    else if (w->block_rows)
        snprintf(blocks, sizeof blocks, " block %" PRIu64 " x %" PRIu64, w->block_rows, w->block_cols);
    snprintf(out, size, "%s%s", type, blocks);
}

/* Adds the weight to its kind. After KINDS kinds, weights of a new kind are not counted. */
static void count_kind(stored_kind *kinds, size_t *count, const organ_weight *weight)
{
    char text[sizeof kinds->text];
    size_t k = 0;
    write_kind(weight, text, sizeof text);
    while (k < *count && strcmp(kinds[k].text, text) != 0)
        k++;
    if (k == KINDS)
        return;
    if (k == *count) {
        memcpy(kinds[k].text, text, sizeof text);
        kinds[k].elements = 0;
        ++*count;
    }
    kinds[k].elements += weight->elements;
}

static int compare_kinds(const void *a, const void *b)
{
    const stored_kind *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(y->elements, x->elements), strcmp(x->text, y->text));
}

/* Returns the SHOWN kinds with most elements as one text, with ", " or ", ..." after each; null if there are none. */
static json_t *kinds_text(stored_kind *kinds, size_t count)
{
    char text[SHOWN * (sizeof kinds->text + 2) + 8] = "";
    qsort(kinds, count, sizeof *kinds, compare_kinds);
    for (size_t k = 0; k < count && k < SHOWN; k++) {
        if (k)
            strcat(text, ", ");
        strcat(text, kinds[k].text);
    }
    if (count > SHOWN)
        strcat(text, ", ...");
    return count ? json_string(text) : json_null();
}

json_t *organ_model_stored(const organ_model *model, organ_error *error)
{
    stored_kind kinds[KINDS];
    size_t count = 0;
    uint64_t bytes = 0, elements = 0;
    bool packed = false;
    organ_weights *weights = NULL;
    if (organ_weights_find(model, &weights, error) != ORGAN_OK)
        return NULL;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (!organ_role_describe(w->anatomy.role)->projection || w->rank < 2)
            continue;
        count_kind(kinds, &count, w);
        bytes += organ_weight_bytes(w);
        elements += w->elements;
        packed |= w->scheme != ORGAN_SCHEME_PLAIN || organ_dtype_describe(w->codes->dtype)->elements > 1;
    }
    organ_weights_free(weights);
    json_t *const stored =
        ORGAN_OBJECT(SET("as", kinds_text(kinds, count)),
                     SET_REAL_OF("bits", elements > 0, elements ? 8 * (double)bytes / (double)elements : 0),
                     SET_FLAG("packed", packed));
    return stored ? stored : (organ_fail_memory(error, model->path), NULL);
}

/* ---- begin and end of the work of a verb that returns a document ---- */

organ_status organ_options_check(const char *type, size_t size, size_t ours, const char *const *needs, size_t count,
                                 json_t **report, organ_error *error)
{
    *report = NULL;
    if (size != 0 && size != ours)
        return organ_fail(error, ORGAN_USAGE, "%s.size is %zu, not %zu: the headers are not those of this library",
                          type, size, ours);
    for (size_t k = 0; k + 1 < count; k += 2)
        if (!needs[k + 1])
            return organ_fail(error, ORGAN_USAGE, "%s.%s is NULL", type, needs[k]);
    return ORGAN_OK;
}

organ_report_work organ_report_begin(json_t **report)
{
    *report = NULL;
    return (organ_report_work){.memory = organ_memory_work_begin(), .account = organ_work_begin(), .report = report};
}

organ_status organ_report_end(const organ_report_work *work, const char *what, organ_error *error)
{
    json_t **const report = work->report;
    if (!error->status && !*report)
        organ_fail_memory(error, what);
    if (error->status && error->status != ORGAN_CHECK_FAILED)
        organ_clear_json(report);
    return organ_report_end_partial(work, what, error);
}

organ_status organ_report_end_partial(const organ_report_work *work, const char *what, organ_error *error)
{
    organ_warnings_add(*work->report, &work->kept.progress);
    json_decref(work->kept.sentences);
    organ_work_end(&work->account);
    return organ_memory_work_end(&work->memory, work->report, what, error);
}

/* The parts are in the order of the report. ONE_THREAD: no run was active, so that all workers were idle while the
 * calling thread worked and did not wait for a transfer. */
enum { COMPUTING, READING, WRITING, WAITING, ONE_THREAD, PARTS };
static const char *const part_names[PARTS] = {"processor", "reading", "writing", "waiting", "one_thread"};

static double seconds_of(uint64_t nanoseconds) { return 1e-9 * (double)nanoseconds; }

static double part_of(double part, double whole) { return whole > 0 ? round(part / whole * 1e4) / 1e4 : 0.0; }

/* Returns the seconds that the calling thread spent in transfers outside of runs, without processor time. */
static double serial_wait(const organ_work_account *a)
{
    const double transfers = seconds_of(a->serial.spent[ORGAN_READING] + a->serial.spent[ORGAN_WRITING]);
    return fmax(fmin(transfers, seconds_of(a->time - a->in_runs) - seconds_of(a->serial_processor)), 0);
}

/* Within runs the rest is waiting, including the time in which threads wake up and in which the first ones to finish
 * wait for the last. Outside of runs, a wait for a transfer is one of all threads. */
static void divide_time(const organ_work_account *a, double part[PARTS])
{
    part[COMPUTING] = seconds_of(a->workers.spent[ORGAN_COMPUTING]);
    part[READING] = seconds_of(a->workers.spent[ORGAN_READING]);
    part[WRITING] = seconds_of(a->workers.spent[ORGAN_WRITING]);
    part[WAITING] = fmax(seconds_of(a->offered) - part[COMPUTING] - part[READING] - part[WRITING], 0);
    const double threads = a->in_runs ? (double)a->offered / (double)a->in_runs : 1;
    const double reading = seconds_of(a->serial.spent[ORGAN_READING]),
                 writing = seconds_of(a->serial.spent[ORGAN_WRITING]), wait = serial_wait(a) * threads;
    if (wait > 0) {
        part[READING] += wait * reading / (reading + writing);
        part[WRITING] += wait * writing / (reading + writing);
    }
    part[ONE_THREAD] = seconds_of(a->time - a->in_runs) * threads - wait;
}

static const char *const phase_names[ORGAN_PHASES] = {
    [ORGAN_PHASE_LOADING] = "loading",
    [ORGAN_PHASE_NORMS] = "norms",
    [ORGAN_PHASE_MIXERS] = "mixers",
    [ORGAN_PHASE_MIXER_PRODUCTS] = "mixer_products",
    [ORGAN_PHASE_ATTENTION_SCORES] = "attention_scores",
    [ORGAN_PHASE_FEED_FORWARD] = "feed_forward",
    [ORGAN_PHASE_HEAD] = "head",
};

static bool has_phases(const organ_work_account *a)
{
    bool any = false;
    for (size_t k = 0; k < ORGAN_PHASES; k++)
        any = any || (phase_names[k] && a->phases[k].time);
    return any;
}

/* Has a member for each phase that took time. */
static json_t *phases_json(const organ_work_account *a)
{
    const double threads = a->in_runs ? (double)a->offered / (double)a->in_runs : 1;
    json_t *phases = json_object();
    for (size_t k = 0; k < ORGAN_PHASES; k++) {
        const double took = seconds_of(a->phases[k].time), computed = seconds_of(a->phases[k].computing);
        if (phase_names[k] && a->phases[k].time)
            phases = organ_members_object(
                phases,
                (const organ_member[]){
                    SET(phase_names[k], ORGAN_OBJECT(SET_REAL("share", part_of(took, seconds_of(a->time))),
                                                     SET_REAL("computing_share", part_of(computed, took * threads)))),
                    {NULL, NULL}});
    }
    return phases;
}

/* Only threads with a clock are counted. */
static uint64_t moved_by_all(const organ_work_account *a, organ_activity activity)
{
    return a->workers.moved[activity] + a->serial.moved[activity] + a->beside.moved[activity];
}

json_t *organ_work_account_json(const organ_work_account *account)
{
    double part[PARTS], all = 0;
    size_t bound = 0;
    divide_time(account, part);
    for (size_t k = 0; k < PARTS; k++) {
        all += part[k];
        bound = part[k] > part[bound] ? k : bound;
    }
    const double took = seconds_of(account->time);
    const uint64_t read = moved_by_all(account, ORGAN_READING), written = moved_by_all(account, ORGAN_WRITING);
    const uint64_t by_workers = account->workers.moved[ORGAN_READING] + account->workers.moved[ORGAN_WRITING];
    return ORGAN_OBJECT(SET_TEXT("bound", part_names[bound]), SET_REAL("bound_share", part_of(part[bound], all)),
                        SET_REAL("computing_share", part_of(part[COMPUTING], all)),
                        SET_REAL("reading_share", part_of(part[READING], all)),
                        SET_REAL("writing_share", part_of(part[WRITING], all)),
                        SET_REAL("waiting_share", part_of(part[WAITING], all)),
                        SET_REAL("one_thread_share", part_of(part[ONE_THREAD], all)), SET_COUNT("read_bytes", read),
                        SET_REAL("read_bytes_per_second", took > 0 ? round((double)read / took) : 0.0),
                        SET_COUNT("written_bytes", written),
                        SET_REAL("written_bytes_per_second", took > 0 ? round((double)written / took) : 0.0),
                        SET_COUNT("one_thread_bytes", read + written - by_workers),
                        SET_REAL("processor_seconds", organ_rounded_seconds(seconds_of(account->processor))),
                        SET_REAL("one_thread_processor_share",
                                 part_of(seconds_of(account->serial_processor), seconds_of(account->processor))),
                        SET_IF(has_phases(account), "phases", phases_json(account)));
}

json_t *organ_run_activity_json(void)
{
    organ_work_account account;
    organ_work_account_take(&account);
    return organ_work_account_json(&account);
}
