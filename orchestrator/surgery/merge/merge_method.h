/* SPDX-License-Identifier: MIT
 * The table of methods of `organ merge`. A method computes one tensor of the output from the same tensor of several
 * models. It is a state machine over strips, which are whole rows of the tensor in the layout of Hugging Face:
 *
 *   begin                        once
 *   for pass = 0, 1, ...         while there is a `scan` and `next` asks for another pass
 *     scan(strip)                any worker, in any order: sums and counters of the strip
 *     fold(sums of the strip)    in the order of the strips, on one thread at a time
 *     next(counters)             once
 *   apply(strip)                 any worker, in any order: the values of the output
 *
 * The shape of a tensor alone decides its strips, so results have the same bits with any number of threads and ranks.
 * Every value is decoded to FP32; the driver (merge_walk.h) refuses NaN and infinity, and rounds the values of `apply`
 * once to the type of the output. Functions of a method may not fail for the values of a tensor, except `next`. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_METHOD_H
#define ORGAN_SURGERY_MERGE_MERGE_METHOD_H

#include "orchestrator/surgery/merge/merge_input.h"

#include <organ/merge_methods.h>

/* The way in which a method uses the base model of the recipe. */
typedef enum organ_merge_base {
    ORGAN_MERGE_BASE_INPUT,    /* an input as any other, at its place in the recipe: strip.base is NULL */
    ORGAN_MERGE_BASE_OPTIONAL, /* strip.base, if the recipe names one; not counted among the inputs */
    ORGAN_MERGE_BASE_REQUIRED  /* strip.base; not counted among the inputs */
} organ_merge_base;

typedef enum organ_merge_kind { ORGAN_MERGE_REAL, ORGAN_MERGE_WHOLE, ORGAN_MERGE_FLAG } organ_merge_kind;

/* A parameter of a method, a key of `parameters` in a recipe. */
typedef struct organ_merge_parameter {
    const char *name; /* "weight"; the same name has the same kind and meaning in each method that has it */
    organ_merge_kind kind;
    bool per_input;     /* each input has a value of its own */
    bool required;      /* `fallback` is not used */
    double fallback;    /* the default; flags are 0 or 1 */
    double least, most; /* allowed values; most may be INFINITY. NaN and infinite values are never allowed */
    const char *about;  /* one line for the help */
} organ_merge_parameter;

/* Rows of a table of parameters. SWITCH: a flag of the merge. NUMBER: a number of the merge. FACTOR: a number of each
 * model, which a recipe must give. SHARE: a number of each model from 0 to 1. */
#define ORGAN_MERGE_SWITCH(NAME, FALLBACK, ABOUT)                                                                      \
    {                                                                                                                  \
        .name = (NAME), .kind = ORGAN_MERGE_FLAG, .fallback = (FALLBACK), .most = 1, .about = (ABOUT)                  \
    }
#define ORGAN_MERGE_NUMBER(NAME, FALLBACK, LEAST, MOST, ABOUT)                                                         \
    {                                                                                                                  \
        .name = (NAME), .fallback = (FALLBACK), .least = (LEAST), .most = (MOST), .about = (ABOUT)                     \
    }
#define ORGAN_MERGE_FACTOR(NAME, ABOUT)                                                                                \
    {                                                                                                                  \
        .name = (NAME), .per_input = true, .required = true, .least = -INFINITY, .most = INFINITY, .about = (ABOUT)    \
    }
#define ORGAN_MERGE_SHARE(NAME, FALLBACK, ABOUT)                                                                       \
    {                                                                                                                  \
        .name = (NAME), .per_input = true, .fallback = (FALLBACK), .most = 1, .about = (ABOUT)                         \
    }

/* Most inputs of a tensor. */
#define ORGAN_MERGE_INPUTS 64

/* One tensor of the output, as a method sees it. */
typedef struct organ_merge_task {
    const struct organ_merge_method *method;
    const char *name;         /* of the tensor, in the naming of Hugging Face */
    organ_matrices shape;     /* rows and columns of each of `count` matrices; a vector is one row */
    unsigned rank;            /* dimensions of the tensor */
    size_t inputs;            /* number of inputs, without the base if that is apart */
    bool base;                /* strips have a base */
    const char *const *donor; /* for each input a key of its model, for random numbers */
    uint64_t seed;            /* --seed */
    const double *values;     /* read them with organ_merge_value */
    /* moments: for each input the factor of each row; the factors of a row add up to 1. NULL: those of the weights */
    const float *const *row_factors;
    const organ_kernels *kernels;
} organ_merge_task;

/* Returns the value of parameter number `parameter` of the method's list for an input. For a parameter that is not per
 * input, `input` is 0. */
static inline double organ_merge_value(const organ_merge_task *task, size_t parameter, size_t input)
{
    return task->values[parameter * (task->inputs ? task->inputs : 1) + input];
}

/* Returns the number of elements of the tensor. */
static inline uint64_t organ_merge_elements(const organ_merge_task *task)
{
    return task->shape.count * task->shape.rows * task->shape.cols;
}

/* Consecutive rows of one matrix. Arrays have rows x cols values each, are 64-byte aligned and do not overlap. A pass
 * without sums may divide strips. */
typedef struct organ_merge_strip {
    uint64_t first;            /* first row, counted over all matrices: element 0 is number first * cols */
    size_t rows, cols;         /* never 0 */
    const float *base;         /* NULL: none */
    const float *const *input; /* one for each input, in order of the recipe: `base` itself for one that equals it */
    void *scratch;             /* `scratch` bytes of the worker, 64-byte aligned, not cleared */
} organ_merge_strip;

/* Members without a comment "may be NULL" are set. */
typedef struct organ_merge_method {
    const char *name;  /* "dare_ties" */
    const char *about; /* one line for the help */
    organ_merge_base base;
    /* Number of inputs, without a base that is apart; most 0: any number. Of a tensor that some models lack there may
     * be fewer than `least` (--missing): the driver then takes the base's, else that of the first model that has it. */
    size_t least, most;
    const organ_merge_parameter *parameters;
    size_t parameter_count;
    const void *kind; /* for functions that several methods share. May be NULL */
    bool skips_equal; /* a tensor needs no pass if all its inputs equal the base */
    /* Checks parameters in combination, for example that the weights do not add up to 0. No values are read yet. The
     * message begins with the name of the parameter; the driver adds the tensor. Returns ORGAN_BAD_INPUT. May be
     * NULL. */
    organ_status (*check)(const organ_merge_task *task, organ_error *error);
    /* Bytes of the state of a tensor, of scratch memory for each worker (`rows`: of its longest strip), and numbers of
     * sums of each strip and of counters of each worker in a pass. NULL: 0. A tensor without sums and
     * counters has no pass. */
    size_t (*state)(const organ_merge_task *task);
    size_t (*scratch)(const organ_merge_task *task, size_t rows);
    size_t (*sums)(const organ_merge_task *task);
    size_t (*counters)(const organ_merge_task *task);
    /* The state is 64-byte aligned and zeroed before `begin`, which may be NULL. */
    void (*begin)(const organ_merge_task *task, void *state);
    /* Reads a strip. `sums` is zeroed; `counters` are those of a worker, zeroed at the start of each pass, to which the
     * strip is added. NULL: the method needs no pass before `apply`; then `fold` and `next` are NULL. */
    void (*scan)(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                 double *sums, uint64_t *counters);
    /* Adds the sums of a strip to the state; called in the order of the strips. No `scan` of the pass reads what `fold`
     * writes. May be NULL if `sums` is. */
    void (*fold)(const organ_merge_task *task, void *state, unsigned pass, const double *sums);
    /* Adds the counters of another worker to those of the first. NULL: adds each to its like. */
    void (*join)(const organ_merge_task *task, const void *state, unsigned pass, uint64_t *into, const uint64_t *from);
    /* Ends a pass: `counters` are those of all workers together, and may be changed. Sets *again if there is another
     * pass. Returns ORGAN_BAD_INPUT if the tensors cannot be merged in this way; the driver adds the tensor to the
     * message. */
    organ_status (*next)(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters, bool *again,
                         organ_error *error);
    /* Computes a strip of the output. `out` does not overlap the strip. */
    void (*apply)(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out);
} organ_merge_method;

/* Returns the methods, `*count` of them, in the order of the documentation. */
const organ_merge_method *const *organ_merge_methods(size_t *count);

/* Returns the method of that name, or NULL. */
const organ_merge_method *organ_merge_method_named(const char *name);

/* Returns the index of a parameter in the method's list, or method->parameter_count. */
size_t organ_merge_parameter_named(const organ_merge_method *method, const char *name);

/* Parameters of the method moments. */
enum { ORGAN_MOMENTS_WEIGHT, ORGAN_MOMENTS_RIDGE, ORGAN_MOMENTS_DRIFT, ORGAN_MOMENTS_PRIOR };

/* The methods: organ_merge_linear and so on. */
#define ORGAN_MERGE_DECLARE(name) extern const organ_merge_method organ_merge_##name;
ORGAN_MERGE_METHODS(ORGAN_MERGE_DECLARE)

/* The method of the matrices of experts in a composed mixture, which no recipe names. task.values has a noise_scale for
 * each matrix of the task, then a factor for each: the result is (input + noise) x factor. */
extern const organ_merge_method organ_merge_mixture;
enum { ORGAN_MIXTURE_NOISE, ORGAN_MIXTURE_SCALE };

/* Adds `scale` times numbers first .. first + n - 1 of a stream of normal noise to `values`: each is the value of
 * `levels` (organ_normal_levels) at an index of philox_uniform. */
void organ_merge_add_normal(const organ_kernels *kernels, uint64_t seed, uint64_t stream, uint64_t first, float scale,
                            const float *levels, float *values, size_t n);
/* Returns the stream of random numbers that belongs to a name. */
uint64_t organ_merge_stream_of(const char *name);

#endif
