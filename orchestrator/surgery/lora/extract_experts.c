/* SPDX-License-Identifier: MIT
 * Groups the numbered experts of a layer. transformers stacks their weights in two parameters, and peft stacks their
 * factors when it loads an adapter, for which all experts of a group must have factors of one rank. */
#include "orchestrator/surgery/lora/extract_job.h"

#include "formats/base/name_table.h"
#include "formats/base/paged_rows.h"
#include "formats/tensor/module_names.h"
#include "formats/architecture/families.h"
#include "orchestrator/surgery/lora/peft_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        const size_t least = (size_t)(m->base->shape[0] < m->base->shape[1] ? m->base->shape[0] : m->base->shape[1]);
        const size_t rank = job->options->rank < least ? job->options->rank : least;
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
    organ_name_table table = {0};
    size_t weights = 0;
    if (job->base->gguf || (!organ_forward_family_named(job->base->config.architecture, false) &&
                            !organ_peft_ignores_experts(job->base->config.model_type)))
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
        g->changed = job->options->write.dry_run; /* a dry run reads no values */
        g->pairs = g->modules[GATE] > 0;
        g->stacked = !organ_peft_ignores_experts(job->base->config.model_type) && !g->differs && g->experts > 0 &&
                     g->modules[DOWN] == g->experts && g->modules[GATE] == g->modules[UP] &&
                     (!g->pairs || g->modules[GATE] == g->experts);
    }
    organ_name_table_release(&table);
    return error->status;
}

organ_status organ_lora_find_changed_experts(organ_lora_job *job, organ_error *error)
{
    char *notes = NULL;
    job->note_target = &notes; /* factorising reads these weights again and reports the notes */
    for (size_t k = 0; k < job->module_count && !error->status; k++) {
        organ_lora_module *const m = &job->modules[k];
        if (m->group && m->group->stacked && !m->group->changed &&
            organ_assignment_is_local(&job->module_assignment, k))
            m->touched = m->group->changed = organ_lora_weight_changed(job, m->base, m->tuned, error);
        organ_rows_passed();
    }
    organ_assignment_complete(&job->module_assignment, "comparing experts", &job->modules->touched,
                              sizeof job->modules->touched, sizeof *job->modules, error);
    for (size_t k = 0; k < job->module_count; k++)
        if (job->modules[k].group)
            job->modules[k].group->changed |= job->modules[k].touched;
    free(notes);
    return error->status;
}

size_t organ_lora_stored_rank(const organ_lora_module *m)
{
    if (m->group && m->group->stacked && m->group->changed)
        return m->group->rank;
    return m->rank ? m->rank : m->paired;
}
