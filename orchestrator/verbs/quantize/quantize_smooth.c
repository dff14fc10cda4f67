/* SPDX-License-Identifier: MIT
 * --smooth: checks its options, and writes the smoothed model alone with --scheme none. */
#include "orchestrator/verbs/quantize/quantize_source.h"

#include "orchestrator/surgery/folds/smooth.h"

#include <organ/base.h>
#include <string.h>

organ_status organ_quantize_smooth_check(const organ_quantize_options *o, organ_error *error)
{
    const bool none = strcmp(o->scheme, "none") == 0, smooths = o->smooth > 0;
    const double range[] = {ORGAN_QUANTIZE_SMOOTHS};
    if (o->smooth != 0 && !(o->smooth >= range[0] && o->smooth <= range[1]))
        return organ_fail(error, ORGAN_USAGE, "`smooth` %g is outside %g .. %g", o->smooth, range[0], range[1]);
    if (o->smooth_scales && !smooths)
        return organ_fail(error, ORGAN_USAGE, "`smooth_scales` has no meaning without `smooth`");
    if (o->smooth_scales && strcmp(o->smooth_scales, "exact") != 0 && strcmp(o->smooth_scales, "any") != 0)
        return organ_fail(error, ORGAN_USAGE, "`smooth_scales` '%s' is unknown: exact or any", o->smooth_scales);
    if (none && !smooths)
        return organ_fail(error, ORGAN_USAGE, "`scheme` none writes a smoothed model: add `smooth` ALPHA");
    if (smooths && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`smooth` needs `calibration.text` FILE, a text on which the inputs are measured");
    const struct {
        bool given;
        const char *option;
    } of_codes[] = {{o->method != NULL, "`method`"},
                    {o->targets != NULL, "`targets`"},
                    {o->format != NULL, "`format`"},
                    {o->moments != NULL, "`moments`"},
                    {o->all_experts, "`all_experts`"},
                    {o->no_refit, "`no_refit`"},
                    {o->repair_rank > 0, "`repair_rank`"},
                    {o->activations, "`activations`"},
                    {o->activation_type != NULL, "`activation_type`"},
                    {o->activation_scale != NULL, "`activation_scale`"},
                    {o->activation_observer != NULL, "`activation_observer`"},
                    {o->kv_cache != NULL, "`kv_cache`"},
                    {o->imatrix != NULL, "`imatrix`"},
                    {o->type_of != NULL, "`type_of`"},
                    {o->target_size != NULL, "`target_size`"},
                    {o->types != NULL, "`types`"},
                    {o->one_width, "`one_width`"},
                    {o->allocate.allocate != NULL, "`allocate.allocate`"}};
    for (size_t k = 0; none && k < sizeof of_codes / sizeof *of_codes; k++)
        if (of_codes[k].given)
            return organ_fail(error, ORGAN_USAGE, "%s has no meaning with scheme none, which quantises nothing",
                              of_codes[k].option);
    return ORGAN_OK;
}

organ_status organ_quantize_smooth_only(const organ_quantize_options *options, const organ_engine *engine,
                                        const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_smooth_options smoothing = organ_quantize_smoothing(options);
    smoothing.write = options->write;
    return organ_smooth(&smoothing, engine, progress, report, error);
}
