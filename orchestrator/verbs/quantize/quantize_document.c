/* SPDX-License-Identifier: MIT
 * Makes the report of organ quantize. SET_IF(condition, name, value) adds a member only if the condition is true.
 * job->writer is set for GGUF only, job->pruning and job->widths for safetensors only. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- mixed widths in the parameters and in the report ---- */

/* Returns the member "allocation" of the report's parameters: the options of the division. NULL if memory runs out. */
static json_t *widths_parameters(const organ_quantize_job *job)
{
    const organ_quantize_options *const o = job->options;
    const organ_allocate_options *const a = &o->allocate;
    return ORGAN_OBJECT(SET_TEXT("allocate", a->allocate), SET_TEXT("budget", a->budget),
                        SET_COUNT("tokens", organ_allocate_tokens(a)), SET_COUNT("layers", organ_allocate_layers(a)),
                        SET_FLAG("one_width", o->one_width), SET_COUNT("rounds", a->rounds),
                        SET_REDUCED_COMPUTE(job->engine, o->calibration.compute));
}

/* If the level leaves the choice unchanged, returns the mean bits of its stored values. */
static double bits_at(const organ_quantize_widths *w, size_t c, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? floor(organ_width_levels[level])
                                      : w->details[c].unchanged_bits / (double)w->choices.tensors[c].elements;
}

static json_t *widths_tensor_json(const void *context, size_t k)
{
    const organ_quantize_widths *const w = context;
    const organ_allocation_tensor *const t = &w->curves.tensors[k];
    const size_t c = w->choice_of_curve[k], chosen = w->chosen[c];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_REAL("bits", bits_at(w, c, chosen)),
                        SET_REAL("bits_per_weight",
                                 w->sizes[c * ORGAN_WIDTH_CHOICES + chosen] / (double)w->choices.tensors[c].elements),
                        SET_FLAG("quantised", chosen < ORGAN_WIDTH_LEVELS),
                        SET_IF(t->known, "cost", json_real(organ_quantize_width_cost(t, chosen))),
                        SET_IF(t->known, "uniform_cost", json_real(organ_quantize_width_cost(t, w->uniform))),
                        SET_FLAG("between", t->between));
}

/* Returns the member "allocation" of the report: widths and costs of all tensors. NULL if memory runs out. */
static json_t *widths_json(const organ_quantize_widths *w)
{
    const organ_quantize_options *const o = w->job->options;
    size_t measured = 0, unquantised = 0;
    for (size_t k = 0; k < w->curves.count; k++) {
        measured += w->curves.tensors[k].known && !w->curves.tensors[k].between;
        unquantised += w->chosen[w->choice_of_curve[k]] == ORGAN_WIDTH_LEVELS;
    }
    return ORGAN_OBJECT(
        SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("budget", o->allocate.budget),
        SET_REAL("bits_per_weight", w->spent / (double)w->targets.elements),
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(w->store.identity, "text")))),
        SET_COUNT("tokens", w->store.tokens), SET_COUNT("windows", w->store.windows),
        SET_COUNT("tensors_in_all", w->curves.count), SET_COUNT("measured", measured),
        SET_IF(w->provisional, "provisional", json_true()), SET_IF(!w->provisional, "cost", json_real(w->choices.cost)),
        SET_REAL("uniform_bits", bits_at(w, 0, w->uniform)),
        SET_IF(!w->provisional, "uniform_cost", json_real(w->choices.uniform_cost)),
        SET_FLAG("fits_unquantised", w->copied), SET_COUNT("unquantised", unquantised),
        SET_IF(o->allocate.rounds && !o->write.dry_run, "exchanges", organ_exchanges_json(&w->exchanged)),
        SET("tensors", organ_json_rows(w->curves.count, widths_tensor_json, w)));
}

/* ---- types by size in the parameters and in the report ---- */

static json_t *types_parameters(const organ_quantize_job *job)
{
    const organ_quantize_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES_OF("target_size", o->gguf.target_size), SET_BYTES_OF("budget", o->allocate.budget),
                        SET_BYTES_OF("types", o->gguf.types), SET_REDUCED_COMPUTE(job->engine, o->calibration.compute));
}

static json_t *types_tensor_json(const void *context, size_t t)
{
    const organ_quantize_types *const w = context;
    const organ_allocation_tensor *const tensor = &w->curves.tensors[t];
    const size_t type = w->chosen[t], items = w->type_count + 1;
    const bool quantised = type < w->type_count;
    const uint64_t bytes = w->sizes[t * items + type];
    return ORGAN_OBJECT(
        SET_BYTES("name", tensor->name), SET_TEXT("role", tensor->role), SET_INDEX("layer", tensor->layer),
        SET_COUNT("elements", tensor->elements),
        SET_TEXT("type", quantised ? organ_dtype_name(w->types[type]->codes) : "unchanged"), SET_COUNT("bytes", bytes),
        SET_REAL("bits_per_weight", 8.0 * (double)bytes / (double)tensor->elements),
        SET_IF(!w->provisional, "cost", json_real(w->costs[t * items + type])), SET_FLAG("between", tensor->between));
}

/* Returns the member "choice" of the report: types and costs of all tensors. NULL if memory runs out. */
static json_t *types_json(const organ_quantize_types *w)
{
    const organ_quantize_options *const o = w->job->options;
    const organ_programme *const p = &w->programme;
    const uint64_t tensors = w->bytes - (o->gguf.target_size ? w->header : 0);
    size_t measured = 0;
    for (size_t t = 0; t < w->curves.count; t++)
        measured += w->curves.tensors[t].known && !w->curves.tensors[t].between;
    return ORGAN_OBJECT(
        SET_TEXT("definition", ORGAN_TYPES_DEFINITION), SET_IF(w->provisional, "provisional", json_true()),
        SET_TEXT("requested", o->gguf.target_size ? o->gguf.target_size : o->allocate.budget),
        SET_FLAG("of_file", o->gguf.target_size != NULL), SET_COUNT("requested_bytes", w->requested),
        SET_COUNT("bytes", w->bytes), SET_REAL("bits_per_weight_of_all", 8.0 * (double)tensors / (double)w->elements),
        SET_BYTES("file", organ_path_name(o->allocate.file)), SET_COUNT("tokens", w->store.tokens),
        SET_COUNT("windows", w->store.windows), SET_COUNT("tensors_in_all", w->curves.count),
        SET_COUNT("measured", measured), SET_IF(!w->provisional, "cost", json_real(p->cost)),
        SET_IF(!w->provisional, "bound", json_real(p->bound)),
        SET_IF(!w->provisional, "gap", json_real(p->cost > 0 ? (p->cost - p->bound) / p->cost : 0.0)),
        SET_FLAG("exact", p->exact), SET_FLAG("fits_unquantised", p->copied), SET_COUNT("unquantised", w->kept),
        SET_COUNT("unfit", w->unfit), SET("tensors", organ_json_rows(w->curves.count, types_tensor_json, w)));
}

/* `before` and `after` are bytes in the source model and in the output; other members are as in organ_quantize_part. */
typedef struct quantize_document_sums {
    uint64_t tensors, elements, before, after, masked, zeros, unreached;
    organ_encoding_loss loss[ORGAN_LOSSES];
    double energy, gptq_loss, output_loss, unsearched;
    bool no_reference; /* the error with scales from greatest magnitudes is not known for a target (has_reference) */
} quantize_document_sums;

/* The pieces of a target follow each other, codes first. */
static uint64_t bytes_after(const organ_quantize_job *job, const organ_quantize_part *part)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k <= job->list.pieces[part->codes].more; k++)
        bytes += job->list.pieces[part->codes + k].bytes;
    return bytes;
}

/* The error is not known for the GGUF types without an encoder that takes the greatest magnitude, and if it exceeds the
 * range of FP32. */
static bool has_reference(const organ_quantize_part *part)
{
    const organ_encoding *const e = part->encoding;
    return (!organ_encoding_is_gguf(e) || organ_kernels_scalar->quantize[e->grid.size]) && part->unsearched >= 0;
}

static void add_part(quantize_document_sums *s, const organ_quantize_job *job, const organ_quantize_part *part)
{
    s->tensors++;
    s->elements += part->weight->elements;
    s->before += organ_quantize_source_bytes(part->weight);
    s->after += bytes_after(job, part);
    s->unreached += json_array_size(part->unreached);
    organ_encoding_add_losses(part->encoding, s->loss, part->loss);
    s->energy += part->energy;
    s->gptq_loss += part->gptq_loss;
    s->output_loss += part->output_loss;
    s->masked += part->masked;
    s->zeros += part->zeros;
    s->unsearched += part->unsearched;
    s->no_reference |= !has_reference(part);
}

/* The error is rounded to nine digits after the point, because later digits depend on the order of a sum. */
static json_t *error_json(const organ_quantize_job *job, double error_squares, double squares)
{
    if (job->options->write.dry_run)
        return json_null();
    return json_real(organ_billionth(squares > 0 ? sqrt(error_squares / squares) : 0.0));
}

static json_t *relative_json(const organ_quantize_job *job, const organ_encoding_loss *loss)
{
    return error_json(job, loss->error_squares, loss->squares);
}

static json_t *unsearched_json(const organ_quantize_job *job, bool known, double unsearched,
                               const organ_encoding_loss *loss)
{
    return known ? error_json(job, unsearched, loss->squares) : json_null();
}

static json_t *weighted_json(const organ_quantize_job *job, const organ_encoding_loss *loss)
{
    return loss->squares > 0 ? relative_json(job, loss) : json_null();
}

/* The error is sqrt(loss / energy). It is null for GGUF if no target is calibrated or all calibrated ones are zeros. */
static json_t *output_json(const organ_quantize_job *job, double loss, double energy)
{
    return job->writer && !(energy > 0) ? json_null() : error_json(job, loss, energy);
}

/* Members of a row that only a calibrated output has, and those that only a pruned output has. `s` points to an
 * organ_quantize_part or to quantize_document_sums; `elements` is its number of weights. */
#define SET_OUTPUT_ERRORS(job, s)                                                                                      \
    SET_IF((job)->along.run, "gptq_output_error", output_json(job, (s)->gptq_loss, (s)->energy)),                      \
        SET_IF((job)->along.run, "output_error", output_json(job, (s)->output_loss, (s)->energy))
#define SET_PRUNED(job, s, elements)                                                                                   \
    SET_IF((job)->pruning && !(job)->options->write.dry_run, "sparsity",                                               \
           json_real(100 * (double)(s)->masked / (double)(elements))),                                                 \
        SET_IF((job)->pruning && !(job)->options->write.dry_run, "masked", json_integer((json_int_t)(s)->masked)),     \
        SET_IF((job)->pruning && !(job)->options->write.dry_run, "zeros", json_integer((json_int_t)(s)->zeros))

/* The function takes over `object` and returns it. */
static json_t *sums_json(json_t *object, const organ_quantize_job *job, const quantize_document_sums *s)
{
    const double bits = 8.0 * (double)s->after / (double)s->elements;
    return organ_json_joined(
        object,
        ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                     SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                     SET_IF(job->writer, "bits_per_weight", json_real(organ_millionth(bits))),
                     SET("relative_error", relative_json(job, &s->loss[ORGAN_LOSS])),
                     SET_IF(!job->along.run, "absmax_error",
                            unsearched_json(job, !s->no_reference, s->unsearched, &s->loss[ORGAN_LOSS])),
                     SET_IF(job->imatrix.file, "weighted_error", weighted_json(job, &s->loss[ORGAN_LOSS_WEIGHTED])),
                     SET_IF(job->imatrix.file, "unreached_experts", json_integer((json_int_t)s->unreached)),
                     SET_PRUNED(job, s, s->elements), SET_OUTPUT_ERRORS(job, s)));
}

/* `group` is a type in the output if `types` is true, else a row of organ_anatomy_row. `name`, the first member of
 * the row, is taken over. Returns NULL if the group is empty. */
static json_t *group_json(const organ_quantize_job *job, bool types, size_t group, json_t *name)
{
    quantize_document_sums s = {0};
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if ((types ? (size_t)part->encoding->codes : organ_anatomy_row(&part->weight->anatomy)) == group)
            add_part(&s, job, part);
    }
    if (s.tensors)
        return sums_json(name, job, &s);
    json_decref(name);
    return NULL;
}

static json_t *role_json(const void *job, size_t role)
{
    return group_json(job, /*types=*/false, role,
                      ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))));
}

static json_t *type_json(const void *job, size_t dtype)
{
    return group_json(job, /*types=*/true, dtype, ORGAN_OBJECT(SET_DTYPE("type", (organ_dtype)dtype)));
}

/* The reason why a tensor is not stored in the type of the scheme. Types of a recipe need none. */
static json_t *why_json(const organ_quantize_job *job, const organ_quantize_part *part)
{
    const organ_tensor *const tensor = part->weight->codes;
    const bool falls_back = part->encoding != part->preferred, chosen = part->preferred != job->encoding;
    const char *first = chosen && !job->recipe && !job->types ? "the output head gets Q6_K" : "";
    char why[160];
    if (job->fixed && job->fixed[tensor - job->model->tensors])
        first =
            organ_quantize_has_own_scheme(job, tensor) && job->fixed[tensor - job->model->tensors] == part->preferred
                ? "--mtp-scheme"
                : "--type-of";
    else if (chosen && organ_quantize_has_own_scheme(job, tensor) && part->preferred == job->block.encoding)
        first = "--mtp-scheme";
    if (!falls_back && !*first)
        return json_null();
    const int length = snprintf(why, sizeof why, "%s", first);
    if (falls_back)
        snprintf(why + length, sizeof why - (size_t)length, "%sits rows of %llu values are not whole blocks of %u",
                 *first ? ", but " : "", (unsigned long long)part->cols,
                 organ_dtype_describe(part->preferred->codes)->elements);
    return json_string(why);
}

static json_t *part_json(const void *context, size_t k)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = &job->list.parts[k];
    const organ_weight *const weight = part->weight;
    const organ_tensor *const tensor = weight->codes, shape = {.rank = weight->rank, .shape = weight->shape};
    organ_rows_passed();
    const bool gguf = job->writer, calibrated = part->calibrated && !(gguf && job->options->write.dry_run);
    return ORGAN_OBJECT(
        SET_TEXT("tensor", weight->name), SET_PLACE(&weight->anatomy), SET_DTYPE("dtype", tensor->dtype),
        SET_IF(gguf, "stored_as", json_string(organ_dtype_name(part->encoding->codes))),
        SET_IF(gguf, "why", why_json(job, part)), SET("shape", organ_shape_json(&shape)),
        SET_COUNT("bytes_before", organ_quantize_source_bytes(weight)),
        SET_COUNT("bytes_after", bytes_after(job, part)),
        SET_IF(organ_quantize_has_several_encodings(job) || (job->block.encoding && !gguf), "scheme",
               json_string(part->encoding->name)),
        SET("relative_error", relative_json(job, &part->loss[ORGAN_LOSS])),
        SET_IF(!job->along.run, "absmax_error",
               unsearched_json(job, has_reference(part), part->unsearched, &part->loss[ORGAN_LOSS])),
        SET_IF(job->imatrix.file, "weighted_error",
               part->entry ? weighted_json(job, &part->loss[ORGAN_LOSS_WEIGHTED]) : json_null()),
        SET_IF(job->imatrix.file, "imatrix_entry", part->entry ? json_string(part->entry) : json_null()),
        SET_IF(job->imatrix.file, "unreached_experts", json_integer((json_int_t)json_array_size(part->unreached))),
        SET_IF(part->input_scale > 0, "input_scale", json_real((double)part->input_scale)),
        SET_IF(part->unmeasured, "unmeasured_experts", json_incref(part->unmeasured)),
        SET_IF(calibrated, "calibration_tokens", json_integer((json_int_t)part->tokens)),
        SET_IF(calibrated, "block_diagonal", json_boolean(part->block_diagonal)),
        SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)),
        SET_PRUNED(job, part, part->weight->elements), SET_OUTPUT_ERRORS(job, part));
}

static json_t *left_json(const void *context, size_t k)
{
    const organ_quantize_left *const left = (const organ_quantize_left *)context + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", left->tensor->name), SET_DTYPE("dtype", left->tensor->dtype),
                        SET("shape", organ_shape_json(left->tensor)), SET_TEXT("why", left->why));
}

static json_t *scheme_json(const organ_quantize_job *job)
{
    if (job->types)
        return json_string("mixed");
    return job->recipe ? organ_json_sprintf("recipe:%s", job->recipe->name) : json_string(job->encoding->name);
}

json_t *organ_quantize_parameters(void *context)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_options *const o = job->options;
    return ORGAN_OBJECT(SET("scheme", scheme_json(job)), SET_IF(o->format, "format", json_string(o->format)),
                        SET_IF(job->along.run, "method", json_string(o->method)),
                        SET_IF(job->along.run, "resolve", json_boolean(!o->gptq.no_refit)),
                        SET_IF(o->activations.like_weights, "activations", json_true()),
                        SET_IF(o->activations.type, "activation_type", json_string(o->activations.type)),
                        SET_IF(o->activations.scale, "activation_scale", json_string(o->activations.scale)),
                        SET_IF(o->activations.observer, "activation_observer", json_string(o->activations.observer)),
                        SET_IF(o->kv_cache, "kv_cache", json_string(o->kv_cache)),
                        SET_IF(organ_quantize_text(job), "samples", json_integer((json_int_t)o->calibration.samples)),
                        SET_IF(organ_quantize_text(job), "context", json_integer((json_int_t)o->calibration.context)),
                        SET_REDUCED_COMPUTE(job->engine, organ_quantize_text(job) ? o->calibration.compute : NULL),
                        SET_IF(job->repair.adapter, "repair_rank", json_integer((json_int_t)o->gptq.repair_rank)),
                        SET_IF(o->readers, "for", json_string(o->readers)), SET_BYTES_OF("targets", o->targets),
                        SET_IF(o->gguf.type_of, "type_of", json_string(o->gguf.type_of)),
                        SET_IF(o->mtp_scheme, "mtp_scheme", json_string(o->mtp_scheme)),
                        SET_IF(job->pruning, "pruning", job->pruning->parameters(job->pruning->context)),
                        SET_IF(job->widths, "allocation", widths_parameters(job)),
                        SET_IF(job->types, "choice", types_parameters(job)),
                        SET_IF(!job->writer, "max_shard_bytes", json_integer((json_int_t)o->write.max_shard_size)));
}

/* Equal runs have equal digests, and only they: of the model, the text and all parameters that change codes. */
organ_status organ_quantize_repair_pair(organ_quantize_job *job, organ_error *error)
{
    char fingerprint[17];
    if (!job->repair.adapter || organ_model_fingerprint(job->model, fingerprint, error))
        return error->status;
    ORGAN_OWNED_JSON json_t *const run = ORGAN_OBJECT(
        SET_TEXT("model", fingerprint), SET_TEXT("text", organ_calibration_run_facts_of(job->along.run)->digest),
        SET("parameters", organ_quantize_parameters(job)),
        SET_IF(job->imatrix.file, "imatrix", organ_importance_json(job->imatrix.file, job->imatrix.digest)));
    ORGAN_OWNED char *const words = run ? organ_json_dump(run, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (words)
        snprintf(job->repair.pair, sizeof job->repair.pair, "%016llx",
                 (unsigned long long)XXH3_64bits(words, strlen(words)));
    return words ? ORGAN_OK : organ_fail_memory(error, job->options->model);
}

static const json_t *fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_quantize_job *const job = context;
    *tensor = job->list.parts[k].weight->codes;
    organ_rows_passed();
    return job->list.parts[k].fallback;
}

static json_t *calibration_json(const organ_quantize_job *job)
{
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->list.part_count; k++)
        block_diagonal += organ_quantize_next_part(job, k)->block_diagonal;
    const char *inputs = "inputs from the quantised layers";
    if (job->pruning)
        inputs = job->pruning->streams == ORGAN_INPUTS_BOTH
                     ? "inputs from the pruned and quantised layers and from the donor"
                     : "inputs from the pruned and quantised layers";
    json_t *const object = organ_calibration_run_json(job->along.run, inputs);
    json_t *const fallback = organ_calibration_fallback_json(fallback_row, job, job->list.part_count);
    ORGAN_ADD(object, SET_COUNT("block_diagonal_tensors", block_diagonal), SET_IF(fallback, "fallback", fallback));
    return object;
}

static const json_t *unreached_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_quantize_job *const job = context;
    *tensor = job->list.parts[k].weight->codes;
    organ_rows_passed();
    return job->list.parts[k].unreached;
}

/* "fallback" lists the experts without tokens. */
static json_t *imatrix_json(const organ_quantize_job *job)
{
    json_t *const object = organ_importance_json(job->imatrix.file, job->imatrix.digest);
    json_t *const fallback = organ_calibration_fallback_json(unreached_row, job, job->list.part_count);
    if (fallback)
        ORGAN_ADD(object, SET("fallback", fallback));
    return object;
}

static const json_t *unmeasured_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_quantize_job *const job = context;
    *tensor = job->list.parts[k].weight->codes;
    organ_rows_passed();
    return job->list.parts[k].unmeasured;
}

static json_t *inputs_json(const organ_quantize_job *job)
{
    json_t *const fallback = organ_calibration_fallback_json(unmeasured_row, job, job->list.part_count);
    return organ_json_joined(organ_calibration_run_json(job->measured.run, "inputs of the unquantised layers"),
                             ORGAN_OBJECT(SET_IF(fallback, "fallback", fallback)));
}

static bool asks_inputs(const organ_quantize_options *o)
{
    return o->activations.like_weights || o->activations.type || o->activations.scale;
}

json_t *organ_quantize_identity(void *context)
{
    const organ_quantize_job *const job = context;
    return ORGAN_OBJECT(
        SET_IF(job->writer, "imatrix", organ_importance_json(job->imatrix.file, job->imatrix.digest)),
        SET_IF(organ_quantize_text(job), "calibration", organ_calibration_run_json(organ_quantize_text(job), "")),
        SET_IF(job->along.run, "moments", json_string(job->blocks ? "blocks" : "whole")),
        SET_IF(job->widths || job->types, "costs",
               json_incref(job->widths ? job->widths->store.identity : job->types->store.identity)));
}

/* The share does not count embeddings and output head, which GGUF quantises without --select. */
static json_t *matrices_json(const organ_quantize_job *job)
{
    ORGAN_OWNED bool *const quantised = calloc(job->model->tensor_count + 1, sizeof *quantised);
    if (!quantised)
        return NULL;
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_tensor *const tensor = organ_quantize_next_part(job, k)->weight->codes;
        const size_t at = (size_t)(tensor - job->model->tensors);
        quantised[at] = job->targets.chosen[at] || organ_mtp_block_of(tensor->name, &tensor->anatomy, trunk) >= 0;
    }
    return organ_matrices_json(job->model, quantised);
}

/* llama.cpp counts bits in this way. */
static json_t *bits_of_all_json(const organ_quantize_job *job)
{
    double bytes = 0, elements = 0;
    for (size_t k = 0; k < job->list.piece_count; k++)
        bytes += (double)job->list.pieces[k].bytes;
    for (size_t t = 0; t < job->model->tensor_count; t++)
        elements += (double)job->model->tensors[t].elements;
    return json_real(organ_millionth(8 * bytes / elements));
}

static json_t *converted_json(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(SET_BYTES("model", organ_path_name(job->source->model)),
                        SET_COUNT("bytes", job->source->bytes));
}

/* Counts the norms that are stored as 1 + weight, and the tensors that the output lacks. NULL: there are none. */
static json_t *mlx_json(const organ_quantize_job *job)
{
    json_int_t changed = 0, bytes = 0, dropped = 0;
    for (size_t k = 0; k < job->list.piece_count; k++)
        if (job->list.pieces[k].item == SIZE_MAX && organ_quantize_mlx_raises(job)) {
            changed++;
            bytes += (json_int_t)job->list.pieces[k].cost;
        }
    for (size_t k = 0; k < job->model->tensor_count; k++)
        dropped += job->format->drops(job, &job->model->tensors[k]);
    return changed || dropped ? ORGAN_OBJECT(SET_COUNT("changed", changed), SET_COUNT("changed_bytes", bytes),
                                             SET_COUNT("left_out", dropped))
                              : NULL;
}

static json_t *repair_json(const organ_quantize_job *job)
{
    const json_t *const totals = json_object_get(job->repair.report, "totals");
    return ORGAN_OBJECT(SET_COUNT("rank", job->options->gptq.repair_rank), SET_BYTES("adapter", job->repair.output),
                        SET_HELD("outputs_before", json_object_get(totals, "outputs_before")),
                        SET_HELD("outputs_after", json_object_get(totals, "outputs_after")),
                        SET_HELD("parameters", json_object_get(totals, "parameters")),
                        SET_IF(!job->writer, "forward_first", json_boolean(!organ_quantize_has_one_group(job))));
}

json_t *organ_quantize_document(void *context, const organ_writing *made)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_options *const o = job->options;
    const bool divides = job->pruning && job->pruning->allocation;
    json_t *const mlx = organ_quantize_is_mlx(job) ? mlx_json(job) : NULL;
    json_t *const kept = organ_quantize_fused_document(job);
    quantize_document_sums all = {0};
    for (size_t k = 0; k < job->list.part_count; k++)
        add_part(&all, job, organ_quantize_next_part(job, k));
    json_t *const totals = sums_json(json_object(), job, &all);
    ORGAN_ADD(totals,
              SET_IF(job->list.regrouped && !job->writer, "regrouped", json_integer((json_int_t)job->list.regrouped)),
              SET_COUNT("total_size", organ_layout_total(organ_write_files(made))),
              SET_IF(job->writer, "bits_per_weight_of_all", bits_of_all_json(job)));
    return ORGAN_OBJECT(
        SET_IF(job->source, "converted", converted_json(job)), SET_IF(job->writer, "imatrix", imatrix_json(job)),
        SET("totals", totals), SET_COUNT("clipped_blocks", job->list.clipped),
        SET("plain", organ_pieces_same_json(job->list.pieces, job->list.piece_count)), SET_IF(mlx, "mlx", mlx),
        SET("matrices", matrices_json(job)), SET("roles", organ_anatomy_rows_json(role_json, job)),
        SET_IF(job->writer, "types", organ_json_rows(ORGAN_DTYPE_COUNT, type_json, job)),
        SET_IF(kept, "kept_sets", kept),
        SET("left_alone", organ_json_rows(job->list.left_out_count, left_json, job->list.left_out)),
        SET("files", organ_layout_files_json(organ_write_files(made))),
        SET("tensors", organ_json_rows(job->list.part_count, part_json, job)),
        SET("definitions", organ_quantize_definitions(job)),
        SET_IF(job->along.run, "calibration", calibration_json(job)),
        SET_IF(asks_inputs(o) || (job->inputs && job->inputs->unasked), "activations",
               organ_quantize_inputs_document(job)),
        SET_IF(job->measured.run, "inputs", inputs_json(job)),
        SET_IF(job->cache.run, "kv_cache", organ_quantize_cache_document(job)),
        SET_IF(job->repair.adapter, "repair", repair_json(job)),
        SET_IF(job->widths, "allocation", widths_json(job->widths)),
        SET_IF(job->types, "choice", types_json(job->types)),
        SET_IF(divides, "sparsity_allocation", job->pruning->allocation(job->pruning->context)));
}
