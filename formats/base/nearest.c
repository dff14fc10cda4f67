/* SPDX-License-Identifier: MIT */
#include "formats/base/nearest.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 96 }; /* bytes: longer words are similar to none */

static size_t smallest_of_three(size_t a, size_t b, size_t c)
{
    const size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* This is the Damerau-Levenshtein distance, the least number of steps that turn one word into the other. A step
 * inserts, deletes or replaces a byte, or swaps two neighbouring bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    uint8_t rows[LONGEST_WORD + 1][LONGEST_WORD + 1]; /* [i][j]: distance of a's first i and b's first j bytes */
    const size_t m = strlen(a), n = strlen(b);
    for (size_t i = 0; i <= m; i++)
        for (size_t j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                rows[i][j] = (uint8_t)(i + j);
                continue;
            }
            rows[i][j] = (uint8_t)smallest_of_three(rows[i - 1][j] + 1u, rows[i][j - 1] + 1u,
                                                    rows[i - 1][j - 1] + (a[i - 1] != b[j - 1] ? 1u : 0u));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && rows[i - 2][j - 2] + 1 < rows[i][j])
                rows[i][j] = (uint8_t)(rows[i - 2][j - 2] + 1);
        }
    return rows[m][n];
}

const char *organ_nearest(const char *typed, const char *const *names, size_t count)
{
    const size_t length = strlen(typed);
    const char *nearest = NULL;
    size_t best = length / 3 + 2; /* a name with this many edits is another word */
    if (length == 0 || length > LONGEST_WORD)
        return NULL;
    for (size_t k = 0; k < count; k++) {
        if (strlen(names[k]) > LONGEST_WORD)
            continue;
        const size_t away = length >= 3 && strncmp(names[k], typed, length) == 0 ? 1 : edit_distance(typed, names[k]);
        if (away < best && away < length) {
            best = away;
            nearest = names[k];
        }
    }
    return nearest;
}

const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM])
{
    const char *const nearest = organ_nearest(typed, names, count);
    *hint = '\0';
    if (nearest)
        snprintf(hint, ORGAN_HINT_ROOM, "; did you mean '%s%s'?", before, nearest);
    return hint;
}
