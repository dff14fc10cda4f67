/* SPDX-License-Identifier: MIT
 * Cores by their constructions: Paley's first and second [Paley 1933], Williamson's [Williamson 1944], and the product
 * of two. Rows and signs are arranged as in the matrices of AutoRound 0.16, which tests compare. */
#include "formats/base/hadamard.h"

/* ---- Paley ---- */

/* The quadratic character of k modulo the prime q: 1 for squares, -1 for other numbers, 0 for 0. */
static double character(uint64_t k, uint64_t q)
{
    for (uint64_t root = 1; root < q; root++)
        if (root * root % q == k % q)
            return k % q ? 1 : 0;
    return k % q ? -1 : 0;
}

/* Paley's first construction, of order q + 1: [1, -1 ...; 1 ..., I - Q], where Q[i][j] is the character of j - i. */
static void first_paley(uint64_t order, double *core)
{
    const uint64_t q = order - 1;
    for (uint64_t i = 0; i < order; i++)
        for (uint64_t j = 0; j < order; j++) {
            double *const value = &core[i * order + j];
            if (i == 0 || j == 0)
                *value = i == 0 && j > 0 ? -1 : 1;
            else
                *value = i == j ? 1 : -character(q + j - i, q);
        }
}

/* The symmetric conference matrix of order q + 1. */
static double conference(uint64_t i, uint64_t j, uint64_t q)
{
    if (i == 0 || j == 0)
        return i == j ? 0 : 1;
    return character(q + j - i, q);
}

/* Paley's second construction, of order 2 (q + 1): [S + I, S - I; S - I, -S - I] with the conference matrix S. */
static void second_paley(uint64_t order, double *core)
{
    const uint64_t n = order / 2;
    for (uint64_t i = 0; i < order; i++)
        for (uint64_t j = 0; j < order; j++) {
            const double s = conference(i % n, j % n, n - 1), one = i % n == j % n;
            if (i >= n && j >= n)
                core[i * order + j] = -s - one;
            else
                core[i * order + j] = i < n && j < n ? s + one : s - one;
        }
}

/* ---- Williamson ---- */

/* First rows of the symmetric circulant blocks A, B, C and D, up to their middle. */
static const struct blocks {
    uint64_t order;
    const char *rows[4];
} williamson[] = {
    {52, {"+-+--++", "+---+++", "++-+--+", "+----+-"}},
    {156, {"+++--+-+-----+--++--", "++++---+--++----+-+-", "+++--++-+---+-+--+--", "+---++-+-+-----+++-+"}},
    {172, {"+---++--++++-+-+++-++-", "++-++++++----+-+--++-+", "+++-+-++--+-+-++++-+--", "++---++++-+--+--++----"}},
};

/* [A, B, C, D; -B, A, -D, C; -C, D, A, -B; -D, -C, B, A] */
static void fill_williamson(const struct blocks *blocks, double *core)
{
    static const signed char block_of[4][4] = {{1, 2, 3, 4}, {-2, 1, -4, 3}, {-3, 4, 1, -2}, {-4, -3, 2, 1}};
    const uint64_t order = blocks->order, n = order / 4;
    for (uint64_t i = 0; i < order; i++)
        for (uint64_t j = 0; j < order; j++) {
            const int block = block_of[i / n][j / n], number = block < 0 ? -block : block;
            const uint64_t apart = (n + j % n - i % n) % n, at = apart < n - apart ? apart : n - apart;
            const double sign = blocks->rows[number - 1][at] == '+' ? 1 : -1;
            core[i * order + j] = block < 0 ? -sign : sign;
        }
}

/* ---- all cores ---- */

uint64_t organ_hadamard_order(uint64_t size)
{
    static const uint64_t orders[] = {172, 156, 140, 108, 60, 52, 40, 36, 28, 20, 12};
    if (organ_is_power_of_two(size))
        return 1;
    for (size_t k = 0; size > 0 && k < sizeof orders / sizeof *orders; k++)
        if (size % orders[k] == 0 && organ_is_power_of_two(size / orders[k]))
            return orders[k];
    return 0;
}

/* The core of 40 is that of 20, doubled as Sylvester does: [P, P; P, -P]. */
static void fill_doubled(double *core)
{
    double half[20 * 20];
    first_paley(20, half);
    for (uint64_t i = 0; i < 40; i++)
        for (uint64_t j = 0; j < 40; j++)
            core[i * 40 + j] = (i >= 20 && j >= 20 ? -1 : 1) * half[i % 20 * 20 + j % 20];
}

void organ_hadamard_core(uint64_t order, double *core)
{
    for (size_t k = 0; k < sizeof williamson / sizeof *williamson; k++)
        if (williamson[k].order == order) {
            fill_williamson(&williamson[k], core);
            return;
        }
    if (order == 1)
        *core = 1;
    else if (order == 40)
        fill_doubled(core);
    else if (order == 28 || order == 36)
        second_paley(order, core);
    else
        first_paley(order, core);
}

void organ_hadamard_sums(double *x, size_t count, size_t n, size_t width)
{
    for (size_t half = width; half < n * width; half *= 2)
        for (size_t at = 0; at < count * n * width; at += 2 * half)
            for (size_t k = at; k < at + half; k++) {
                const double a = x[k], b = x[k + half];
                x[k] = a + b;
                x[k + half] = a - b;
            }
}
