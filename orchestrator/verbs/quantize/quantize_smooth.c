/* SPDX-License-Identifier: MIT
 * --smooth: its options, and their checks. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "orchestrator/surgery/folds/smooth.h"

#include <organ/base.h>
#include <string.h>

/* Groups and bits of scheme mixed are those of its most frequent width; scheme none stands for int8-channel. */
static organ_smooth_rounding rounding_of(const organ_quantize_options *o)
{
    const bool none = strcmp(o->scheme, "none") == 0;
    organ_quantize_options usual = *o;
    usual.scheme = none ? "int8-channel" : o->scheme;
    const char *const widths = strcmp(o->scheme, "mixed") == 0 ? "int4-group128" : usual.scheme;
    const organ_encoding *const encoding = organ_encoding_for(widths, o->format ? ORGAN_KIND_MLX : ORGAN_KIND_TENSORS);
    const organ_quantize_inputs *const inputs = organ_quantize_inputs_wanted(&usual);
    const bool whole = encoding && encoding->grid.bits && !organ_encoding_is_fp4(encoding);
    const bool channels = !whole || encoding->grid.scale_of == ORGAN_SCALE_CHANNEL;
    return (organ_smooth_rounding){.weight_levels = whole ? (double)organ_grid_max(&encoding->grid) : 0,
                                   .input_levels = inputs && inputs->rounding.codes == ORGAN_INPUTS_INT8 ? 127 : 0,
                                   .group = channels ? 0 : encoding->grid.size,
                                   .fixed = inputs && inputs->rounding.span == ORGAN_INPUTS_TENSOR};
}

organ_smooth_options organ_quantize_smoothing(const organ_quantize_options *o)
{
    return (organ_smooth_options){.model = o->model,
                                  .alpha = o->smooth.alpha,
                                  .rounding = rounding_of(o),
                                  .reals = o->smooth.factors && strcmp(o->smooth.factors, "any") == 0,
                                  .calibration = o->calibration,
                                  .write = o->write};
}

/* Codes that are floating-point numbers have errors in proportion to the values, whatever the scale. */
static organ_status check_automatic(const organ_quantize_options *o, organ_error *error)
{
    const organ_smooth_rounding rounding = rounding_of(o);
    if (o->smooth.alpha != ORGAN_SMOOTH_AUTO || rounding.weight_levels > 0 || rounding.input_levels > 0)
        return ORGAN_OK;
    return organ_fail(
        error, ORGAN_USAGE,
        "`smooth.alpha` auto has no meaning with scheme %s: the errors of its floating-point codes hardly depend "
        "on the scales of channels; use int8-channel or groups of integers, or give ALPHA",
        o->scheme);
}

organ_status organ_quantize_smooth_check(const organ_quantize_options *o, organ_error *error)
{
    const bool none = strcmp(o->scheme, "none") == 0, smooths = o->smooth.alpha != 0;
    const double range[] = {ORGAN_QUANTIZE_SMOOTHS};
    if (smooths && o->smooth.alpha != ORGAN_SMOOTH_AUTO &&
        !(o->smooth.alpha >= range[0] && o->smooth.alpha <= range[1]))
        return organ_fail(error, ORGAN_USAGE, "`smooth.alpha` %g is outside %g .. %g, and not auto", o->smooth.alpha,
                          range[0], range[1]);
    if (o->smooth.factors && strcmp(o->smooth.factors, "exact") != 0 && strcmp(o->smooth.factors, "any") != 0)
        return organ_fail(error, ORGAN_USAGE, "`smooth.factors` '%s' is unknown: exact or any", o->smooth.factors);
    if (none && !smooths)
        return organ_fail(error, ORGAN_USAGE, "`scheme` none writes a smoothed model: add `smooth.alpha` auto");
    if (smooths && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`smooth.alpha` needs `calibration.text` FILE, a text on which the inputs are measured");
    return check_automatic(o, error);
}
