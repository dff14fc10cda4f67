/* SPDX-License-Identifier: MIT
 * Searches the blocks to drop on a part of the calibration text. Sets whose divergence is already measured, in an
 * earlier round or in the file of --scores, are not judged again. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- scores in memory: influences of blocks and divergences of judged sets, in the file those of --scores ---- */

/* Returns whether the set has a stored divergence, and sets *divergence to it. */
static bool layers_known_find(const organ_layers_known *known, const bool *dropped, double *divergence)
{
    for (size_t k = 0; k < known->count; k++)
        if (memcmp(known->dropped + k * known->layers, dropped, known->layers * sizeof *dropped) == 0) {
            *divergence = known->divergence[k];
            return true;
        }
    return false;
}

/* Stores the divergence of a judged set. Returns false if memory runs out. */
static bool layers_known_add(organ_layers_known *known, const bool *dropped, double divergence)
{
    if (known->count == known->capacity) {
        const size_t capacity = 2 * known->capacity + 64;
        bool *const flags = realloc(known->dropped, capacity * known->layers * sizeof *flags);
        known->dropped = flags ? flags : known->dropped;
        double *const values = flags ? realloc(known->divergence, capacity * sizeof *values) : NULL;
        if (!values)
            return false;
        known->divergence = values;
        known->capacity = capacity;
    }
    memcpy(known->dropped + known->count * known->layers, dropped, known->layers * sizeof *dropped);
    known->divergence[known->count++] = divergence;
    return true;
}

/* Stores a copy of the influences of all blocks. Returns false if memory runs out. */
static bool layers_known_influence(organ_layers_known *known, const double *influence)
{
    if (!known->influence && !(known->influence = calloc(known->layers, sizeof *known->influence)))
        return false;
    memcpy(known->influence, influence, known->layers * sizeof *influence);
    return true;
}

/* ---- rows of the file ---- */

json_t *organ_layers_numbers_json(const bool *flags, size_t layers)
{
    json_t *const numbers = json_array();
    for (size_t l = 0; l < layers; l++)
        if (flags[l])
            json_array_append_new(numbers, json_integer((json_int_t)l));
    return numbers;
}

static json_t *set_json(const void *context, size_t k)
{
    const organ_layers_known *const known = context;
    return ORGAN_OBJECT(SET("dropped", organ_layers_numbers_json(known->dropped + k * known->layers, known->layers)),
                        SET_REAL("divergence", known->divergence[k]));
}

static json_t *influence_json(const void *context, size_t l)
{
    return json_real(((const organ_layers_known *)context)->influence[l]);
}

/* Returns whether `json` is a finite number of at least `least`. */
static bool read_figure(const json_t *json, double least, double *value)
{
    *value = json_number_value(json);
    return json_is_number(json) && isfinite(*value) && *value >= least;
}

/* `array` is the JSON null if the influences were not measured; known->influence then stays NULL. */
static organ_status read_influence(organ_layers_known *known, const json_t *array, const char *path, organ_error *error)
{
    if (json_is_null(array))
        return ORGAN_OK;
    if (json_array_size(array) != known->layers)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: influence is not an array of %zu numbers", path, known->layers);
    if (!(known->influence = calloc(known->layers, sizeof *known->influence)))
        return organ_fail_memory(error, path);
    for (size_t l = 0; l < known->layers && !error->status; l++)
        if (!read_figure(json_array_get(array, l), /*least=*/-1, &known->influence[l]))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: influence[%zu] is not a number of at least -1", path, l);
    return error->status;
}

static organ_status read_set(organ_layers_known *known, const json_t *set, size_t k, const char *path,
                             organ_error *error)
{
    const json_t *const numbers = json_object_get(set, "dropped"), *number;
    double divergence = 0, ignored;
    size_t at;
    if (!json_is_array(numbers) || !read_figure(json_object_get(set, "divergence"), /*least=*/0, &divergence))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: sets[%zu] has no array 'dropped' or no divergence of at least 0",
                          path, k);
    ORGAN_OWNED bool *const flags = calloc(known->layers, sizeof *flags);
    if (!flags)
        return organ_fail_memory(error, path);
    json_array_foreach(numbers, at, number)
    {
        const json_int_t block = json_integer_value(number);
        if (!json_is_integer(number) || block < 0 || (size_t)block >= known->layers || flags[block]) {
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: sets[%zu].dropped[%zu] is not a block from 0 to %zu, or occurs twice", path, k, at,
                       known->layers - 1);
            break;
        }
        flags[block] = true;
    }
    if (!error->status && !layers_known_find(known, flags, &ignored) && !layers_known_add(known, flags, divergence))
        organ_fail_memory(error, path);
    return error->status;
}

/* Returns whether the journal line has influences or a set, which are added. */
static bool recall_line(organ_layers_known *known, const json_t *line)
{
    const json_t *const influence = json_object_get(line, "influence");
    organ_error malformed = {0};
    if (!influence)
        return json_object_get(line, "divergence") && read_set(known, line, 0, "journal", &malformed) == ORGAN_OK;
    if (!known->influence && read_influence(known, influence, "journal", &malformed))
        organ_clear(&known->influence); /* it may be set in part */
    return known->influence != NULL;
}

/* ---- the file ---- */

static organ_cache known_sets_cache(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = ORGAN_LAYERS_SCORES_SCHEMA,
                         .identity = identity,
                         .content = "scores of a different run",
                         .remedy = "to measure again, give another file with `scores`"};
}

static organ_status known_sets_read_document(organ_layers_known *known, const json_t *document, const char *path,
                                             organ_error *error)
{
    const json_t *const sets = json_object_get(document, "sets");
    if (read_influence(known, json_object_get(document, "influence"), path, error) != ORGAN_OK)
        return error->status;
    if (!json_is_array(sets))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no array 'sets'", path);
    for (size_t k = 0; k < json_array_size(sets) && !error->status; k++)
        read_set(known, json_array_get(sets, k), k, path, error);
    return error->status;
}

/* *known stays empty if there is no file or `path` is NULL; scores of another identity are rejected. */
static organ_status read_known(organ_layers_known *known, size_t layers, const char *path, const json_t *identity,
                               organ_error *error)
{
    const organ_cache cache = known_sets_cache(path, identity);
    ORGAN_OWNED_JSON json_t *document = NULL;
    *known = (organ_layers_known){.layers = layers};
    if (path && organ_cache_read(&cache, &document, error) == ORGAN_OK && document)
        known_sets_read_document(known, document, path, error);
    return error->status;
}

/* Writes influences and judged sets to `path`. All ranks have the same sets, so only rank 0 writes. Returns ORGAN_IO if
 * the file cannot be written. */
static organ_status layers_known_write(const organ_layers_known *known, const char *path, const json_t *identity,
                                       organ_ranks *ranks, organ_error *error)
{
    organ_cache cache = known_sets_cache(path, identity);
    cache.ranks = ranks;
    cache.meets = true;
    return organ_cache_write(
        &cache,
        ORGAN_OBJECT(
            SET("influence", known->influence ? organ_json_rows(known->layers, influence_json, known) : json_null()),
            SET("sets", organ_json_rows(known->count, set_json, known))),
        error);
}

/* Estimates for the plan of a dry run. SHARED_WORK: work to judge a set, relative to a run of the text through its kept
 * blocks; less than 1, because sets of a round share runs of layers. SETS_PER_EXCHANGE: number of sets that a search
 * judges, relative to the number of exchanges of one set; more than 1, because the search judges all exchanges of the
 * best set and some exchanges of earlier best sets. */
#define SHARED_WORK       0.9
#define SETS_PER_EXCHANGE 1.5

static const organ_windows *windows_of(const organ_layers_job *job)
{
    return &organ_calibration_run_facts_of(job->choice.calib)->windows;
}

/* ---- opening ---- */

/* Stored scores are used only if the file has the same identity. */
static organ_status layers_identify_search(organ_layers_job *job, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    char fingerprint[17];
    if (organ_model_fingerprint(job->model, fingerprint, error) != ORGAN_OK)
        return error->status;
    c->identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_LAYERS_DEFINITION), SET_TEXT("model", fingerprint),
                               SET_TEXT("text", organ_calibration_run_facts_of(c->calib)->digest),
                               SET_COUNT("context", c->walk.calibration.context),
                               SET_COUNT("windows", c->walk.calibration.samples),
                               SET_REDUCED_COMPUTE(job->engine, job->options->calibration.compute));
    return c->identity ? ORGAN_OK : organ_fail_memory(error, job->options->model);
}

/* No tensor is calibrated, because the text only runs through models. */
static organ_status open_text(organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    organ_layers_choice *const c = &job->choice;
    c->walk = (organ_calibration_run_options){.calibration.text = o->calibration.text,
                                              .calibration.samples = (o->search_tokens + o->calibration.context - 1) /
                                                                     o->calibration.context,
                                              .calibration.context = o->calibration.context,
                                              .calibration.compute = o->calibration.compute,
                                              .file_layers = true,
                                              .method = "`drop`",
                                              .verb = "drop",
                                              .doing = "dropping blocks from",
                                              .counted = "`search_tokens`"};
    if (organ_calibration_run_open(&c->walk, job->model, NULL, NULL, job->engine, job->progress, &c->calib, error) !=
        ORGAN_OK)
        return error->status;
    const unsigned layers = organ_forward_describe(organ_calibration_run_facts_of(c->calib)->forward)->layers;
    if (layers > job->layers || job->drop.count >= layers)
        return organ_fail(error, ORGAN_USAGE, "`drop` %zu leaves no block: the forward pass runs %u of the %zu of %s",
                          job->drop.count, layers, job->layers, job->model->path);
    job->layers = layers; /* later blocks are for multi-token prediction and always kept */
    return ORGAN_OK;
}

organ_status organ_layers_choice_open(organ_layers_job *job, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    const char *const file = job->options->scores;
    if (open_text(job, error) ||
        organ_layers_sets_check(organ_calibration_run_facts_of(c->calib)->forward, job->engine, windows_of(job),
                                error) ||
        layers_identify_search(job, error))
        return error->status;
    read_known(&c->known, job->layers, file, c->identity, error);
    return organ_cache_check_place(job->options->write.dry_run ? NULL : file, "`scores`", job->engine->ranks, error);
}

/* The search runs the whole model once, and a smaller model for each judged set. There are drop x (layers - drop)
 * exchanges of one block. The number of judged sets is assumed to be 1 + SETS_PER_EXCHANGE x drop x (layers - drop),
 * but at most 1 + ORGAN_LAYERS_ROUND x --rounds. */
void organ_layers_choice_estimate(organ_layers_job *job)
{
    const organ_calibration_run_facts *const facts = organ_calibration_run_facts_of(job->choice.calib);
    const double layers = (double)job->layers, drop = (double)job->drop.count, kept = (layers - drop) / layers;
    const double most = 1 + (double)ORGAN_LAYERS_ROUND * (double)job->options->rounds,
                 expected = 1 + SETS_PER_EXCHANGE * drop * (layers - drop);
    const double sets = most < expected ? most : expected;
    const size_t tokens = facts->windows.begin[facts->windows.count];
    const double whole =
        organ_variants_products(facts->forward, job->model, /*layer=*/0, tokens, job->choice.walk.calibration.context);
    job->plan.products += whole * (1 + sets * kept * SHARED_WORK);
    organ_plan_memory(&job->plan, organ_layers_sets_enough(facts->forward, windows_of(job)), 0);
}

void organ_layers_choice_close(organ_layers_job *job)
{
    organ_layers_sets_close(job->choice.sets);
    organ_calibration_run_close(job->choice.calib);
    job->choice.sets = NULL;
    job->choice.calib = NULL;
}

void organ_layers_choice_release(organ_layers_job *job)
{
    organ_layers_choice_close(job);
    ORGAN_FREE_ARRAYS(job->choice.known.influence, job->choice.known.dropped, job->choice.known.divergence);
    organ_layers_found_release(&job->choice.found);
    json_decref(job->choice.identity);
}

/* ---- judging ---- */

/* The journal gets the sets from number `first` on and, if they are new, the influences. */
static organ_status note_scores(const organ_layers_choice *c, bool influence, size_t first, organ_error *error)
{
    const organ_layers_known *const known = &c->known;
    if (influence)
        organ_write_note_once(
            c->writing, ORGAN_OBJECT(SET("influence", organ_json_rows(known->layers, influence_json, known))), error);
    for (size_t k = first; k < known->count && !error->status; k++)
        organ_write_note_once(c->writing, set_json(known, k), error);
    return error->status;
}

/* All ranks call this function, also after an error, because each decides by these scores which sets it judges next. */
static organ_status store_scores(const organ_layers_job *job, bool influence, size_t first, organ_error *error)
{
    const organ_layers_choice *const c = &job->choice;
    if (!error->status)
        note_scores(c, influence, first, error);
    return layers_known_write(&c->known, job->options->scores, c->identity, job->engine->ranks, error);
}

/* Opening runs the text through the whole model, so the callers do it only if an influence or a divergence is not
 * stored. */
static organ_status open_sets_if_needed(organ_layers_job *job, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    if (c->sets)
        return ORGAN_OK;
    return organ_layers_sets_open(organ_calibration_run_facts_of(c->calib)->forward, job->engine, windows_of(job),
                                  ORGAN_LAYERS_ALL, &c->sets, error);
}

static organ_status judge_unknown(organ_layers_job *job, const bool *dropped, size_t count, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    const size_t first = c->known.count;
    ORGAN_OWNED double *const divergence = malloc(count * sizeof *divergence);
    if (!divergence)
        return organ_fail_errno(error, ENOMEM, "%zu sets of blocks", count);
    if (open_sets_if_needed(job, error) == ORGAN_OK &&
        organ_layers_sets_judge(c->sets, dropped, count, divergence, error) == ORGAN_OK)
        for (size_t k = 0; k < count && !error->status; k++)
            if (!layers_known_add(&c->known, dropped + k * job->layers, divergence[k]))
                organ_fail_errno(error, ENOMEM, "%zu sets of blocks", count);
    c->judged += count;
    organ_progress_advance(job->progress, 0, NULL, NULL);
    return store_scores(job, /*influence=*/false, first, error);
}

/* Implements organ_layers_search.judge; judges only the sets whose divergence is not stored. */
static organ_status judge_sets(void *context, const bool *dropped, size_t count, double *divergence, organ_error *error)
{
    organ_layers_job *const job = context;
    const organ_layers_known *const known = &job->choice.known;
    ORGAN_OWNED bool *const unknown = malloc(count * job->layers * sizeof *unknown);
    size_t remaining = 0;
    if (!unknown)
        return organ_fail_errno(error, ENOMEM, "%zu sets of blocks", count);
    for (size_t k = 0; k < count; k++)
        if (!layers_known_find(known, dropped + k * job->layers, &divergence[k]))
            memcpy(unknown + remaining++ * job->layers, dropped + k * job->layers, job->layers * sizeof *dropped);
    if (remaining)
        judge_unknown(job, unknown, remaining, error);
    for (size_t k = 0; k < count && !error->status; k++)
        (void)layers_known_find(known, dropped + k * job->layers, &divergence[k]);
    return error->status;
}

/* The check precedes the judging, because judging takes long and the model is written only at the end. */
static organ_status check_described(void *context, const bool *dropped, organ_error *error)
{
    const organ_layers_job *const job = context;
    const size_t count = organ_cut_layers(job->model); /* with those for multi-token prediction, which stay */
    ORGAN_OWNED organ_cut_layer *const layers = calloc(count + 1, sizeof *layers);
    if (!layers)
        return organ_fail_memory(error, job->options->model);
    for (size_t l = 0; l < job->layers; l++)
        layers[l].dropped = dropped[l];
    return organ_cut_describes(job->model, layers, count, error);
}

static void layers_report_round(void *context, size_t round, size_t judged, const organ_layers_set *best)
{
    const organ_layers_job *const job = context;
    organ_progress_note_once(
        job->progress, "search: round %zu, %zu sets of blocks compared, the best is %.4g nats per token from the donor",
        round, judged, best->divergence);
}

static organ_status ensure_influence(organ_layers_job *job, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    if (c->known.influence)
        return ORGAN_OK;
    if (open_sets_if_needed(job, error) == ORGAN_OK &&
        !layers_known_influence(&c->known, organ_layers_sets_influence(c->sets)))
        organ_fail_memory(error, job->options->model);
    return store_scores(job, !error->status, c->known.count, error);
}

/* Journal and file get the scores of each other, so that a continued run does not depend on the file. */
static organ_status recall_scores(organ_layers_job *job, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    size_t noted = 0, at;
    const json_t *line;
    json_array_foreach(organ_write_lines(c->writing), at, line) noted += recall_line(&c->known, line);
    return noted ? store_scores(job, /*influence=*/false, c->known.count, error)
                 : note_scores(c, c->known.influence != NULL, 0, error);
}

organ_status organ_layers_choice_run(organ_layers_job *job, organ_writing *writing, organ_error *error)
{
    organ_layers_choice *const c = &job->choice;
    c->writing = writing;
    if (recall_scores(job, error) != ORGAN_OK)
        return error->status;
    organ_progress_begin(job->progress, "searching blocks", 0, 0);
    if (ensure_influence(job, error) == ORGAN_OK) {
        const organ_layers_search search = {.layers = job->layers,
                                            .requested = job->drop.count,
                                            .influence = c->known.influence,
                                            .rounds = job->options->rounds,
                                            .all = ORGAN_LAYERS_ALL,
                                            .context = job,
                                            .judge = judge_sets,
                                            .describes = check_described,
                                            .on_round = layers_report_round};
        organ_layers_search_run(&search, &c->found, error);
    }
    organ_progress_end(job->progress);
    if (error->status)
        return error->status;
    memcpy(job->drop.dropped, c->found.sets[c->found.best].dropped, job->layers * sizeof *job->drop.dropped);
    c->done = true;
    return ORGAN_OK;
}
