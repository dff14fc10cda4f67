/* SPDX-License-Identifier: MIT
 * Makes the report of organ merge, and the recipe with all defaults filled in. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the report ---- */

/* Sums of the tensors of a layer, for each donor. */
typedef struct merge_total {
    uint64_t elements;
    double square, distance;
} merge_total;

static json_t *total_json(const merge_total *total)
{
    return json_real(total->square > 0 ? organ_millionth(sqrt(total->distance / total->square)) : 0);
}

/* Returns the matching of the donor's experts in all layers; NULL: none were matched. */
static json_t *matching_json(const model_merge *job, size_t donor)
{
    const bool done = !job->options->write.dry_run;
    size_t layers = 0, experts = 0, reordered = 0;
    double distance = 0, in_order = 0;
    for (size_t k = 0; k < job->match_count; k++) {
        const merge_match *const match = &job->matches[k];
        if (match->donor != donor)
            continue;
        layers++;
        experts += match->experts;
        reordered += match->reordered;
        distance += match->distance * (double)match->experts;
        in_order += match->in_order * (double)match->experts;
    }
    if (experts == 0)
        return NULL;
    return ORGAN_OBJECT(SET_COUNT("layers", layers), SET_COUNT("experts", experts),
                        SET_IF(done, "reordered", json_integer((json_int_t)reordered)),
                        SET_IF(done, "distance", json_real(organ_millionth(sqrt(distance / (double)experts)))),
                        SET_IF(done, "in_order", json_real(organ_millionth(sqrt(in_order / (double)experts)))));
}

static json_t *donor_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    const merge_donor *const donor = &job->donors[k];
    json_t *const matching = matching_json(job, k);
    merge_total total = {0};
    for (size_t t = 0; t < job->tensor_count; t++) {
        const merge_tensor *const tensor = &job->tensors[t];
        for (size_t i = 0; i < organ_merge_item_inputs(&tensor->item) && !tensor->why; i++)
            if (tensor->donors[i] == k) {
                total.elements += organ_merge_elements(&tensor->item.task);
                total.square += tensor->moved[i].square;
                total.distance += tensor->moved[i].distance;
            }
    }
    return ORGAN_OBJECT(
        SET_BYTES("name", donor->name), SET_FLAG("base", k == job->recipe.base),
        SET("model", organ_model_json(organ_merge_stored(donor))), SET_COUNT("elements", total.elements),
        SET_IF(!job->options->write.dry_run, "moved", total_json(&total)), SET_IF(matching, "experts", matching));
}

/* Row k is layer k / donors, of donor k % donors; tensors outside of layers are the last "layer". */
static json_t *layer_json(const void *context, size_t row)
{
    const model_merge *const job = context;
    const size_t donor = row % job->recipe.donor_count, at = row / job->recipe.donor_count;
    const int32_t layer = at < job->layers ? (int32_t)at : -1;
    merge_total total = {0};
    for (size_t t = 0; t < job->tensor_count; t++) {
        const merge_tensor *const tensor = &job->tensors[t];
        if (tensor->layer != layer || tensor->why)
            continue;
        for (size_t i = 0; i < organ_merge_item_inputs(&tensor->item); i++)
            if (tensor->donors[i] == donor) {
                total.elements += organ_merge_elements(&tensor->item.task);
                total.square += tensor->moved[i].square;
                total.distance += tensor->moved[i].distance;
            }
    }
    if (!total.elements)
        return NULL;
    return ORGAN_OBJECT(SET_INDEX("layer", layer), SET_BYTES("model", job->donors[donor].name),
                        SET_COUNT("elements", total.elements), SET("moved", total_json(&total)));
}

static json_t *apart_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    const merge_tensor *const t = &job->tensors[k];
    if (!t->why)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", t->name), SET_BYTES("from", job->donors[t->donors[0]].name),
                        SET_TEXT("reason", t->why));
}

/* ---- matrices that are fitted along texts ---- */

static json_t *fitted_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    const merge_tensor *const t = &job->tensors[k];
    const merge_fitted *const f = t->fitted;
    if (!f)
        return NULL;
    const uint64_t all = organ_weight_matrices(t->like).count;
    return ORGAN_OBJECT(SET_TEXT("tensor", t->name), SET_INDEX("layer", t->layer), SET_COUNT("matrices", all),
                        SET_COUNT("means", f->means), SET_COUNT("tokens", f->tokens),
                        SET("before", json_real(organ_billionth(f->before))),
                        SET("after", json_real(organ_billionth(f->after))),
                        SET("left", json_real(organ_ratio(f->after, f->before))));
}

static json_t *fit_json(const model_merge *job)
{
    double before = 0, after = 0;
    uint64_t matrices = 0, means = 0;
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_fitted *const f = job->tensors[k].fitted;
        matrices += f ? organ_weight_matrices(job->tensors[k].like).count : 0;
        means += f ? f->means : 0;
        before += f ? f->before : 0;
        after += f ? f->after : 0;
    }
    return ORGAN_OBJECT(SET_COUNT("matrices", matrices), SET_COUNT("means", means),
                        SET("left", json_real(organ_ratio(after, before))),
                        SET("tensors", organ_json_rows(job->tensor_count, fitted_json, job)));
}

static json_t *match_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    const merge_match *const match = &job->matches[k];
    return ORGAN_OBJECT(SET_INDEX("layer", match->layer), SET_BYTES("model", job->donors[match->donor].name),
                        SET_COUNT("experts", match->experts), SET_COUNT("reordered", match->reordered),
                        SET("distance", json_real(organ_millionth(sqrt(match->distance)))),
                        SET("in_order", json_real(organ_millionth(sqrt(match->in_order)))));
}

#define NO_TUNE 0.5 /* a tune changes its base by less than this share of the norm */

/* Returns the warnings of the recipe, and one for each model that is no tune of the base: its difference is not a
 * change that can be merged. */
static json_t *all_warnings(const model_merge *job)
{
    json_t *const all = json_copy(job->recipe.warnings);
    for (size_t k = 0; k < job->recipe.donor_count; k++) {
        double change = 0, square = 0;
        for (size_t t = 0; t < job->tensor_count; t++) {
            const merge_tensor *const tensor = &job->tensors[t];
            const size_t base = tensor->item.task.inputs;
            for (size_t i = 0; i < base && tensor->item.task.base && !tensor->why; i++)
                if (tensor->donors[i] == k) {
                    change += tensor->moved[i].change;
                    square += tensor->moved[base].square;
                }
        }
        if (square > 0 && change > NO_TUNE * NO_TUNE * square)
            organ_say(all, "%s differs from the base by %.0f %% of the base's norm: the base is hardly its ancestor",
                      job->donors[k].name, 100 * sqrt(change / square));
    }
    return all;
}

json_t *organ_merge_document(void *context, const organ_writing *writing)
{
    const model_merge *const job = context;
    const organ_layout *const files = organ_write_files(writing);
    size_t merged = 0;
    for (size_t k = 0; k < job->tensor_count; k++)
        merged += !job->tensors[k].why;
    return ORGAN_OBJECT(
        SET("donors", organ_json_rows(job->recipe.donor_count, donor_json, job)),
        SET_IF(!job->options->write.dry_run, "layers",
               organ_json_rows(((size_t)job->layers + 1) * job->recipe.donor_count, layer_json, job)),
        SET_IF(job->moments && !job->options->write.dry_run, "fit", fit_json(job)),
        SET_IF(job->recipe.mixture, "mixture", organ_mixture_json(job)),
        SET_IF(!job->options->write.dry_run, "experts", organ_json_rows(job->match_count, match_json, job)),
        SET("apart", organ_json_rows(job->tensor_count, apart_json, job)), SET("lacking", json_incref(job->lacking)),
        SET("clashes", json_incref(job->clashes)), SET("warnings", all_warnings(job)),
        SET("output", ORGAN_OBJECT(SET_COUNT("files", files->file_count), SET_COUNT("bytes", organ_layout_bytes(files)),
                                   SET_COUNT("layers", job->layers), SET_COUNT("tensors", job->piece_count),
                                   SET_COUNT("merged", merged))),
        SET_SENTENCES("organ.merge/1", "definitions", NULL));
}

/* ---- the recipe with all defaults ---- */

/* Quotes texts that a list in one line, or one line, would not give back. */
static void put_scalar(FILE *out, const organ_yaml *scalar)
{
    const bool plain = scalar->plain && !strpbrk(scalar->text, ",[]{}#\n");
    ORGAN_OWNED_JSON json_t *const text = plain ? NULL : json_string(scalar->text);
    ORGAN_OWNED char *const quoted = text ? organ_json_dump(text, JSON_ENCODE_ANY) : NULL;
    if (plain)
        fputs(*scalar->text ? scalar->text : "null", out);
    else if (quoted)
        fputs(quoted, out);
    else
        organ_memory_count_refusal();
}

static void put_value(FILE *out, const organ_yaml *value, unsigned depth);

/* A list of scalars is written in one line, as are empty lists and maps. */
static bool is_short(const organ_yaml *value)
{
    for (size_t k = 0; k < value->count; k++)
        if (value->kind == ORGAN_YAML_MAP || value->values[k]->kind != ORGAN_YAML_SCALAR)
            return false;
    return true;
}

static void put_short(FILE *out, const organ_yaml *value)
{
    if (value->kind == ORGAN_YAML_SCALAR) {
        put_scalar(out, value);
        return;
    }
    fputs(value->kind == ORGAN_YAML_LIST ? "[" : "{}", out);
    for (size_t k = 0; k < value->count; k++) {
        fputs(k ? ", " : "", out);
        put_scalar(out, value->values[k]);
    }
    fputs(value->kind == ORGAN_YAML_LIST ? "]" : "", out);
}

static void put_member(FILE *out, const organ_yaml *map, size_t k, unsigned depth)
{
    put_scalar(out, map->keys[k]);
    put_value(out, map->values[k], depth + 1);
}

/* Writes what follows a key: a value in the same line, or indented lines. Ends with a line break. */
static void put_value(FILE *out, const organ_yaml *value, unsigned depth)
{
    if (is_short(value)) {
        fputs(": ", out);
        put_short(out, value);
        fputc('\n', out);
        return;
    }
    fputs(":\n", out);
    for (size_t k = 0; k < value->count; k++) {
        const organ_yaml *const element = value->values[k];
        fprintf(out, "%*s%s", (int)(2 * depth), "", value->kind == ORGAN_YAML_LIST ? "- " : "");
        if (value->kind == ORGAN_YAML_MAP)
            put_member(out, value, k, depth);
        else if (element->kind != ORGAN_YAML_MAP) {
            put_short(out, element);
            fputc('\n', out);
        }
        for (size_t m = 0; value->kind == ORGAN_YAML_LIST && element->kind == ORGAN_YAML_MAP && m < element->count;
             m++) {
            fprintf(out, "%*s", m ? (int)(2 * depth + 2) : 0, "");
            put_member(out, element, m, depth + 1);
        }
    }
}

/* Defaults of parameters that the whole recipe does not set: they are looked up last. */
static void put_defaults(FILE *out, const merge_recipe *r)
{
    for (size_t k = 0; k < r->method->parameter_count; k++) {
        const organ_merge_parameter *const p = &r->method->parameters[k];
        if (p->required || !organ_yaml_is_null(organ_yaml_member(r->parameters, p->name)))
            continue;
        if (p->kind == ORGAN_MERGE_FLAG)
            fprintf(out, "  %s: %s\n", p->name, p->fallback != 0 ? "true" : "false");
        else
            organ_fprintf(out, "  %s: %.17g\n", p->name, p->fallback);
    }
}

static void put_parameters(FILE *out, const merge_recipe *r)
{
    fputs("parameters:\n", out);
    for (size_t k = 0; r->parameters && k < r->parameters->count; k++)
        if (!organ_yaml_is_null(r->parameters->values[k])) {
            fputs("  ", out);
            put_member(out, r->parameters, k, 1);
        }
    put_defaults(out, r);
}

organ_status organ_merge_fill_recipe(model_merge *job, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    bool any = r->parameters && r->parameters->count;
    organ_text text;
    if (organ_text_open(&text, error))
        return error->status;
    fprintf(text.out, "# organ %s: organ merge recipe.yaml --seed %u --missing %s%s%s%s", ORGAN_VERSION,
            job->options->seed, job->options->missing, job->options->keep_tied ? " --keep-tied" : "",
            job->options->other_architecture ? " --other-architecture" : "",
            strcmp(job->options->match_experts, "off") == 0 ? " --match-experts off" : "");
    if (job->moments || (r->mixture && r->mixture->experts[0].text))
        fprintf(text.out, " --samples %u --context %u", job->options->calibration.samples,
                job->options->calibration.context);
    fputc('\n', text.out);
    for (size_t k = 0; k < r->tree->count; k++)
        if (strcmp(r->tree->keys[k]->text, "parameters") != 0)
            put_member(text.out, r->tree, k, 0);
    for (size_t k = 0; k < r->method->parameter_count; k++)
        any |= !r->method->parameters[k].required;
    if (any)
        put_parameters(text.out, r);
    return organ_text_end(&text, &job->filled, error);
}
