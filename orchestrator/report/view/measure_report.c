/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/measure_report.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/fleet_report.h"

#define MOST_REASONS 20 /* tensors without theta that are named */

/* Where tables go: to a page, or into Markdown where `page` is NULL. */
typedef struct sheet {
    FILE *out;
    const organ_page *page;
    bool tensors;
} sheet;

static void put_title(const sheet *s, const char *title)
{
    if (!s->page)
        fprintf(s->out, "\n### %s\n\n", title);
}

/* A table with rows, under its title. */
static organ_status put_table(const sheet *s, const char *title, const json_t *rows, organ_table *table, organ_error *error)
{
    if (json_array_size(rows) == 0) {
        organ_table_destroy(table);
        return ORGAN_OK;
    }
    put_title(s, title);
    return organ_table_emit(table, s->out, s->page, error);
}

/* What has no theta, and why. */
static void put_reasons(const sheet *s, const json_t *model)
{
    const json_t *const tensors = organ_json_at(model, "per_tensor");
    size_t told = 0;
    for (size_t k = 0; k < json_array_size(tensors) && told < MOST_REASONS; k++) {
        const json_t *const row = json_array_get(tensors, k);
        if (!json_is_string(json_object_get(row, "reason")))
            continue;
        const char *const name = organ_json_text(row, "name"), *const reason = organ_json_text(row, "reason");
        if (s->page) {
            organ_text_say(s->out, s->page, "  no theta  ", "%s: %s", name, reason);
        } else {
            fputs(told == 0 ? "\n- No theta: " : "- No theta: ", s->out);
            organ_markdown_text(s->out, name, true);
            fprintf(s->out, ", %s.\n", reason);
        }
        told++;
    }
}

static void put_ratings(const sheet *s, const json_t *model)
{
    fputs(s->page ? "  " : "\n", s->out);
    organ_measure_ratings_line(s->out, model);
    fputc('\n', s->out);
}

static void put_name(const sheet *s, const json_t *model)
{
    fputs(s->page ? "Z-measure of " : "\n## ", s->out);
    if (s->page)
        organ_model_line(s->out, model);
    else
        organ_markdown_text(s->out, organ_json_text(model, "name"), false);
    fputs(s->page ? "\n\n" : "\n", s->out);
}

static organ_status put_seed(const sheet *s, const json_t *model, organ_error *error)
{
    if (s->page)
        fputc('\n', s->out);
    put_title(s, "The older measure beside it");
    if (organ_table_emit(organ_measure_seed_table(model), s->out, s->page, error) == ORGAN_OK && s->tensors)
        organ_table_emit(organ_measure_seed_tensors_table(model), s->out, s->page, error);
    return error->status;
}

static organ_status put_model(const sheet *s, const json_t *model, organ_error *error)
{
    const json_t *const wells = organ_json_at(model, "wells");
    put_name(s, organ_json_at(model, "model"));
    if (put_table(s, "Roles and groups", organ_json_at(model, "roles"), organ_measure_roles_table(model), error) != ORGAN_OK ||
        put_table(s, "Layers", organ_json_at(model, "layers"), organ_measure_layers_table(model), error) != ORGAN_OK ||
        put_table(s, "Gravitational wells", wells, organ_measure_wells_table(model), error) != ORGAN_OK)
        return error->status;
    if (s->tensors && put_table(s, "Tensors", organ_json_at(model, "per_tensor"), organ_measure_tensors_table(model), error) != ORGAN_OK)
        return error->status;
    put_ratings(s, model);
    put_reasons(s, model);
    return organ_json_at(model, "seed") ? put_seed(s, model, error) : ORGAN_OK;
}

static organ_status put_ranking(const sheet *s, const json_t *report, organ_error *error)
{
    const json_t *const models = organ_json_at(report, "models");
    put_title(s, "Models");
    if (organ_table_emit(organ_measure_ranking_table(report), s->out, s->page, error) != ORGAN_OK)
        return error->status;
    if (put_table(s, "Mean theta by group", models, organ_measure_groups_table(report), error) ||
        !organ_json_at(json_array_get(models, 0), "seed"))
        return error->status;
    return put_table(s, "The older measure beside it", models, organ_measure_seed_ranking_table(report), error);
}

static organ_status render_terminal(const json_t *report, const organ_page *page, bool tensors, char **text, organ_error *error)
{
    organ_text buffer;
    const json_t *const models = organ_json_at(report, "models");
    const size_t count = json_array_size(models);
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    const sheet s = {buffer.out, page, tensors};
    organ_status status = count > 1 ? put_ranking(&s, report, error) : ORGAN_OK;
    for (size_t k = 0; k < count && status == ORGAN_OK && (count == 1 || tensors); k++) {
        status = put_model(&s, json_array_get(models, k), error);
        fputc('\n', buffer.out);
    }
    if (status != ORGAN_OK) {
        organ_text_discard(&buffer);
        return status;
    }
    organ_text_say(buffer.out, page, "", "%s", ORGAN_MEASURE_CAUTION);
    return organ_text_finish(&buffer, text, error);
}

organ_status organ_measure_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return render_terminal(report, page, false, text, error);
}

organ_status organ_measure_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return render_terminal(report, page, true, text, error);
}

organ_status organ_measure_markdown(const json_t *report, char **text, organ_error *error)
{
    organ_text buffer;
    const json_t *const models = organ_json_at(report, "models");
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    const sheet s = {buffer.out, NULL, false};
    fprintf(buffer.out,
            "# Z-measure\n\n> **Read this first.** %s\n\nDefinition %s; organ %s. All tensors: the JSON file beside this one.\n",
            ORGAN_MEASURE_CAUTION, organ_json_text(report, "definition"), organ_json_text(report, "organ"));
    organ_status status = put_ranking(&s, report, error);
    for (size_t k = 0; k < json_array_size(models) && status == ORGAN_OK; k++)
        status = put_model(&s, json_array_get(models, k), error);
    if (status != ORGAN_OK) {
        organ_text_discard(&buffer);
        return status;
    }
    if (json_array_size(organ_json_at(report, "others")) > 0) {
        fputs("\n## No models\n\nWhat lies among the models and is none is neither measured nor ranked.\n\n", buffer.out);
        if (organ_fleet_others(buffer.out, report, NULL, error) != ORGAN_OK) {
            organ_text_discard(&buffer);
            return error->status;
        }
    }
    fputs("\n## Definitions\n\n", buffer.out);
    organ_sentences_list(buffer.out, "- ", organ_json_at(report, "definitions"));
    return organ_text_finish(&buffer, text, error);
}
