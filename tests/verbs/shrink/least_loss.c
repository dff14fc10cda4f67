/* SPDX-License-Identifier: MIT */
#include "tests/verbs/shrink/least_loss.h"

#include "orchestrator/verbs/shrink/width_parts.h"

#include <math.h>
#include <string.h>

void sums_add(sums *s, float weight, const float *inner)
{
    for (size_t a = 0; a < WIDTH; a++)
        for (size_t b = 0; b < WIDTH; b++)
            s->h[a][b] += (double)weight * (double)weight * (double)inner[a] * (double)inner[b];
    s->tokens++;
}

void sums_end(sums *s)
{
    double mean = 0;
    for (size_t a = 0; a < WIDTH; a++)
        for (size_t b = 0; b < WIDTH; b++)
            s->h[a][b] /= s->tokens ? (double)s->tokens : 1;
    for (size_t a = 0; a < WIDTH; a++)
        mean += s->h[a][a] / WIDTH;
    for (size_t a = 0; a < WIDTH; a++)
        s->h[a][a] += ORGAN_NARROW_DAMPING * mean;
}

/* Solves a x = b for n unknowns by elimination with pivoting; b becomes x. */
static void solve(double a[WIDTH][WIDTH], double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            best = fabs(a[i][k]) > fabs(a[best][k]) ? i : best;
        for (size_t j = 0; j < n; j++) {
            const double other = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = other;
        }
        const double other = b[k];
        b[k] = b[best];
        b[best] = other;
        for (size_t i = 0; i < n; i++) {
            const double factor = i == k ? 0 : a[i][k] / a[k][k];
            for (size_t j = k; j < n && factor != 0; j++)
                a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    }
    for (size_t k = 0; k < n; k++)
        b[k] /= a[k][k];
}

double least_loss(const sums *s, const float *w, const bool *kept, double (*v)[WIDTH])
{
    double loss = 0;
    for (size_t r = 0; r < HIDDEN; r++) {
        double a[WIDTH][WIDTH], b[WIDTH], missing[WIDTH];
        size_t n = 0;
        for (size_t i = 0; i < WIDTH; i++) {
            if (!kept[i])
                continue;
            size_t m = 0;
            b[n] = 0;
            for (size_t j = 0; j < WIDTH; j++) {
                b[n] += s->h[i][j] * (double)w[r * WIDTH + j];
                if (kept[j])
                    a[n][m++] = s->h[i][j];
            }
            n++;
        }
        solve(a, b, n);
        for (size_t i = 0, at = 0; i < WIDTH; i++) {
            const double value = kept[i] ? b[at++] : 0;
            missing[i] = (double)w[r * WIDTH + i] - value;
            if (v)
                v[r][i] = value;
        }
        for (size_t i = 0; i < WIDTH; i++)
            for (size_t j = 0; j < WIDTH; j++)
                loss += missing[i] * s->h[i][j] * missing[j];
    }
    return loss;
}

double greedy_loss(const sums *s, const float *w)
{
    bool kept[WIDTH];
    double last = 0;
    memset(kept, true, sizeof kept);
    for (size_t left = WIDTH; left > KEPT; left--) {
        size_t best = WIDTH;
        for (size_t c = 0; c < WIDTH; c++) {
            if (!kept[c])
                continue;
            kept[c] = false;
            const double loss = least_loss(s, w, kept, NULL);
            kept[c] = true;
            if (best == WIDTH || loss < last) {
                best = c;
                last = loss;
            }
        }
        kept[best] = false;
    }
    return last;
}
