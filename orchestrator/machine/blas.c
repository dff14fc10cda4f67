/* SPDX-License-Identifier: MIT
 * OpenBLAS takes a buffer for each call from a table by blas_memory_alloc and gives it back by blas_memory_free. Built without threads, it
 * does not lock that table. Both functions are called through the dynamic linker, which prefers those of the program: these take a lock
 * and go on to the library's own. A first product shows whether they were reached. */
#include "orchestrator/machine/blas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

/* Of OpenBLAS; absent from other libraries. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern int openblas_get_parallel(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

/* The table has room for twice as many, and some builds fail when it grows. */
#define MOST_BUFFERS 60

#define PROBE 256 /* edge of the first product: small ones take no buffer on some CPUs */

typedef void *take_function(int);
typedef void give_function(void *);

static pthread_once_t found = PTHREAD_ONCE_INIT, prepared = PTHREAD_ONCE_INIT;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER, calls = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given = PTHREAD_COND_INITIALIZER;
static take_function *library_take;
static give_function *library_give;
static unsigned long taken, out; /* buffers ever, and now; guarded by `table` */
static _Thread_local unsigned mine;
static bool serial; /* one call at a time */

static void find_library(void)
{
    /* A function pointer is read from an object pointer as POSIX describes it. */
    *(void **)&library_take = dlsym(RTLD_NEXT, "blas_memory_alloc");
    *(void **)&library_give = dlsym(RTLD_NEXT, "blas_memory_free");
}

__attribute__((visibility("default"))) void *blas_memory_alloc(int place);
__attribute__((visibility("default"))) void blas_memory_free(void *buffer);

void *blas_memory_alloc(int place)
{
    pthread_once(&found, find_library);
    pthread_mutex_lock(&table);
    while (mine == 0 && out >= MOST_BUFFERS) /* a thread that has one already must get its second */
        pthread_cond_wait(&given, &table);
    taken++;
    out++;
    mine++;
    void *buffer = library_take(place);
    pthread_mutex_unlock(&table);
    return buffer;
}

void blas_memory_free(void *buffer)
{
    pthread_once(&found, find_library);
    pthread_mutex_lock(&table);
    library_give(buffer);
    out--;
    mine--;
    pthread_cond_signal(&given);
    pthread_mutex_unlock(&table);
}

static void prepare_blas(void)
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    float *const square = calloc(3, PROBE * PROBE * sizeof *square);
    pthread_mutex_lock(&table);
    const unsigned long before = taken;
    pthread_mutex_unlock(&table);
    if (square)
        cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, PROBE, PROBE, PROBE, 1, square, PROBE, square + PROBE * PROBE, PROBE, 0,
                    square + 2 * PROBE * PROBE, PROBE);
    free(square);
    pthread_mutex_lock(&table);
    serial = taken == before && openblas_get_parallel && openblas_get_parallel() == 0;
    pthread_mutex_unlock(&table);
}

void organ_blas_begin(void)
{
    pthread_once(&prepared, prepare_blas);
    if (serial)
        pthread_mutex_lock(&calls);
}

void organ_blas_end(void)
{
    if (serial)
        pthread_mutex_unlock(&calls);
}

const char *organ_blas_kernels(void) { return openblas_get_corename ? openblas_get_corename() : ""; }

bool organ_blas_is_concurrent(void)
{
    pthread_once(&prepared, prepare_blas);
    return !serial;
}
