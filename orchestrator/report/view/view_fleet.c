/* SPDX-License-Identifier: MIT
 * The view of organ.fleet/1, the report about all models of a directory. If it has a member "measure", an
 * organ.measure/1 of the same models, the page shows that report, too. The Markdown of this view has only the rest:
 * fleet.c appends it to the Markdown of the measure. */
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_parts.h"

#define FROM_LOGS                                                                                                      \
    "Counts come from the log of each model; `organ audit` counts them from the bytes. Each experiment has a table "   \
    "of its "                                                                                                          \
    "own."

/* ---- members that the view adds to the report ---- */

static const char *const parts[] = {"skeleton", "organ", "embed", "norm", "other", NULL};
enum { PARTS = sizeof parts / sizeof *parts - 1 };

static double fleet_bytes_of(const json_t *model, size_t part)
{
    return (double)organ_json_count(json_object_get(json_object_get(model, "organs"), parts[part]), "bytes");
}

/* A row is {"name", and for each part its percent of the bytes of all parts}. Parts that no model has are omitted. */
static json_t *anatomies_of(const json_t *models)
{
    json_t *const rows = json_array();
    bool any[PARTS] = {false};
    for (size_t k = 0; k < json_array_size(models); k++)
        for (size_t p = 0; p < PARTS; p++)
            any[p] |= fleet_bytes_of(organ_json_row_at(models, k), p) > 0;
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = organ_json_row_at(models, k);
        double sum = 0;
        for (size_t p = 0; p < PARTS; p++)
            sum += fleet_bytes_of(model, p);
        json_t *const row = sum > 0 ? ORGAN_OBJECT(SET_HELD("name", json_object_get(model, "name"))) : NULL;
        for (size_t p = 0; p < PARTS && row; p++)
            ORGAN_ADD(row, SET_IF(any[p], parts[p], json_real(100 * fleet_bytes_of(model, p) / sum)));
        if (row)
            json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *experiments_of(const json_t *groups)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < json_array_size(groups); k++) {
        const json_t *const group = organ_json_row_at(groups, k);
        json_array_append_new(rows, ORGAN_OBJECT(SET_COUNT("number", k + 1),
                                                 SET_HELD("words", json_object_get(group, "words")),
                                                 SET_HELD("models", json_object_get(group, "models"))));
    }
    return rows;
}

/* Copies report.models, and adds to each model the member "seconds" of its row in run.models. */
static json_t *timed_models(const json_t *report)
{
    json_t *const models = json_deep_copy(json_object_get(report, "models")), *const seconds = json_object();
    const json_t *const times = json_object_get(json_object_get(report, "run"), "models");
    /* A model without a time gets no member: ORGAN_ADD omits a member without a value. */
    for (size_t k = 0; k < json_array_size(times); k++)
        json_object_set(seconds, organ_json_text(json_array_get(times, k), "name"),
                        json_object_get(json_array_get(times, k), "seconds"));
    for (size_t k = 0; k < json_array_size(models); k++) {
        json_t *const model = json_array_get(models, k);
        ORGAN_ADD(model, SET("seconds", json_incref(json_object_get(seconds, organ_json_text(model, "name")))));
    }
    json_decref(seconds);
    return models;
}

/* The view adds "found" (number of models and other files), "models" with times, "anatomies" and "experiments". */
static json_t *fleet_of(const json_t *report)
{
    json_t *const more = ORGAN_OBJECT(
        SET_COUNT("found", organ_json_count(report, "totals.models") + organ_json_count(report, "totals.others")),
        SET_IF(json_object_get(report, "models"), "models", timed_models(report)),
        SET("anatomies", anatomies_of(json_object_get(report, "models"))),
        SET("experiments", experiments_of(json_object_get(report, "prunings"))));
    return organ_json_joined(json_copy((json_t *)(uintptr_t)report), more);
}

/* ---- tables ---- */

/* Each row is a model or, without "status", the totals. A model whose status is not "ok" has no figures. */
static const organ_field models[] = {
    FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_WORDS("architecture", "{status=ok?{model.architecture}|{status?failed| }}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("size", "{status=ok?{model.bytes:bytes}|{status?-|{bytes:bytes}}}", 0),
    FIELD_WORDS("tensors", "{status=ok?{model.tensors:count}|{status?-|{tensors:count}}}", 0),
    FIELD_WORDS("extracted in", "{status=ok&folder?{seconds?{seconds:time}|unchanged}|{status?-}}", 0),
    FIELD_WORDS("theta mean", "{status?{theta_mean:.2f}}", 0)};
static const organ_field page_models[] = {
    FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_WORDS("architecture", "{status=ok?{model.architecture}|failed}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("size", "{status=ok?{model.bytes:bytes}|-}", 0),
    FIELD_WORDS("tensors", "{status=ok?{model.tensors:count}|-}", 0),
    FIELD_WORDS("mean theta", "{theta_mean>-1?{theta_mean:.2f}°|-}", 0)};
static const organ_field times[] = {FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                    FIELD_WORDS("extracted in", "{seconds?{seconds:time}|-}", 0),
                                    FIELD_WORDS("measured in", "{measure_seconds:time}", 0)};
static const organ_field others[] = {OTHERS_FIELDS};
static const organ_field pruned[] = {
    FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS), FIELD_COUNT("killed", "target.killed"),
    FIELD_COUNT("of target", "target.elements"),       FIELD_PERCENT("% target", "target.percent"),
    FIELD_COUNT("of full", "full.elements"),           FIELD_PERCENT("% full", "full.percent")};

/* ---- blocks ---- */

static const organ_item highlights[] = {{NULL, "models failed", "{totals.failed:count}"},
                                        {NULL, "models", "{totals.models:count}"},
                                        {NULL, "of files", "{totals.bytes:bytes}"},
                                        {NULL, "tensors", "{totals.tensors:count}"}};

static const organ_block experiment[] = {
    SAY(ON_TERMINAL, NULL, "Pruned, experiment {number}: {words}."),
    GAP(NULL),
    SAY(ON_MARKDOWN, NULL, "Experiment {number}: {words}."),
    TABLE(ON_ALL, NULL, "models", FIELDS(pruned), .caption = "Experiment {number}: {words}"),
};
static const organ_block prunings[] = {
    SECTION(ON_FILES, NULL, "Pruned models"),
    EACH(ON_ALL, "experiments", BLOCKS_OF(experiment)),
    SAY(ON_ALL, NULL, FROM_LOGS),
    ERRATA,
};

static const organ_block dissection[] = {
    SECTION(ON_PAGE, NULL, "Dissection"),
    TABLE(ON_PAGE, NULL, "models", FIELDS(page_models),
          .caption = "Every model that was found, with the mean theta of its tensors."),
    BARS_WHERE("models.*.model.bytes", "models", "status=ok&model.bytes>-1",
               .style = {.title = "Size",
                         .description = "A bar for each model: the size of its files.",
                         .value_label = "size",
                         .series = {"size", NULL},
                         .digits = 3},
               .name = "name", .values = {"model.bytes"}, .bytes = true,
               .caption = "The size of the files of each model."),
    GRID("anatomies", "anatomies",
         .style =
             {.title = "Anatomy of the models",
              .description =
                  "How much of the bytes of each model is attention, feed-forward, embedding and norms, in percent.",
              .row_label = "model",
              .column_label = "part",
              .value_label = "percent of the bytes",
              .high = 100},
         .name = "name", .members = parts, .caption = "Parts of each model by the bytes of their tensors."),
    BARS_WHERE("!measure&models.*.theta_mean", "models", "status=ok&theta_mean>-1",
               .style = {.title = "Mean theta",
                         .description = "A bar for each model: the mean theta of its tensors, in degrees.",
                         .value_label = "theta, degrees",
                         .series = {"mean theta", NULL},
                         .digits = 4,
                         .unit = "°"},
               .name = "name", .values = {"theta_mean"},
               .caption = "The mean theta of each model. The measure report in the same directory has all figures."),
};

static const organ_block blocks[] = {
    HIGHLIGHTS(NULL, highlights),
    TABLE(ON_TERMINAL, NULL, "models", FIELDS(models), .total = "{totals.models} model{totals.models:s}",
          .total_row = "totals"),
    TABLE(ON_TERMINAL, "others", "others", FIELDS(others)),
    EACH_IF(ON_TERMINAL | ON_PAGE, NULL, "models",
            BLOCKS(SAY(ON_TERMINAL, NULL, "Failed: {name}: {error}"), WARN(ON_PAGE, NULL, "Failed: {name}: {error}")),
            .where = "!status=ok"),
    WARN(ON_PAGE, NULL, MEASURE_CAUTION),
    PART(ON_PAGE, "measure", BLOCKS_OF(organ_measure_fleet_blocks)),
    PART(ON_PAGE, ".", BLOCKS_OF(dissection)),
    PART_IF(ON_ALL, "experiments", ".", BLOCKS_OF(prunings)),
    SECTION(ON_PAGE, "others", "Files that are not models"),
    TABLE(ON_PAGE, "others", "others", FIELDS(others),
          .caption = "Files among the models that are not models. They are neither measured nor ranked."),
    PART(ON_PAGE, "measure", BLOCKS_OF(organ_measure_models_blocks)),
    SECTION(ON_PAGE, "measure", "Definitions"),
    EACH(ON_PAGE, "measure.definitions", BLOCKS(SAY(ON_PAGE, NULL, "{.}"))),
    PAGE_ENDING,
    TABLE(ON_PAGE, "run.models", "run.models", FIELDS(times),
          .caption = "Time of each model that this run processed; unchanged models are skipped."),
    SAY(ON_TERMINAL, NULL, "Unchanged since the last run: {run.unchanged} of {found}."),
    SAY(ON_TERMINAL, NULL, "Time: {run.seconds:time}."),
    LINES(NULL,
          "\nReports: {run.output}/Z_MEASURE_REPORT.html and .md, z_report_complete.json, dissection_report.json\n"),
};

const organ_view organ_fleet_view = {.schema = "organ.fleet/1",
                                     .kind = "Fleet",
                                     .title = "{totals.models} models",
                                     .lead = "Every model that was found, extracted and measured.",
                                     .make = fleet_of,
                                     BLOCKS_OF(blocks)};
