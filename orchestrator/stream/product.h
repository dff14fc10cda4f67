/* SPDX-License-Identifier: MIT
 * Matrix products on all workers. */
#ifndef ORGAN_STREAM_PRODUCT_H
#define ORGAN_STREAM_PRODUCT_H

#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/stream.h>

/* Returns the bytes of scratch for organ_products_run: ORGAN_PRODUCT_SCRATCH for each worker. */
size_t organ_products_scratch(const organ_engine *engine);

/* Returns the bytes of one value of the type. */
size_t organ_real_bytes(organ_real type);

/* Returns the operand without its first `row` rows, for a part of a product. */
organ_product_operand organ_factor_from(organ_product_operand operand, size_t row);

/* Computes one product on the calling thread, by the engine's kernels for the product's arithmetic. `scratch`:
 * ORGAN_PRODUCT_SCRATCH bytes, 64-byte aligned. */
static inline void organ_product_run(const organ_engine *engine, const organ_product *product, void *scratch)
{
    if (product->compute == ORGAN_COMPUTE_EXACT)
        engine->kernels->product(product, scratch);
    else
        engine->dots->product(product, scratch);
}

/* Computes `count` products as defined in <organ/kernels.h>. If the member `compute` of a product is
 * ORGAN_COMPUTE_EXACT, the product is exact, else it uses the engine's arithmetic. No product may read or write memory
 * that another one writes. Products are divided among the workers, which does not change a bit. If a stop is requested
 * through `stop` (NULL: never), parts that have not begun are skipped, and the results are incomplete. `scratch`:
 * organ_products_scratch bytes, 64-byte aligned. */
void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count,
                        void *scratch);

/* The operand b of a product, [n][k], whose rows are decoded or read on demand. A panel is some rows of b that fit the
 * cache of a core. A worker makes a panel, multiplies with it and discards it, so b is never in memory as a whole. */
typedef struct organ_panels {
    /* Writes rows [first, first + count) of the source to `values`, contiguous and 64-byte aligned, of type `type`.
     * Called on any worker. NULL: use the product's own b. */
    organ_status (*make)(const void *source, size_t first, size_t count, void *values, void *scratch,
                         organ_error *error);
    const void *source; /* first argument of `make` */
    size_t first;       /* row of the source that is row 0 of b */
    organ_real type;    /* type of the values */
    /* n numbers that are copied to each row of c before the product, whose `into` is ORGAN_PRODUCT_ADD; NULL: none */
    const float *biases;
    /* This product has the m, n, k and type of panels of the product before it in the list, or both have no panels. A
     * worker that computes a part of that product then computes the same part of this one. */
    bool joined;
    /* Called with `after_context` on the worker that has computed rows [row, row + rows) and columns [column, column +
     * columns) of this product's c, and of those that it is joined to. NULL: nothing is called. */
    void (*after)(const void *after_context, size_t row, size_t rows, size_t column, size_t columns);
    const void *after_context;
    size_t row; /* number of the first row of c for `after` */
} organ_panels;

/* Returns the largest number of rows of a panel whose rows have k values. */
size_t organ_panel_rows(size_t k, organ_real type);
/* Returns the bytes of a panel with that number of rows, rounded up to 64. */
size_t organ_panel_bytes(size_t k, organ_real type);

/* Computes products like organ_products_run, but b of products[k] comes from panels[k] if panels[k].make is set. Each
 * worker has `worker_bytes` bytes of `scratch`, a multiple of 64: ORGAN_PRODUCT_SCRATCH, then the largest panel, then
 * the scratch of `make`. If calls of `make` fail, returns the error of the first one; the contents of c are then
 * undefined. */
organ_status organ_panel_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products,
                                      const organ_panels *panels, size_t count, void *scratch, size_t worker_bytes,
                                      organ_error *error);

/* ---- tasks on all workers: each worker takes the next task until none is left ---- */

/* The first error of the tasks of a call of organ_share. */
typedef struct organ_first_fault {
    organ_error *error; /* the caller's; read it when all tasks have returned */
    bool found;         /* a task has failed; atomic */
} organ_first_fault;

/* Returns whether a task has called organ_fault_keep; tasks that begin later may then return at once. */
static inline bool organ_fault_found(const organ_first_fault *first)
{
    return __atomic_load_n(&first->found, __ATOMIC_RELAXED);
}

/* Copies the error of a task to first->error, unless another task has failed before. */
static inline void organ_fault_keep(organ_first_fault *first, const organ_error *error)
{
    if (!__atomic_exchange_n(&first->found, true, __ATOMIC_RELAXED))
        *first->error = *error;
}

/* Calls task(context, k, worker) once for each k below `count`, on any worker, in any order, and returns when all calls
 * have returned. If a stop is requested through `stop` (NULL: never), tasks that no worker has taken are skipped. A
 * single task runs on the calling thread, as worker 0. */
void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count,
                 void (*task)(void *context, size_t index, size_t worker), void *context);

/* Calls task(context, k, worker, error) for each k below `count`, always on a worker, and returns when all calls have
 * returned: for tasks that read or write tensors. Tasks begin in ascending order, and none begins after one has failed
 * or a stop was requested through engine->stop. Returns the error of the failed task with the lowest index, for any
 * number of workers, or ORGAN_INTERRUPTED. */
organ_status organ_share_try(const organ_engine *engine, size_t count,
                             organ_status (*task)(void *context, size_t index, size_t worker, organ_error *error),
                             void *context, organ_error *error);

/* Costs for the argument `work` of organ_share_work. Its unit is about one multiplication of a matrix product, of which
 * a thread does ten or more per nanosecond. Reading, adding or comparing a number costs ORGAN_SHARE_NUMBER units; exp
 * or sorting costs ORGAN_SHARE_HARD units per number. */
enum { ORGAN_SHARE_NUMBER = 8, ORGAN_SHARE_HARD = 64 };

/* Calls the tasks like organ_share, but all on the calling thread, as worker 0, if `work`, the cost of all tasks
 * together, is less than a quarter of a million units: waking two workers and waiting for them takes 15 to 25
 * microseconds, and longer for more workers. Each worker that is woken has at least half as much work. */
void organ_share_work(const organ_engine *engine, const organ_stop *stop, size_t count, double work,
                      void (*task)(void *context, size_t index, size_t worker), void *context);

/* ---- conversion of elements of any storage type to FP32 and back ---- */

/* A unit is an element, or a block if the type has blocks. */

/* Returns whether organ_widen supports the type: true for every type of GGUF files. */
bool organ_can_widen(organ_dtype dtype);
/* Returns whether organ_narrow supports the type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1. */
bool organ_can_narrow(organ_dtype dtype);

/* Converts `units_count` units of a type that can be widened to FP32: units_count x
 * organ_dtype_describe(dtype)->elements values. Units need no alignment. Rounding as in organ_kernels.dequantize. */
void organ_widen(const organ_kernels *kernels, organ_dtype dtype, const void *units, float *values, size_t units_count);

/* Converts FP32 values to `units_count` units of a type that can be narrowed. Rounding as in organ_kernels.quantize. */
void organ_narrow(const organ_kernels *kernels, organ_dtype dtype, const float *values, void *units,
                  size_t units_count);

/* Returns whether none of n values is NaN or infinite. */
bool organ_all_finite(const float *values, size_t n);

/* Returns the bits of +infinity in F32, F16 or BF16: its exponent field is all ones, sign and mantissa are 0. */
uint64_t organ_infinity_bits(organ_dtype dtype);

/* Returns whether any value among `bytes` bytes of F32, F16 or BF16 is infinite or NaN. */
bool organ_any_not_finite(organ_dtype dtype, const void *values, size_t bytes);

#endif
