/* SPDX-License-Identifier: MIT
 * Makes the report of organ layers. */
#include "orchestrator/surgery/layers/layers_job.h"

#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"

#include <stdio.h>
#include <stdlib.h>

/* Options that have no effect in this run are null. */
json_t *organ_layers_parameters(void *context)
{
    const organ_layers_job *const job = context;
    const organ_layers_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES("drop", o->drop),
                        SET_BYTES_OF("calibration", o->calibration.text ? organ_path_name(o->calibration.text) : NULL),
                        SET_COUNT_OF("search_tokens", !job->drop.named, o->search_tokens),
                        SET_COUNT_OF("rounds", !job->drop.named, o->rounds),
                        SET_COUNT_OF("context", o->calibration.text, o->calibration.context), SET_FLAG("heal", o->heal),
                        SET_COUNT_OF("samples", o->heal, o->calibration.samples));
}

static json_t *blocks_text(const bool *dropped, size_t layers)
{
    organ_error ignored = {0};
    organ_text text;
    char *words = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    for (size_t l = 0, last = 0; l < layers; l = last + 1) {
        for (last = l; dropped[l] && last + 1 < layers && dropped[last + 1];)
            last++;
        if (dropped[l])
            fprintf(text.out, last > l ? "%s%zu-%zu" : "%s%zu", ftell(text.out) > 0 ? "," : "", l, last);
    }
    organ_text_finish(&text, &words, &ignored);
    json_t *const made = words ? json_string(words) : NULL;
    free(words);
    return made;
}

static json_t *set_json(const void *context, size_t k)
{
    const organ_layers_job *const job = context;
    const organ_layers_found *const f = &job->choice.found;
    const organ_layers_set *const set = &f->sets[k];
    bool best = false;
    for (size_t step = 0; step < f->steps; step++)
        best |= f->path[step] == k;
    return ORGAN_OBJECT(SET_COUNT("set", k + 1), SET_COUNT("round", set->round),
                        SET("dropped", organ_layers_numbers_json(set->dropped, job->layers)),
                        SET("blocks", blocks_text(set->dropped, job->layers)), SET_REAL("divergence", set->divergence),
                        SET_TEXT("kind", best ? "best so far" : "judged"));
}

/* The path has the sets that were the best when they were judged. */
static json_t *step_json(const void *context, size_t k)
{
    return set_json(context, ((const organ_layers_job *)context)->choice.found.path[k]);
}

static json_t *block_json(const void *context, size_t l)
{
    const organ_layers_job *const job = context;
    return ORGAN_OBJECT(SET_COUNT("layer", l), SET_TEXT("kind", job->kinds.names[l]),
                        SET_REAL("influence", job->choice.known.influence[l]),
                        SET_FLAG("dropped", job->drop.dropped[l]));
}

static json_t *search_json(const organ_layers_job *job)
{
    const organ_layers_choice *const c = &job->choice;
    const organ_layers_found *const f = &c->found;
    if (job->drop.named)
        return json_null();
    json_t *const head = ORGAN_OBJECT(
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(job->options->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(c->identity, "text")))),
        SET_COUNT("windows", c->walk.calibration.samples), SET_COUNT("context", c->walk.calibration.context),
        SET_COUNT("tokens", (json_int_t)c->walk.calibration.samples * c->walk.calibration.context),
        SET_FLAG("done", c->done));
    if (!c->done)
        return head;
    return organ_json_joined(head, ORGAN_OBJECT(SET_COUNT("judged", f->count), SET_COUNT("rounds", f->rounds),
                                                SET_FLAG("whole", f->whole), SET_FLAG("settled", f->locally_optimal),
                                                SET_REAL("divergence", f->sets[f->best].divergence),
                                                SET_REAL("start_divergence", f->sets[0].divergence),
                                                SET("path", organ_json_rows(f->steps, step_json, job)),
                                                SET("blocks", organ_json_rows(job->layers, block_json, job)),
                                                SET("sets", organ_json_rows(f->count, set_json, job))));
}

static json_t *solved_json(const void *context, size_t k)
{
    size_t count;
    const organ_layers_solved *const s =
        &organ_layers_heal_solved(((const organ_layers_job *)context)->heal, &count)[k];
    return ORGAN_OBJECT(SET("layer", s->layer < 0 ? json_null() : json_integer(s->layer)),
                        SET_TEXT("part", organ_layers_kind_name(s->kind)),
                        SET_REAL_OF("lambda", s->kind != ORGAN_HEAL_FINAL, s->lambda), SET_REAL("step", s->step),
                        SET_FLAG("skipped", s->skipped), SET_REAL_OF("times", s->kind == ORGAN_HEAL_FINAL, s->times),
                        SET_REAL("kl", s->after));
}

static json_t *heal_json(const organ_layers_job *job)
{
    size_t count;
    if (!job->heal)
        return json_null();
    const organ_layers_solved *const solved = organ_layers_heal_solved(job->heal, &count);
    const organ_layers_judged judged = organ_layers_heal_judged(job->heal);
    const bool done = !job->options->write.dry_run;
    size_t skipped = 0;
    for (size_t k = 0; k < count; k++)
        skipped += solved[k].skipped;
    return ORGAN_OBJECT(SET_COUNT("judged_tokens", judged.tokens), SET_REAL_OF("kl_before", done, judged.before),
                        SET_REAL_OF("kl", done, judged.after), SET_FLAG("done", done),
                        SET_FLAG("lower", done && judged.after < judged.before), SET_COUNT("skipped", skipped),
                        SET_COUNT("untried", judged.untried),
                        SET("calibration", organ_calibration_run_json(
                                               organ_layers_heal_text(job->heal),
                                               "the whole model's, and that of the cut model with the refits so far")),
                        SET("parts", organ_json_rows(job->options->write.dry_run ? 0 : count, solved_json, job)));
}

static json_t *heal_definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT("heal",
                 "In the block before a gap the output projections of attention and feed-forward are refitted, in "
                 "every block after a gap also the projections that read their inputs, each by least squares with a "
                 "ridge of lambda x the mean of the diagonal, so that the hidden state approximates that of the whole "
                 "model; finally the final norm is multiplied by one factor. The error of the hidden state on windows "
                 "that are then used for the fit too chooses lambda. The KL divergence from the whole model on windows "
                 "that are not used for the fit chooses the share of each solution that is applied; if no share "
                 "lowers the divergence, the weights stay unchanged (step 0). If a norm follows an output projection, "
                 "the equations hold its divisor; a part without such equations is skipped."),
        SET_TEXT("kl", "Mean over the held-out tokens of KL(model || model without these blocks), in nats, with all "
                       "refits so far."));
}

static json_t *layers_definitions_json(const organ_layers_job *job)
{
    json_t *const all =
        ORGAN_OBJECT(SET_TEXT("block", "A layer of the model: attention and feed-forward. Blocks are counted from 0, "
                                       "as in the names of tensors; kept blocks are renumbered and keep their bytes."));
    json_t *const both = job->heal ? organ_json_joined(all, heal_definitions_json()) : all;
    if (job->drop.named)
        return both;
    return organ_json_joined(
        both,
        ORGAN_OBJECT(
            SET_TEXT("influence", "1 - the mean over the tokens of the search of the cosine between the hidden states "
                                  "before and after a block. The search starts with the blocks of least influence."),
            SET_TEXT("divergence", "The mean over the tokens of the search of KL(model || model without these blocks), "
                                   "in nats. The search replaces the best set by a better one that differs in one "
                                   "block; the cost of a block together with others differs from its cost alone.")));
}

static json_t *kinds_json(const organ_layers_job *job, bool known)
{
    json_t *const kinds = known ? organ_layers_kinds_json(&job->kinds, job->drop.dropped) : json_null();
    if (json_array_size(kinds) != 1)
        return kinds;
    json_decref(kinds);
    return json_null();
}

/* In a dry run with a search the dropped blocks are null, because they are not known. */
json_t *organ_layers_document(void *context, const organ_writing *made)
{
    const organ_layers_job *const job = context;
    const bool known = job->drop.named || job->choice.done;
    return organ_json_joined(
        ORGAN_OBJECT(SET_COUNT("layers_before", job->layers), SET_COUNT("layers_dropped", job->drop.count),
                     SET("dropped", known ? organ_layers_numbers_json(job->drop.dropped, job->layers) : json_null()),
                     SET("blocks", known ? blocks_text(job->drop.dropped, job->layers) : json_null()),
                     SET("kinds", kinds_json(job, known)), SET("search", search_json(job)),
                     SET("heal", heal_json(job))),
        organ_json_joined(organ_cut_json(made), ORGAN_OBJECT(SET("definitions", layers_definitions_json(job)))));
}
