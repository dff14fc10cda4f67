/* SPDX-License-Identifier: MIT
 * Compares the other weights, which get no factors (embeddings, norms, biases, some stacks of experts), and with
 * --save-full stores the changed ones whole. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/architecture/families.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/read_rows.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- notes of weight readers ---- */

/* job->notes has each text once, in the order in which a run with one process would read the weights. Returns whether
 * the note was added. */
static bool add_note(organ_lora_job *job, const char *note)
{
    for (size_t k = 0; k < job->note_count; k++)
        if (strcmp(job->notes[k], note) == 0)
            return false;
    return job->note_count < sizeof job->notes / sizeof *job->notes && (job->notes[job->note_count] = strdup(note)) &&
           ++job->note_count;
}

void organ_lora_note(organ_lora_job *job, const char *note)
{
    if (!note || !*note)
        return;
    char *const lines = organ_format("%s%s\n", *job->note_target ? *job->note_target : "", note);
    if (lines) {
        free(*job->note_target);
        *job->note_target = lines;
    }
    if (add_note(job, note))
        organ_progress_note(job->progress, "%s", note);
}

/* The text is overwritten; NULL is allowed. */
static void add_lines(organ_lora_job *job, char *lines)
{
    char *rest;
    for (char *line = lines ? strtok_r(lines, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        add_note(job, line);
}

/* Keeps the first `count` notes. */
static void forget_notes(organ_lora_job *job, size_t count)
{
    while (job->note_count > count)
        free(job->notes[--job->note_count]);
}

/* The member `note` of each other weight is cleared, so that the notes of storing the weights can be collected
 * separately. */
static organ_status collect_compared_notes(organ_lora_job *job, organ_error *error)
{
    organ_assignment_exchange(&job->other_assignment, "gathering readers' notes", &job->others->note,
                              sizeof *job->others, NULL, NULL, error);
    forget_notes(job, /*count=*/0);
    for (size_t k = 0; k < job->other_count; k++) {
        add_lines(job, job->others[k].note);
        organ_clear(&job->others[k].note);
    }
    job->compared_notes = job->note_count;
    return error->status;
}

void organ_lora_notes_written(organ_lora_job *job)
{
    forget_notes(job, job->compared_notes);
    for (size_t k = 0; k < job->module_count; k++)
        add_lines(job, job->modules[k].note);
}

/* ---- names in transformers, for the adapter ---- */

const char *organ_lora_name_in_transformers(organ_lora_job *job, const char *name, organ_module_form *form)
{
    char other[ORGAN_MODULE_NAME_SIZE];
    *form = ORGAN_MODULE_WHOLE;
    if (!job->base->gguf && organ_module_name(job->base->config.model_type, name, other, sizeof other, form))
        name = other;
    return organ_arena_copy(&job->names, name, strlen(name));
}

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
    organ_lora_job *const job = context;
    const extract_rest_sums *const s = result;
    organ_lora_other *const other = strip->part;
    (void)error;
    if (job->comparing) /* else the caller has set job->note_target */
        job->note_target = &other->note;
    if (strip->first == 0)
        organ_lora_note(job, strip->note);
    other->change += s->change;
    other->norm += s->norm;
    if (job->comparing)
        organ_progress_advance(job->progress, (uint64_t)strip->rows * strip->cols, NULL, NULL);
    return ORGAN_OK;
}

static organ_status compare_others(organ_lora_job *job, organ_lora_other **others, size_t count, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_weight_item *const items = organ_rows_take(count + 1, sizeof *items);
    for (size_t k = 0; k < count && items; k++)
        items[k] = (organ_weight_item){others[k]->tuned, others[k]->base, others[k]};
    const organ_weight_pass pass = {.model = job->tuned,
                                    .other_model = job->base,
                                    .items = items,
                                    .item_count = count,
                                    .as = ORGAN_F32,
                                    .result_bytes = sizeof(extract_rest_sums),
                                    .context = job,
                                    .work = compare_strip,
                                    .retire = compare_retire};
    if (!items)
        organ_fail_memory(error, job->tuned->path);
    else if (count)
        organ_weight_pass_run(&pass, job->engine, error);
    return error->status;
}

static uint64_t values_to_read(const organ_lora_other *other) { return other->why ? 0 : other->tuned->elements; }

/* `change` and `norm` are adjacent in organ_lora_other, so that they are exchanged as two numbers. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error)
{
    ORGAN_OWNED organ_lora_other **const others = calloc(job->other_count + 1, sizeof *others);
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
        collect_compared_notes(job, error);
    organ_progress_end(job->progress);
    return error->status;
}

/* Returns whether the two weights differ; false also after an error. */
static bool is_changed(organ_lora_job *job, const organ_weight *base, const organ_weight *tuned, organ_error *error)
{
    organ_lora_other weight = {.base = base, .tuned = tuned};
    return compare_others(job, (organ_lora_other *[]){&weight}, 1, error) == ORGAN_OK && weight.change != 0;
}

/* ---- weights that are stored whole ---- */

/* Without a weight of the same shape in the base, only a vocabulary of another size and a head of its own have a place:
 * organ lora merge and peft (after resize_token_embeddings) apply them. */
static bool can_be_kept(const organ_lora_job *job, const organ_lora_other *other)
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
    ORGAN_OWNED char *const name = organ_format("base_model.model.%.*s%s%s", end ? (int)(end - other->key) : 0,
                                                other->key, wrapped ? ".base_layer" : "", end ? end : other->key);
    const char *const kept = name ? organ_arena_copy(&job->names, name, strlen(name)) : NULL;
    return kept;
}

organ_status organ_lora_store_packed(organ_lora_job *job, organ_lora_other *other, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer all = {0};
    const organ_weight *const weight = other->tuned;
    const organ_matrices m = organ_weight_matrices(weight);
    const char *const name = organ_lora_kept_name(job, other);
    if (!name)
        organ_fail_memory(error, weight->name);
    else if (organ_row_buffer_open(&all, job->tuned, weight, job->engine->kernels, (size_t)(m.count * m.rows),
                                   /*whole_steps=*/false, error) == ORGAN_OK &&
             organ_row_buffer_read(&all, 0, all.capacity, error) == ORGAN_OK)
        organ_adapter_add(job->writer, name, job->dtype, weight->rank, weight->shape, all.values, error);
    return error->status;
}

static bool stacks_experts(const organ_lora_job *job)
{
    const organ_hf_config *const config = &job->base->config;
    return organ_forward_family_named(config->architecture, /*gguf=*/false) ||
           organ_module_stacks_experts(config->model_type);
}

/* peft ignores some tensors: modules_to_save cannot name a bare parameter, nor one of the modules of experts that
 * transformers stacks. */
static organ_status name_kept(organ_lora_job *job, organ_lora_other *other, organ_error *error)
{
    organ_module_form form;
    if (!(other->key = organ_lora_name_in_transformers(job, other->tuned->name, &form)))
        return organ_fail_memory(error, job->tuned->path);
    other->kept = form != ORGAN_MODULE_JOINED; /* the other matrix has the same name */
    const char *const dot = strrchr(other->key, '.'), *const word = dot ? dot + 1 : other->key;
    const bool stacked = stacks_experts(job) && other->tuned->anatomy.experts == ORGAN_EXPERTS_ROUTED &&
                         other->tuned->rank > 1 && (other->tuned->anatomy.expert >= 0 || other->tuned->rank == 3);
    other->bare = form == ORGAN_MODULE_SPLIT || stacked || (strcmp(word, "weight") != 0 && strcmp(word, "bias") != 0);
    return ORGAN_OK;
}

organ_status organ_lora_keep(organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->other_count && job->options->save_full && !error->status; k++) {
        organ_lora_other *const other = &job->others[k];
        other->kept = other->tuned && organ_lora_other_changed(other) && can_be_kept(job, other);
        if (other->kept)
            name_kept(job, other, error);
    }
    return error->status;
}

/* ---- journal entries of modules, and results restored from them ---- */

/* The results of a module that are stored as members of its journal entry, in addition to rank, spectrum and note. */
#define MODULE(member, type) ORGAN_STRUCT_FIELD(organ_lora_module, member, type)
static const organ_struct_field extract_recall_fields[] = {
    MODULE(change, EXACT),        MODULE(norm, EXACT),           MODULE(rest, EXACT),
    MODULE(short_of_share, FLAG), MODULE(passes, U32),           MODULE(seconds, EXACT),
    MODULE(outputs, EXACT),       MODULE(outputs_before, EXACT), MODULE(outputs_after, EXACT)};

json_t *organ_lora_module_results(const organ_lora_module *m)
{
    json_t *const spectrum = json_array();
    for (size_t k = 0; k < m->rank; k++)
        json_array_append_new(spectrum, organ_exact_json((double)m->spectrum[k]));
    json_t *const numbers = ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_COUNT("rank", m->rank)), extract_recall_fields, m);
    return organ_json_joined(organ_json_joined(numbers, ORGAN_OBJECT(SET("spectrum", spectrum))),
                             ORGAN_OBJECT(SET_IF(m->note, "note", json_string(m->note))));
}

/* Returns false if the line of the journal lacks a number: the unit is made again. */
static bool recall_numbers(organ_lora_module *m, const json_t *results)
{
    const json_t *const spectrum = json_object_get(results, "spectrum");
    bool known = ORGAN_STRUCT_READ(results, extract_recall_fields, m) && json_array_size(spectrum) == m->rank;
    for (size_t k = 0; k < m->rank && known; k++) {
        double value = 0;
        known = organ_exact_value(json_array_get(spectrum, k), &value);
        m->spectrum[k] = (float)value;
    }
    return known;
}

bool organ_lora_module_recall(organ_lora_module *m, const json_t *results)
{
    const organ_matrices shape = organ_weight_matrices(m->base);
    const json_int_t rank = json_integer_value(json_object_get(results, "rank"));
    const char *const note = json_string_value(json_object_get(results, "note"));
    free(m->spectrum); /* of an earlier line of the journal */
    free(m->note);
    m->rank = rank >= 0 && (uint64_t)rank <= shape.rows && (uint64_t)rank <= shape.cols ? (size_t)rank : 0;
    m->spectrum = organ_floats(m->rank + 1, 1);
    m->note = note ? strdup(note) : NULL;
    if ((json_int_t)m->rank == rank && m->spectrum && (m->note || !note) && recall_numbers(m, results))
        return true;
    free(m->spectrum);
    free(m->note);
    m->spectrum = NULL;
    m->note = NULL;
    m->rank = 0;
    m->change = m->norm = m->rest = 0;
    m->short_of_share = false;
    m->passes = 0;
    return false;
}

/* ---- groups of numbered experts ---- */

/* The numbered experts of a layer are a group. transformers stacks their weights in two parameters, and peft stacks
 * their factors when it loads an adapter, for which all experts of a group must have factors of one rank. */
enum { GATE, UP, DOWN, KINDS };

static unsigned expert_matrix_of(const organ_weight *w)
{
    static const organ_role roles[KINDS] = {ORGAN_ROLE_GATE, ORGAN_ROLE_UP, ORGAN_ROLE_DOWN};
    unsigned kind = 0;
    if (w->rank != 2 || w->anatomy.experts != ORGAN_EXPERTS_ROUTED || w->anatomy.expert < 0)
        return KINDS;
    while (kind < KINDS && w->anatomy.role != roles[kind])
        kind++;
    return kind;
}

static size_t prefix_of(const organ_weight *w)
{
    char number[32];
    const char *found = NULL;
    snprintf(number, sizeof number, ".%d.", (int)w->anatomy.expert);
    for (const char *at = w->name; (at = strstr(at, number)); at++)
        found = at;
    return found ? (size_t)(found - w->name) : 0;
}

static organ_lora_group *find_group(organ_lora_job *job, organ_name_table *table, const organ_weight *w)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    const size_t length = prefix_of(w);
    char *const prefix = organ_arena_copy(&job->names, w->name, length);
    if (!prefix)
        return NULL;
    const size_t *const at = organ_name_table_put(table, prefix, job->group_count);
    if (!at)
        return NULL;
    organ_lora_group *const group = &job->groups[*at];
    if (*at < job->group_count)
        return group;
    const char *const kept =
        organ_module_name(job->base->config.model_type, prefix, name, sizeof name, NULL) ? name : prefix;
    *group = (organ_lora_group){.file = prefix, .name = organ_arena_copy(&job->names, kept, strlen(kept))};
    job->group_count++;
    return group->name ? group : NULL;
}

static organ_status count_experts(organ_lora_job *job, organ_name_table *table, organ_error *error)
{
    const organ_weights *const base = job->base_weights;
    for (size_t k = 0; k < base->count; k++) {
        const unsigned kind = expert_matrix_of(&base->weights[k]);
        organ_lora_group *const group = kind < KINDS ? find_group(job, table, &base->weights[k]) : NULL;
        if (kind < KINDS && !group)
            return organ_fail_memory(error, job->base->path);
        if (group)
            group->experts += kind == DOWN;
    }
    for (size_t k = 0; k < job->module_count; k++) {
        organ_lora_module *const m = &job->modules[k];
        const unsigned kind = expert_matrix_of(m->base);
        organ_lora_group *const group = kind < KINDS ? find_group(job, table, m->base) : NULL;
        if (kind < KINDS && !group)
            return organ_fail_memory(error, job->base->path);
        if (!group)
            continue;
        const size_t rank = organ_lora_max_rank(job, m->base);
        group->differs |= group->rank && group->rank != rank;
        group->rank = rank;
        group->modules[kind]++;
        m->group = group;
        organ_rows_passed();
    }
    return ORGAN_OK;
}

/* The experts of unknown architectures stay modules. peft stacks gate and up only together, and only if the down
 * projections have factors, too. */
organ_status organ_lora_group_experts(organ_lora_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table table = {0};
    size_t weights = 0;
    if (job->base->gguf || (!stacks_experts(job) && !organ_peft_ignores_experts(job->base->config.model_type)))
        return ORGAN_OK;
    for (size_t k = 0; k < job->base_weights->count; k++)
        weights += expert_matrix_of(&job->base_weights->weights[k]) < KINDS;
    if (weights == 0)
        return ORGAN_OK;
    if (!(job->groups = organ_rows_take(weights, sizeof *job->groups)))
        organ_fail_memory(error, job->base->path);
    else
        count_experts(job, &table, error);
    for (size_t k = 0; k < job->group_count; k++) {
        organ_lora_group *const g = &job->groups[k];
        /* a dry run reads no values; another verb (repair_adapter.h) changes all modules that it lists */
        g->changed = job->options->write.dry_run || job->inner;
        g->pairs = g->modules[GATE] > 0;
        g->stacked = !organ_peft_ignores_experts(job->base->config.model_type) && !g->differs && g->experts > 0 &&
                     g->modules[DOWN] == g->experts && g->modules[GATE] == g->modules[UP] &&
                     (!g->pairs || g->modules[GATE] == g->experts);
    }
    return error->status;
}

organ_status organ_lora_find_changed_experts(organ_lora_job *job, organ_error *error)
{
    ORGAN_OWNED char *notes = NULL;
    job->note_target = &notes; /* factorising reads these weights again and reports the notes */
    for (size_t k = 0; k < job->module_count && !error->status; k++) {
        organ_lora_module *const m = &job->modules[k];
        if (m->group && m->group->stacked && !m->group->changed &&
            organ_assignment_is_local(&job->module_assignment, k))
            m->touched = m->group->changed = is_changed(job, m->base, m->tuned, error);
        organ_rows_passed();
    }
    organ_assignment_complete(&job->module_assignment, "comparing experts", &job->modules->touched,
                              sizeof job->modules->touched, sizeof *job->modules, error);
    for (size_t k = 0; k < job->module_count; k++)
        if (job->modules[k].group)
            job->modules[k].group->changed |= job->modules[k].touched;
    return error->status;
}

size_t organ_lora_stored_rank(const organ_lora_module *m)
{
    if (m->group && m->group->stacked && m->group->changed)
        return m->group->rank;
    return m->rank ? m->rank : m->paired;
}
