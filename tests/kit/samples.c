/* SPDX-License-Identifier: MIT */
#include "tests/kit/samples.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t samples_bits(samples *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double samples_uniform(samples *s) { return ((double)(samples_bits(s) >> 12) + 0.5) * 0x1p-52; }

/* Returns ln x for x in (0, 1): x = 2^e m, with the atanh series for ln m. The last bit of libm's log varies between
 * machines; this result does not. */
static double exact_log(double x)
{
    int exponent;
    const double m = frexp(x, &exponent), y = (m - 1) / (m + 1), y2 = y * y;
    double sum = 0, power = y;
    for (int k = 1; k < 60; k += 2, power *= y2)
        sum += power / k;
    return 2 * sum + exponent * 0.69314718055994530942;
}

static double normal(samples *s)
{
    double sum = -6;
    for (int k = 0; k < 12; k++)
        sum += samples_uniform(s);
    return sum;
}

static const char *const shape_names[SAMPLE_SHAPES] = {"uniform", "normal", "laplace", "student t(4)"};

const char *sample_shape_name(enum sample_shape shape) { return shape_names[shape]; }

enum sample_shape sample_shape_named(const char *name)
{
    int shape = 0;
    while (shape < SAMPLE_SHAPES && strcmp(shape_names[shape], name) != 0)
        shape++;
    if (shape == SAMPLE_SHAPES)
        abort();
    return shape;
}

static double sample(samples *s, enum sample_shape shape)
{
    if (shape == UNIFORM)
        return 2 * samples_uniform(s) - 1;
    if (shape == NORMAL)
        return normal(s);
    const double a = exact_log(samples_uniform(s));
    if (shape == LAPLACE)
        return samples_bits(s) & 1 ? a : -a;
    const double chi_squared = -2 * (a + exact_log(samples_uniform(s))); /* 4 degrees of freedom */
    return normal(s) / sqrt(chi_squared / 4);
}

void samples_fill(samples *s, enum sample_shape shape, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        values[k] = (float)sample(s, shape);
}

/* ---- tables of expected results ---- */

static void require(bool holds, const char *path, size_t line, const char *column)
{
    if (holds)
        return;
    fprintf(stderr, "%s: line %zu: the column '%s' is missing or another one, or its value is none of its type\n", path,
            line, column);
    abort();
}

/* Stores the number at the beginning of the text; returns its end, or the text if there is none. */
static char *store_number(char *text, sample_type type, char *to)
{
    char *end = text;
    if (type == SAMPLE_REAL)
        *(double *)to = strtod(text, &end);
    else if (type == SAMPLE_SINGLE)
        *(float *)to = strtof(text, &end);
    else if (type == SAMPLE_INT8)
        *(signed char *)to = (signed char)strtol(text, &end, 0);
    else if (type == SAMPLE_INT)
        *(int *)to = (int)strtol(text, &end, 0);
    else if (type == SAMPLE_UINT8)
        *(unsigned char *)to = (unsigned char)strtoul(text, &end, 0);
    else if (type == SAMPLE_UINT)
        *(unsigned *)to = (unsigned)strtoul(text, &end, 0);
    else
        *(uint64_t *)to = strtoull(text, &end, 0);
    return end;
}

static bool store(char *text, const sample_column *column, char *row)
{
    static const size_t sizes[] = {[SAMPLE_REAL] = 8,  [SAMPLE_SINGLE] = 4, [SAMPLE_INT8] = 1,  [SAMPLE_INT] = 4,
                                   [SAMPLE_UINT8] = 1, [SAMPLE_UINT] = 4,   [SAMPLE_UINT64] = 8};
    char *const to = row + column->at;
    if (column->type == SAMPLE_TEXT)
        return snprintf(to, column->bytes, "%s", text) < (int)column->bytes;
    for (size_t used = 0; *text; used += sizes[column->type]) {
        const bool room = used + sizes[column->type] <= column->bytes;
        char *const end = room ? store_number(text, column->type, to + used) : text;
        if (end == text || (*end && *end != ' '))
            return false;
        text = end + (*end == ' ');
    }
    return true;
}

size_t samples_read(const char *path, const sample_column *columns, void *rows, size_t size, size_t most)
{
    FILE *const in = fopen(path, "r");
    char *line = NULL, *rest;
    size_t room = 0, count = 0;
    require(in, path, 0, columns->name);
    memset(rows, 0, most * size);
    for (; getline(&line, &room, in) > 0; count++) {
        rest = line;
        line[strcspn(line, "\n")] = '\0';
        for (const sample_column *column = columns; column->name; column++) {
            char *const text = strsep(&rest, "\t");
            require(text && count <= most, path, count + 1, column->name);
            require(count ? store(text, column, (char *)rows + (count - 1) * size) : strcmp(text, column->name) == 0,
                    path, count + 1, column->name);
        }
        require(!rest, path, count + 1, rest);
    }
    free(line);
    fclose(in);
    require(count > 1, path, count, columns->name);
    return count - 1;
}
