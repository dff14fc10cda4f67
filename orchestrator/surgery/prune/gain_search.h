/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: the search for the gain of a tensor that kills a given percentage of its weights. */
#ifndef ORGAN_GAIN_SEARCH_H
#define ORGAN_GAIN_SEARCH_H

#include <stdbool.h>

typedef struct organ_gain_search {
    double gain;             /* to try next */
    double low, low_rate;    /* kills too much; 0: none yet */
    double high, high_rate;  /* kills too little; 0: none yet */
    double best, best_error; /* the tried gain with the smallest error, in percentage points */
    unsigned rounds;
} organ_gain_search;

/* Takes the percentage that `search->gain` killed. Returns true if search->best is the answer, false if search->gain is
 * the next to try. Uses only IEEE operations, so every machine tries the same gains. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double requested_percent);

#endif
