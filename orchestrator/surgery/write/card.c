/* SPDX-License-Identifier: MIT
 * Writes the model card of an output: states what the run has made. */
#include "orchestrator/output/model_card.h"
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/files.h"
#include "formats/base/json.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The verbs whose outputs get a card (organ_view.made_by), the hub's word for what they do, and a tag. */
static const struct {
    const char *verb, *relation, *tag;
} kinds[] = {{"prune", "finetune", "pruned"},   {"quantize", "quantized", "quantized"},
             {"dequantize", "finetune", NULL},  {"purify", "finetune", "purified"},
             {"merge", "merge", "merge"},       {"lora merge", "finetune", "lora-merged"},
             {"graft", "merge", "merge"},       {"layers", "finetune", "pruned"},
             {"experts", "finetune", "pruned"}, {"width", "finetune", "pruned"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- names of the donors at the hub ---- */

static void add_hub_name(json_t *names, const json_t *name)
{
    if (json_is_string(name) && organ_card_is_hub_name(json_string_value(name)))
        json_array_append(names, (json_t *)name);
}

static void add_hub_names(json_t *names, const json_t *rows)
{
    const json_t *row;
    size_t k;
    json_array_foreach(rows, k, row) add_hub_name(names, json_object_get(row, "name"));
}

/* The name by which transformers loaded the model that it saved. */
static organ_status add_configured_name(const organ_model *model, json_t *names, organ_error *error)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *config = NULL;
    if (organ_model_load_json(model, "config.json", "config.json", &config, &ignored) == ORGAN_OK)
        add_hub_name(names, json_object_get(config, "_name_or_path"));
    return ignored.status == ORGAN_IO ? organ_fail(error, ORGAN_IO, "%s", ignored.message) : ORGAN_OK;
}

/* Names of models in the cache of Hugging Face are those of the hub (organ_name_json). */
static json_t *hub_names(const organ_writing *w, const json_t *report, organ_error *error)
{
    static const char *const donors[] = {"donor.name", "model.name", "base.name", "target.name", "source.name"};
    json_t *const names = json_array();
    for (size_t k = 0; k < sizeof donors / sizeof *donors; k++)
        add_hub_name(names, organ_json_at(report, donors[k]));
    add_hub_names(names, organ_json_at(report, "donors"));
    add_hub_names(names, organ_json_at(report, "merge.donors"));
    if (json_array_size(names) == 0 && !organ_json_at(report, "donors") && !organ_json_at(report, "merge.donors") &&
        (w->write->model->file_count == 0 || !w->write->model->files[0].remote))
        add_configured_name(w->write->model, names, error);
    return names;
}

/* ---- tags ---- */

static void add_tag(json_t *tags, const json_t *tag)
{
    if (json_string_length(tag))
        json_array_append(tags, (json_t *)tag);
}

static json_t *tags_of(const json_t *report, const char *tag)
{
    static const char *const methods[] = {"parameters.scheme",          "parameters.method",
                                          "parameters.pattern",         "parameters.pruning.method",
                                          "parameters.pruning.pattern", "merge.parameters.method"};
    json_t *const tags = json_array();
    if (tag)
        json_array_append_new(tags, json_string(tag));
    if (organ_json_at(report, "parameters.pruning.method"))
        json_array_append_new(tags, json_string("pruned"));
    if (organ_json_at(report, "merge.parameters.method"))
        json_array_append_new(tags, json_string("merge"));
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
        add_tag(tags, organ_json_at(report, methods[k]));
    return tags;
}

/* ---- the card ---- */

/* Returns a text about the donor, "name" or "architecture"; "" if the report has none. */
static const char *of_donor(const json_t *report, const char *member)
{
    static const char *const donors[] = {"donor", "model", "base", "target", "donors.0"};
    for (size_t k = 0; k < sizeof donors / sizeof *donors; k++) {
        char path[64];
        snprintf(path, sizeof path, "%s.%s", donors[k], member);
        if (*organ_json_text(report, path))
            return organ_json_text(report, path);
    }
    return "";
}

static bool exists(const char *folder, const char *name)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", folder, name);
    return path && access(path, F_OK) == 0;
}

/* Sets *donor to the donor's card if it was copied; NULL: it has none, or is at a URL. */
static organ_status load_card(const organ_writing *w, const char *to, char **donor, size_t *length, organ_error *error)
{
    return exists(to, ORGAN_CARD_NAME)
               ? organ_model_load(w->write->model, ORGAN_CARD_NAME, ORGAN_CARD_BYTES, donor, length, error)
               : error->status;
}

static organ_status store_card(const char *to, const char *text, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/" ORGAN_CARD_NAME, to);
    if (!path)
        organ_fail_memory(error, to);
    else if (organ_remove_file(path) && errno != ENOENT) /* the copy, which organ_text_write does not replace */
        organ_fail_errno(error, errno, "%s: cannot be replaced", path);
    else
        organ_text_write(path, text, error);
    return error->status;
}

static organ_status write_card(const organ_writing *w, const char *to, organ_card *card, organ_error *error)
{
    ORGAN_OWNED char *donor = NULL;
    char why[ORGAN_CARD_WHY];
    size_t length = 0;
    organ_error fault = {0};
    if (load_card(w, to, &donor, &length, &fault) == ORGAN_IO)
        return organ_fail(error, ORGAN_IO, "%s", fault.message);
    ORGAN_OWNED char *const text = fault.status ? NULL : organ_card_text(donor, length, card, why, error);
    if (text)
        return store_card(to, text, error);
    if (!error->status)
        organ_progress_note(w->write->progress, ORGAN_CARD_NAME " is copied without new members: %s",
                            fault.status ? fault.message : why);
    return error->status;
}

organ_status organ_writing_card(const organ_writing *w, const json_t *report, organ_error *error)
{
    const char *const to = organ_output_directory(&w->output), *const by = w->write->names.view->made_by;
    size_t k = 0;
    while (k < KINDS && (!by || strcmp(kinds[k].verb, by) != 0))
        k++;
    if (k == KINDS || w->output.single || organ_writing_is_apart(w))
        return ORGAN_OK;
    ORGAN_OWNED_JSON json_t *const base = hub_names(w, report, error);
    ORGAN_OWNED_JSON json_t *const tags = tags_of(report, kinds[k].tag);
    ORGAN_OWNED char *const made = organ_format("`organ %s` has made this model. Its report is in organ/.", by);
    const bool mlx = strcmp(organ_json_text(report, "parameters.format"), "mlx") == 0;
    const char *const name = of_donor(report, "name"), *const slash = strrchr(name, '/');
    ORGAN_OWNED char *const own = organ_format("%s-%s", slash ? slash + 1 : name, kinds[k].tag ? kinds[k].tag : by);
    organ_card card = {.name = name,
                       .own_name = own,
                       .base = base,
                       .inherits = exists(to, "organ/donor"),
                       .relation = kinds[k].relation,
                       .tags = tags,
                       .other_library = mlx,
                       .task =
                           organ_ends_with(of_donor(report, "architecture"), "ForCausalLM") ? "text-generation" : NULL,
                       .evaluation = organ_json_at(report, "evaluation"),
                       .made = made};
    if (mlx)
        card.library = "mlx";
    else if (exists(to, "config.json"))
        card.library = "transformers";
    if (!error->status && (!made || !own || !base || !tags))
        organ_fail_memory(error, to);
    return error->status ? error->status : write_card(w, to, &card, error);
}
