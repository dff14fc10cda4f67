/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/gain_search.h"

#include <math.h>

#define TOLERANCE   0.1     /* percentage points */
#define LEAST_GAIN  0x1p-30 /* kills everything */
#define MOST_GAIN   0x1p30  /* kills almost nothing; the squared flow stays finite */
#define MOST_ROUNDS 64

static void remember(organ_gain_search *s, double rate, double wanted)
{
    const double off = fabs(rate - wanted);
    if (s->rounds++ == 0 || off < s->best_error) {
        s->best = s->gain;
        s->best_error = off;
    }
    if (rate > wanted) {
        s->low = s->gain;
        s->low_rate = rate;
    } else {
        s->high = s->gain;
        s->high_rate = rate;
    }
}

bool organ_gain_step(organ_gain_search *s, double rate, double wanted)
{
    remember(s, rate, wanted);
    if (s->best_error <= TOLERANCE || s->rounds == MOST_ROUNDS)
        return true;
    const double tried = s->gain;
    if (s->high == 0.0)
        s->gain = s->low * 4.0;
    else if (s->low == 0.0)
        s->gain = s->high / 4.0;
    else {
        /* Linear interpolation between both ends, kept away from them because the curve is not linear. */
        double share = (s->low_rate - wanted) / (s->low_rate - s->high_rate);
        if (share < 0.1)
            share = 0.1;
        else if (share > 0.9)
            share = 0.9;
        s->gain = (double)(float)(s->low + (s->high - s->low) * share);
    }
    return s->gain < LEAST_GAIN || s->gain > MOST_GAIN || s->gain == tried || s->gain == s->low || s->gain == s->high;
}
