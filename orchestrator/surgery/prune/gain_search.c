/* SPDX-License-Identifier: MIT
 * Search for the gain that kills a requested percentage: bracket, then interpolation. */
#include "orchestrator/surgery/prune/gain_search.h"

#include <math.h>

#define TOLERANCE  0.1     /* the search ends at this distance from the requested percentage, in percentage points */
#define MIN_GAIN   0x1p-30 /* kills everything */
#define MAX_GAIN   0x1p30  /* removes almost no weight; the squared flow stays finite */
#define MAX_ROUNDS 64      /* greatest number of tried gains */

/* Records that the gain s->gain killed `rate` percent; `target_rate` is the requested percentage. The gain becomes
 * s->best if its rate is the nearest to target_rate so far. It becomes the lower end of the bracket if it killed too
 * many weights, else the upper end. */
static void record_gain(organ_gain_search *s, double rate, double target_rate)
{
    const double error = fabs(rate - target_rate);
    if (s->rounds++ == 0 || error < s->best_error) {
        s->best = s->gain;
        s->best_error = error;
    }
    if (rate > target_rate) {
        s->low = s->gain;
        s->low_rate = rate;
    } else {
        s->high = s->gain;
        s->high_rate = rate;
    }
}

/* Records that s->gain killed `rate` percent, and chooses the next gain to try. Returns true if the search is over.
 *
 * Multiplies or divides the gain by 4 until the bracket has two ends, then interpolates linearly between the ends. The
 * search is over if the best rate is within TOLERANCE of target_rate, after MAX_ROUNDS, or if the next gain is out of
 * range or was tried already. A gain can be tried already because gains are FP32 values: there may be no other between
 * the ends.
 */
bool organ_gain_step(organ_gain_search *s, double rate, double target_rate)
{
    record_gain(s, rate, target_rate);
    if (s->best_error <= TOLERANCE || s->rounds == MAX_ROUNDS)
        return true;
    const double tried = s->gain;
    if (s->high == 0.0)
        s->gain = s->low * 4.0;
    else if (s->low == 0.0)
        s->gain = s->high / 4.0;
    else {
        /* Linear interpolation, but not nearer than a tenth of the bracket to its ends: the rate is not linear in the
         * gain, so the bracket would shrink slowly. */
        double share = (s->low_rate - target_rate) / (s->low_rate - s->high_rate);
        if (share < 0.1)
            share = 0.1;
        else if (share > 0.9)
            share = 0.9;
        s->gain = (double)(float)(s->low + (s->high - s->low) * share);
    }
    return s->gain < MIN_GAIN || s->gain > MAX_GAIN || s->gain == tried || s->gain == s->low || s->gain == s->high;
}
