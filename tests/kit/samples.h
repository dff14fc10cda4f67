/* SPDX-License-Identifier: MIT
 * Values for tests and benchmarks. Seeded samples use only exact operations and IEEE square roots, so the bits are the
 * same on every machine. Expected results are in tables that the scripts of fixtures/ write. */
#ifndef ORGAN_TESTS_SAMPLES_H
#define ORGAN_TESTS_SAMPLES_H
#include <stddef.h>
#include <stdint.h>

typedef struct samples {
    uint64_t state;
} samples;

uint64_t samples_bits(samples *s);  /* splitmix64 */
double samples_uniform(samples *s); /* in (0, 1) */

enum sample_shape { UNIFORM, NORMAL, LAPLACE, STUDENT_T4, SAMPLE_SHAPES };
const char *sample_shape_name(enum sample_shape shape);
enum sample_shape sample_shape_named(const char *name);
/* Fills n values of that distribution, with a scale of about 1. NORMAL is the sum of 12 uniforms. */
void samples_fill(samples *s, enum sample_shape shape, float *values, size_t n);

/* ---- tables of expected results ---- */

typedef enum sample_type {
    SAMPLE_TEXT,
    SAMPLE_REAL,
    SAMPLE_SINGLE,
    SAMPLE_INT8,
    SAMPLE_INT,
    SAMPLE_UINT8,
    SAMPLE_UINT,
    SAMPLE_UINT64
} sample_type;

/* A column of a table, which is a member of a row: a number, an array of numbers or an array of characters. */
typedef struct sample_column {
    const char *name;
    size_t at, bytes; /* of the member */
    sample_type type;
} sample_column;

#define SAMPLE_TYPE(value)                                                                                             \
    _Generic((value), char *                                                                                           \
             : SAMPLE_TEXT, double                                                                                     \
             : SAMPLE_REAL, double *                                                                                   \
             : SAMPLE_REAL, float                                                                                      \
             : SAMPLE_SINGLE, signed char *                                                                            \
             : SAMPLE_INT8, int                                                                                        \
             : SAMPLE_INT, unsigned char *                                                                             \
             : SAMPLE_UINT8, unsigned                                                                                  \
             : SAMPLE_UINT, unsigned *                                                                                 \
             : SAMPLE_UINT, unsigned long                                                                              \
             : SAMPLE_UINT64, unsigned long *                                                                          \
             : SAMPLE_UINT64)
#define SAMPLE_COLUMN(row, member)                                                                                     \
    {                                                                                                                  \
#member, offsetof(row, member), sizeof(((row *)0)->member), SAMPLE_TYPE(((row *)0)->member)                    \
    }

/* Reads a table into at most `most` rows of `size` bytes, whose other bytes become 0, and returns their number. The
 * first line names the columns; tabs divide columns, blanks the numbers of an array, which may be fewer than it has
 * room for. `columns` ends with a column without a name. The process ends if the table is another one. */
size_t samples_read(const char *path, const sample_column *columns, void *rows, size_t size, size_t most);
/* The same for an array of rows. */
#define SAMPLES_READ(path, columns, rows)                                                                              \
    samples_read(path, columns, rows, sizeof *(rows), sizeof(rows) / sizeof *(rows))

#endif
