/* SPDX-License-Identifier: MIT
 * Compares the other weights, which get no factors (embeddings, norms, biases, some stacks of experts), and with
 * --save-full stores the changed ones whole. */
#include "orchestrator/surgery/lora/extract_job.h"

#include "formats/base/paged_rows.h"
#include "formats/base/text_buffer.h"
#include "formats/architecture/families.h"
#include "orchestrator/stream/rows.h"
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/algebra/low_rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct extract_rest_comparison {
    organ_lora_job *job;
    organ_lora_other **others; /* others[k] is item k of the pass */
} extract_rest_comparison;

/* The sums over a strip of rows are those of the squares of W_tuned - W_base (change) and of W_base (norm). */
typedef struct extract_rest_sums {
    double change, norm;
} extract_rest_sums;

bool organ_lora_other_changed(const organ_lora_other *other) { return other->why || !(other->change == 0); }

static organ_status compare_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                  organ_error *error)
{
    extract_rest_sums *const s = result;
    float *const values = strip->values;
    const float *const base = strip->other;
    const size_t n = strip->rows * strip->cols;
    (void)context, (void)scratch, (void)error;
    s->norm = organ_sum_of_squares(base, n);
    for (size_t k = 0; k < n; k++)
        values[k] -= base[k];
    s->change = organ_sum_of_squares(values, n);
    return ORGAN_OK;
}

/* The sums of a weight's strips are added in the order of strips. */
static organ_status compare_retire(void *context, const organ_weight_strip *strip, const void *result,
                                   organ_error *error)
{
    const extract_rest_comparison *const c = context;
    const extract_rest_sums *const s = result;
    organ_lora_other *const other = c->others[strip->item];
    (void)error;
    if (c->job->comparing) /* else the caller has set job->note_target */
        c->job->note_target = &other->note;
    if (strip->first == 0)
        organ_lora_note(c->job, strip->note);
    other->change += s->change;
    other->norm += s->norm;
    if (c->job->comparing)
        organ_progress_advance(c->job->progress, (uint64_t)strip->rows * strip->cols, NULL, NULL);
    return ORGAN_OK;
}

static organ_status compare_others(organ_lora_job *job, organ_lora_other **others, size_t count, organ_error *error)
{
    organ_weight_item *const items = organ_rows_take(count + 1, sizeof *items);
    extract_rest_comparison c = {job, others};
    for (size_t k = 0; k < count && items; k++)
        items[k] = (organ_weight_item){others[k]->tuned, others[k]->base};
    const organ_weight_pass pass = {.model = job->tuned,
                                    .other_model = job->base,
                                    .items = items,
                                    .item_count = count,
                                    .as = ORGAN_F32,
                                    .result_bytes = sizeof(extract_rest_sums),
                                    .context = &c,
                                    .work = compare_strip,
                                    .retire = compare_retire};
    if (!items)
        organ_fail_memory(error, job->tuned->path);
    else if (count)
        organ_weight_pass_run(&pass, job->engine, error);
    organ_rows_free(items);
    return error->status;
}

static uint64_t values_to_read(const organ_lora_other *other) { return other->why ? 0 : other->tuned->elements; }

/* `change` and `norm` are adjacent in organ_lora_other, so that they are exchanged as two numbers. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error)
{
    organ_lora_other **const others = calloc(job->other_count + 1, sizeof *others);
    size_t count = 0;
    uint64_t values = 0;
    for (size_t k = 0; k < job->other_count && others; k++) {
        values += values_to_read(&job->others[k]);
        if (values_to_read(&job->others[k]) && organ_assignment_is_local(&job->other_assignment, k))
            others[count++] = &job->others[k];
    }
    if (!others)
        organ_fail_memory(error, job->tuned->path);
    organ_progress_begin(job->progress, "comparing weights without factors", values, 0);
    job->comparing = true;
    if (others)
        compare_others(job, others, count, error);
    job->comparing = false;
    if (organ_assignment_complete(&job->other_assignment, "comparing weights without factors", &job->others->change,
                                  2 * sizeof(double), sizeof *job->others, error) == ORGAN_OK)
        organ_lora_notes_compared(job, error);
    organ_progress_end(job->progress);
    free(others);
    return error->status;
}

bool organ_lora_weight_changed(organ_lora_job *job, const organ_weight *base, const organ_weight *tuned,
                               organ_error *error)
{
    organ_lora_other weight = {.base = base, .tuned = tuned};
    return compare_others(job, (organ_lora_other *[]){&weight}, 1, error) == ORGAN_OK && weight.change != 0;
}

/* ---- weights that are stored whole ---- */

/* Without a weight of the same shape in the base, only a vocabulary of another size and a head of its own have a place:
 * organ lora merge and peft (after resize_token_embeddings) apply them. */
bool organ_lora_can_be_kept(const organ_lora_job *job, const organ_lora_other *other)
{
    const organ_weight *const base = other->base, *const tuned = other->tuned;
    const organ_role role = tuned ? tuned->anatomy.role : ORGAN_ROLE_OTHER;
    const bool words = (role == ORGAN_ROLE_EMBED || role == ORGAN_ROLE_OUTPUT) && tuned->rank == 2;
    bool head = false; /* the base has a head */
    if (!tuned || (base && ORGAN_SAME_SHAPE(base, tuned)))
        return tuned != NULL;
    for (size_t k = 0; k < job->base_weights->count; k++)
        head = head || job->base_weights->weights[k].anatomy.role == ORGAN_ROLE_OUTPUT;
    return base ? words && base->rank == 2 && base->shape[1] == tuned->shape[1]
                : words && role == ORGAN_ROLE_OUTPUT && !head;
}

organ_dtype organ_lora_kept_type(const organ_lora_job *job, const organ_lora_other *other)
{
    return other->tuned->scheme == ORGAN_SCHEME_PLAIN ? other->tuned->codes->dtype : job->dtype;
}

/* peft wraps a module that has factors, because its weight changed. */
static bool is_wrapped(const organ_lora_job *job, const char *name, size_t length)
{
    bool wrapped = false;
    for (size_t k = 0; k < job->module_count; k++)
        if (strlen(job->modules[k].name) == length && strncmp(job->modules[k].name, name, length) == 0)
            wrapped = job->modules[k].change != 0;
    return wrapped;
}

const char *organ_lora_kept_name(organ_lora_job *job, const organ_lora_other *other)
{
    const char *const dot = strrchr(other->tuned->name, '.'), *const end = strrchr(other->key, '.');
    const bool wrapped = is_wrapped(job, other->tuned->name, dot ? (size_t)(dot - other->tuned->name) : 0);
    char *const name = organ_format("base_model.model.%.*s%s%s", end ? (int)(end - other->key) : 0, other->key,
                                    wrapped ? ".base_layer" : "", end ? end : other->key);
    const char *const kept = name ? organ_arena_copy(&job->names, name, strlen(name)) : NULL;
    free(name);
    return kept;
}

organ_status organ_lora_store_packed(organ_lora_job *job, organ_lora_other *other, organ_error *error)
{
    organ_row_buffer all = {0};
    const organ_weight *const weight = other->tuned;
    const organ_matrices m = organ_weight_matrices(weight);
    const char *const name = organ_lora_kept_name(job, other);
    if (!name)
        organ_fail_memory(error, weight->name);
    else if (organ_row_buffer_open(&all, job->tuned, weight, job->engine->kernels, (size_t)(m.count * m.rows), false,
                                   error) == ORGAN_OK &&
             organ_row_buffer_read(&all, 0, all.capacity, error) == ORGAN_OK)
        organ_adapter_add(job->writer, name, job->dtype, weight->rank, weight->shape, all.values, error);
    organ_row_buffer_close(&all);
    return error->status;
}

/* peft ignores some tensors: modules_to_save cannot name a bare parameter, nor one of the modules of experts that
 * transformers stacks. */
static organ_status name_kept(organ_lora_job *job, organ_lora_other *other, organ_error *error)
{
    organ_module_form form;
    if (!(other->key = organ_lora_name_in_transformers(job, other->tuned->name, &form)))
        return organ_fail_memory(error, job->tuned->path);
    const char *const dot = strrchr(other->key, '.'), *const word = dot ? dot + 1 : other->key;
    const bool stacked = organ_forward_family_named(job->base->config.architecture, false) &&
                         other->tuned->anatomy.experts == ORGAN_EXPERTS_ROUTED && other->tuned->rank > 1 &&
                         (other->tuned->anatomy.expert >= 0 || other->tuned->rank == 3);
    other->bare = form == ORGAN_MODULE_SPLIT || stacked || (strcmp(word, "weight") != 0 && strcmp(word, "bias") != 0);
    return ORGAN_OK;
}

organ_status organ_lora_keep(organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->other_count && job->options->save_full && !error->status; k++) {
        organ_lora_other *const other = &job->others[k];
        other->kept = other->tuned && organ_lora_other_changed(other) && organ_lora_can_be_kept(job, other);
        if (other->kept)
            name_kept(job, other, error);
    }
    return error->status;
}
