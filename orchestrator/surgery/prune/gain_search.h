/* SPDX-License-Identifier: MIT
 * Private to surgery/prune: searches the gain of the flow that kills a requested percentage of a tensor's weights. A
 * higher gain kills fewer weights. */
#ifndef ORGAN_GAIN_SEARCH_H
#define ORGAN_GAIN_SEARCH_H

#include <stdbool.h>

/* State of a search. A new search has the first gain to try in `gain`, and is otherwise zero. */
typedef struct organ_gain_search {
    double gain; /* gain to try next */
    /* The bracket: the highest tried gain that kills too many weights, and the lowest that does not, each with the
     * percentage that it killed. Gain 0: none yet. */
    double low, low_rate;
    double high, high_rate;
    double best, best_error; /* the tried gain whose percentage is nearest to the requested one, and the distance in
                              * percentage points */
    unsigned rounds;         /* number of tried gains */
} organ_gain_search;

/* Enters the percentage of weights that search->gain killed. Returns true if the search is over and search->best is the
 * result, false if search->gain is the gain to try next. Uses only IEEE operations, so every machine tries the same
 * gains. */
bool organ_gain_step(organ_gain_search *search, double killed_percent, double requested_percent);

#endif
