/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: searches the gain of the flow that kills a requested percentage of a tensor's weights. A
 * higher gain kills fewer weights. */
#ifndef ORGAN_GAIN_SEARCH_H
#define ORGAN_GAIN_SEARCH_H

#include <stdbool.h>

/* All zero except `gain`, the first gain to try, is a new search. */
typedef struct organ_gain_search {
    double gain; /* gain to try next */
    /* Highest tried gain that kills too many weights and the percentage that it killed; 0: none yet. */
    double low, low_rate;
    double high, high_rate;  /* lowest tried gain that does not kill too many, and its percentage; 0: none yet */
    double best, best_error; /* the tried gain with the smallest error, in percentage points */
    unsigned rounds;         /* gains tried */
} organ_gain_search;

/* Enters the percentage of weights that search->gain killed. Returns true if the search is over and search->best is the
 * result, false if search->gain is the gain to try next. Uses only IEEE operations, so every machine tries the same
 * gains. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double requested_percent);

#endif
