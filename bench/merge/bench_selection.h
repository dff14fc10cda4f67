/* SPDX-License-Identifier: MIT
 * Kernels of bench_kernels.c that select values or round them to codes, and their rows. Included after the macros that
 * their functions use. */
#ifndef BENCH_SELECTION_H
#define BENCH_SELECTION_H

RUN(count_magnitudes)
{
    static uint64_t counts[65536];
    (void)s, k->count_magnitudes(FLOATS(a->in), n, counts);
    keep(counts);
}
/* A few in a thousand magnitudes are in the range, as in the second pass of a merge. */
RUN(find_magnitudes)
{
    static uint32_t positions[CHUNK];
    (void)s;
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t part = n - at < CHUNK ? n - at : CHUNK;
        const size_t found = k->find_magnitudes(FLOATS(a->in) + at, part, 0x3f800000, 0x3f807fff, positions);
        keep(&found);
    }
}
RUN(keep_magnitudes)
{
    static uint32_t positions[CHUNK];
    (void)s;
    CHUNKS(k->keep_magnitudes(values, part, 0x3f800000, 0x40000000, positions))
}
RUN(philox_uniform) { (void)s, k->philox_uniform(1, 2, 0, FLOATS(a->out), n); }
RUN(absolute_sums)
{
    double sums[16] = {0};
    (void)s, k->absolute_sums(FLOATS(a->in), FLOATS(a->in2), n, sums);
    keep(sums);
}
RUN(square_sums)
{
    static double sums[4 * 512];
    (void)s, memset(sums, 0, sizeof sums);
    for (size_t at = 0, rows; at < n / 512; at += rows) {
        rows = n / 512 - at < ORGAN_SQUARE_ROWS ? n / 512 - at : ORGAN_SQUARE_ROWS;
        k->square_sums(FLOATS(a->in) + at * 512, 512, rows, 512, sums);
    }
    keep(sums);
}
RUN(all_finite)
{
    (void)s;
    const bool all = k->all_finite(FLOATS(a->in), n);
    keep(&all);
}
RUN(subtract) { (void)s, k->subtract(FLOATS(a->in), FLOATS(a->in2), n, FLOATS(a->out)); }
/* The vote of one model, as in a merge of a base and a tune. */
RUN(merge_differences)
{
    static const float factors[] = {1, 0.7F};
    const organ_differences d = {.values = FLOATS(a->in),
                                 .count = 1,
                                 .scales = factors,
                                 .weights = factors + 1,
                                 .vote = true,
                                 .normalize = true,
                                 .lambda = 1};
    (void)s, k->merge_differences(&d, FLOATS(a->in2), n, FLOATS(a->out));
}
RUN(round)
{
    static const organ_rounding rounding = {
        .from = ORGAN_ROUNDING_REAL, .group = 32, .low = -6, .high = 6, .peak = 6, .factor = 1};
    MEMBER(void(const organ_rounding *, const float *, float *, size_t));
    member(&rounding, FLOATS(a->in), FLOATS(a->out), n);
}

#define BENCH_SELECTION(PLAIN, TWO)                                                                                    \
    PLAIN(round_integers, 4, 4, run_round), PLAIN(round_e4m3, 4, 4, run_round), PLAIN(round_e2m1, 4, 4, run_round),    \
        PLAIN(count_magnitudes, 4, 0, run_count_magnitudes), PLAIN(find_magnitudes, 4, 0, run_find_magnitudes),        \
        PLAIN(keep_magnitudes, 4, 4, run_keep_magnitudes), PLAIN(philox_uniform, 0, 4, run_philox_uniform),            \
        TWO(absolute_sums, 8, 0, run_absolute_sums), PLAIN(all_finite, 4, 0, run_all_finite),                          \
        PLAIN(square_sums, 4, 0, run_square_sums), TWO(subtract, 8, 4, run_subtract),                                  \
        TWO(merge_differences, 8, 4, run_merge_differences),

#endif
