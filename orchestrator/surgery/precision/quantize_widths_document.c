/* SPDX-License-Identifier: MIT
 * Mixed widths in the parameters and in the report. */
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/precision/quantize_widths.h"

#include <math.h>

json_t *organ_quantize_widths_parameters(const organ_quantize_options *o)
{
    const organ_allocate_options *const a = &o->allocate;
    return ORGAN_OBJECT(SET_TEXT("allocate", a->allocate), SET_TEXT("budget", a->budget),
                        SET_COUNT("tokens", organ_allocate_tokens(a)), SET_COUNT("layers", organ_allocate_layers(a)),
                        SET_FLAG("one_width", o->one_width), SET_COUNT("rounds", a->rounds));
}

/* If the level leaves the choice unchanged, returns the mean bits of its stored values. */
static double quantize_widths_document_bits_of(const organ_quantize_widths *w, size_t c, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? floor(organ_width_levels[level])
                                      : w->details[c].unchanged_bits / (double)w->choices.tensors[c].elements;
}

static json_t *quantize_widths_document_tensor_json(const void *context, size_t k)
{
    const organ_quantize_widths *const w = context;
    const organ_allocation_tensor *const t = &w->curves.tensors[k];
    const size_t c = w->choice_of_curve[k], chosen = w->chosen[c];
    return ORGAN_OBJECT(
        SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
        SET_COUNT("elements", t->elements), SET_REAL("bits", quantize_widths_document_bits_of(w, c, chosen)),
        SET_REAL("bits_per_weight",
                 w->sizes[c * ORGAN_WIDTH_CHOICES + chosen] / (double)w->choices.tensors[c].elements),
        SET_FLAG("quantised", chosen < ORGAN_WIDTH_LEVELS), SET_REAL("cost", organ_quantize_width_cost(t, chosen)),
        SET_REAL("uniform_cost", organ_quantize_width_cost(t, w->uniform)), SET_FLAG("between", t->between));
}

static json_t *exchanges_json(const organ_quantize_widths *w)
{
    const organ_exchanges_report *const r = &w->exchanged;
    return ORGAN_OBJECT(SET_COUNT("tried", r->tried), SET_COUNT("taken", r->taken), SET_REAL("before", r->before),
                        SET_REAL("after", r->after));
}

json_t *organ_quantize_widths_json(const organ_quantize_widths *w)
{
    const organ_quantize_options *const o = w->job->options;
    size_t measured = 0;
    for (size_t k = 0; k < w->curves.count; k++)
        measured += !w->curves.tensors[k].between;
    return ORGAN_OBJECT(
        SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("budget", o->allocate.budget),
        SET_REAL("bits_per_weight", w->spent / (double)w->targets.elements),
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(w->identity, "text")))),
        SET_COUNT("tokens", w->tokens), SET_COUNT("windows", w->windows), SET_COUNT("tensors_in_all", w->curves.count),
        SET_COUNT("measured", measured), SET_REAL("cost", w->choices.cost),
        SET_REAL("uniform_bits", quantize_widths_document_bits_of(w, 0, w->uniform)),
        SET_REAL("uniform_cost", w->choices.uniform_cost), SET_IF(o->allocate.rounds, "exchanges", exchanges_json(w)),
        SET("tensors", organ_json_rows(w->curves.count, quantize_widths_document_tensor_json, w)));
}
