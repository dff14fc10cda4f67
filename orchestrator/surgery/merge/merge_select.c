/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_parts.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

/* ---- counters ----
 *
 * The first pass of a large tensor has a counter for each code of count_magnitudes. Other passes have two numbers, of
 * candidates with hashes above the window and of those in it, then, unless the tensor is small, counters of the lower
 * bits of magnitudes, then keys. */

#define CODES   ((size_t)1 << 16)
#define SMALL   ((uint64_t)1 << 14) /* elements of a tensor whose keys are all collected in the first pass */
#define LOWER   15                  /* bits of a magnitude that a code does not have */
#define DIGITS  ((size_t)1 << LOWER)
#define NUMBERS ((size_t)2)

enum { ABOVE, INSIDE }; /* the two numbers */

#define HASHES (ORGAN_MERGE_KEYS - 1)

static bool is_small(uint64_t elements) { return elements <= SMALL; }

static size_t place_of_keys(uint64_t elements) { return NUMBERS + (is_small(elements) ? 0 : DIGITS); }

size_t organ_merge_cut_counters(uint64_t elements) { return is_small(elements) ? NUMBERS + (size_t)elements : CODES; }

/* Returns how many keys the counters have room for. */
static size_t room_for_keys(uint64_t elements) { return organ_merge_cut_counters(elements) - place_of_keys(elements); }

static bool counts_codes(const organ_merge_cut *cut, uint64_t elements) { return !cut->most && !is_small(elements); }

void organ_merge_cut_begin(organ_merge_cut *cut, uint64_t wanted, uint64_t elements)
{
    *cut = (organ_merge_cut){.left = wanted};
    if (wanted && wanted < elements)
        return;
    cut->from = wanted ? 0 : UINT64_MAX;
    cut->done = true;
}

static void add_candidate(const organ_merge_cut *cut, uint64_t elements, uint64_t key, uint64_t *counters)
{
    const uint64_t hash = key & HASHES;
    if (cut->least < cut->most)
        counters[NUMBERS + (key >> ORGAN_MERGE_HASH_BITS & (DIGITS - 1))]++;
    counters[ABOVE] += (hash > cut->window_to) & (hash <= cut->upper); /* without a branch: the hash is random */
    if (hash < cut->window_from || hash > cut->window_to)
        return;
    if (counters[INSIDE] < room_for_keys(elements))
        counters[place_of_keys(elements) + counters[INSIDE]] = key;
    counters[INSIDE]++;
}

/* Values that are searched at once. */
#define BLOCK ((size_t)1024)

void organ_merge_cut_count(const organ_merge_cut *cut, const organ_kernels *kernels, uint64_t elements,
                           const float *values, uint64_t first, size_t n, uint64_t *counters)
{
    if (cut->done)
        return;
    if (counts_codes(cut, elements)) {
        kernels->count_magnitudes(values, n, counters);
        return;
    }
    const organ_merge_cut all = {.least = 1, .most = 1, .upper = HASHES, .window_to = HASHES};
    const organ_merge_cut *const of = cut->most ? cut : &all;
    const uint32_t most = cut->most ? cut->most : UINT32_MAX >> 1;
    for (size_t from = 0; from < n; from += BLOCK) {
        uint32_t positions[BLOCK];
        const size_t found =
            kernels->find_magnitudes(values + from, organ_min(n - from, BLOCK), of->least, most, positions);
        for (size_t i = 0; i < found; i++) {
            const size_t at = from + positions[i];
            add_candidate(of, elements, organ_merge_key(values[at], first + at), counters);
        }
    }
}

void organ_merge_cut_join(const organ_merge_cut *cut, uint64_t elements, uint64_t *into, const uint64_t *from)
{
    const size_t keys = place_of_keys(elements), room = room_for_keys(elements);
    const size_t held = (size_t)organ_min(into[INSIDE], (uint64_t)room), more = (size_t)from[INSIDE];
    if (cut->done)
        return;
    const bool codes = counts_codes(cut, elements);
    for (size_t c = 0; c < (codes ? CODES : keys); c++)
        into[c] += from[c];
    if (!codes && more <= room - held)
        memcpy(into + keys + held, from + keys, more * sizeof *into);
}

uint64_t organ_merge_cut_varying(uint64_t elements, const uint64_t *counters)
{
    if (is_small(elements))
        return counters[INSIDE];
    uint64_t zeros = 0;
    for (size_t c = ORGAN_ZERO_CODES; c < CODES; c++)
        zeros += counters[c];
    return elements - zeros;
}

/* ---- the end in memory ---- */

static void swap(uint64_t *keys, size_t a, size_t b)
{
    const uint64_t key = keys[a];
    keys[a] = keys[b];
    keys[b] = key;
}

/* Returns the key that `rank` of n different keys exceed, by Hoare's selection. Reorders the keys. */
static uint64_t select_key(uint64_t *keys, size_t n, size_t rank)
{
    for (size_t first = 0, end = n; end - first > 1;) {
        size_t larger = first;
        swap(keys, first + (end - first) / 2, end - 1);
        for (size_t k = first; k + 1 < end; k++)
            if (keys[k] > keys[end - 1])
                swap(keys, k, larger++);
        swap(keys, larger, end - 1);
        if (rank == larger)
            break;
        first = rank > larger ? larger + 1 : first;
        end = rank < larger ? larger : end;
    }
    return keys[rank];
}

static void end_at(organ_merge_cut *cut, uint64_t from)
{
    cut->from = from;
    cut->done = true;
}

/* Ends at the key that `above` of the collected ones exceed. */
static void end_among_keys(organ_merge_cut *cut, uint64_t elements, uint64_t *counters, uint64_t above)
{
    uint64_t *const keys = counters + place_of_keys(elements);
    end_at(cut, select_key(keys, (size_t)counters[INSIDE], (size_t)above));
}

/* ---- narrowing ---- */

/* Sets the window: all hashes of the candidates if their keys have room, else six deviations on both sides of the place
 * where evenly spread hashes have the cut, in every second try the middle of the hashes. */
static void open_window(organ_merge_cut *cut, uint64_t elements)
{
    const double room = (double)room_for_keys(elements), all = (double)cut->candidates;
    const double span = (double)(cut->upper - cut->lower) + 1, share = (double)cut->left / all;
    cut->window_from = cut->lower;
    cut->window_to = cut->upper;
    if (all <= room)
        return;
    const double middle = cut->tries % 2 ? span / 2 : (1 - share) * span;
    const double half = fmin(6 * sqrt(all * share * (1 - share)) + 16, room / 4) / all * span;
    cut->window_from += (uint64_t)fmin(fmax(middle - half, 0), span - 1);
    cut->window_to = cut->lower + (uint64_t)fmin(fmax(middle + half, 0), span - 1);
}

/* Leaves the candidates with this digit: `left` of their number are above. */
static void take_candidates(organ_merge_cut *cut, uint64_t elements, uint32_t least, uint32_t most, uint64_t number)
{
    cut->candidates = number;
    cut->least = least ? least : 1;
    cut->most = most;
    cut->lower = 0;
    cut->upper = HASHES;
    if (number == cut->left)
        end_at(cut, (uint64_t)cut->least << ORGAN_MERGE_HASH_BITS);
    else
        open_window(cut, elements);
}

/* Returns the digit at the cut, the last of which is `digit`, and leaves in cut->left how many of it are above. */
static uint32_t digit_at(organ_merge_cut *cut, const uint64_t *counters, size_t digit)
{
    while (digit && counters[digit] < cut->left)
        cut->left -= counters[digit--];
    return (uint32_t)digit;
}

/* Ends the first pass. */
static void narrow_to_code(organ_merge_cut *cut, uint64_t elements, uint64_t *counters)
{
    if (cut->left > organ_merge_cut_varying(elements, counters)) {
        end_at(cut, 0);
    } else if (is_small(elements)) {
        end_among_keys(cut, elements, counters, cut->left - 1);
    } else {
        const uint32_t code = digit_at(cut, counters, ORGAN_ZERO_CODES - 1);
        take_candidates(cut, elements, code << LOWER, code << LOWER | (DIGITS - 1), counters[code]);
    }
}

/* Ends a pass after which the magnitude at the cut is known: the cut is above, in or below the window. */
static void narrow_to_window(organ_merge_cut *cut, uint64_t elements, uint64_t *counters)
{
    const uint64_t above = counters[ABOVE], inside = counters[INSIDE];
    if (cut->left <= above) {
        cut->lower = cut->window_to + 1;
        cut->candidates = above;
    } else if (cut->left <= above + inside) {
        if (inside <= room_for_keys(elements)) {
            end_among_keys(cut, elements, counters, cut->left - above - 1);
            return;
        }
        cut->left -= above;
        cut->lower = cut->window_from;
        cut->upper = cut->window_to;
        cut->candidates = inside;
    } else {
        cut->left -= above + inside;
        cut->candidates -= above + inside;
        cut->upper = cut->window_from - 1;
    }
    cut->tries++;
    open_window(cut, elements);
}

void organ_merge_cut_narrow(organ_merge_cut *cut, uint64_t elements, uint64_t *counters)
{
    if (cut->done)
        return;
    if (!cut->most) {
        narrow_to_code(cut, elements, counters);
        return;
    }
    if (cut->least < cut->most) {
        if (counters[INSIDE] == cut->candidates && cut->candidates <= room_for_keys(elements)) {
            end_among_keys(cut, elements, counters, cut->left - 1);
            return;
        }
        const uint64_t candidates = cut->candidates;
        const uint32_t digit = digit_at(cut, counters + NUMBERS, DIGITS - 1);
        const uint32_t magnitude = (cut->most & ~(uint32_t)(DIGITS - 1)) | digit;
        if (counters[NUMBERS + digit] < candidates) {
            take_candidates(cut, elements, magnitude, magnitude, counters[NUMBERS + digit]);
            return;
        }
        cut->least = cut->most = magnitude;
    }
    narrow_to_window(cut, elements, counters);
}
