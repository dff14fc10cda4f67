/* SPDX-License-Identifier: MIT
 * One pass over weights as numbers, in bounded memory. Workers open weights and read, dequantise and process strips of
 * rows; the calling thread retires strips in order. The cut into strips depends on the weights alone, never on threads
 * or memory, so sums that are folded strip by strip have the same bits everywhere.
 *
 * The pass differs from stream/read_rows.h because it reads many weights: workers begin strips of the next weight
 * while strips of the one before are retired, so models of small tensors keep all workers busy. It differs from
 * organ_pass_run because rows of a packed weight come from several tensors (codes, scales), so no row range of one file
 * is a band of it; each worker reads and decodes into buffers of its own. */
#ifndef ORGAN_WEIGHT_PASS_H
#define ORGAN_WEIGHT_PASS_H

#include "orchestrator/stream/read_ahead.h"

/* One weight to process. `other` is NULL or its counterpart in another model, with the same number of rows and columns.
 * `part`: what the caller makes of the weight, for the callbacks. */
typedef struct organ_weight_item {
    const organ_weight *weight, *other;
    void *part;
} organ_weight_item;

/* Consecutive rows of an item's weight, decoded. */
typedef struct organ_weight_strip {
    size_t item;       /* index into organ_weight_pass.items */
    void *part;        /* of the item */
    uint64_t first;    /* first row, counted over the matrices of the weight */
    size_t rows, cols; /* number of rows and columns */
    organ_dtype type;  /* of the values */
    void *values;      /* rows x cols, 64-byte aligned; may be changed. NULL: `work` reads them, in parts */
    /* 4096-byte aligned memory for rows x cols elements of type `as`. `values` are its first bytes or, if `type` is
     * narrower, its last ones, so that k rows of type `as` may overwrite it as soon as k rows have been used. */
    void *room;
    const void *other;                        /* the same rows of the counterpart, or NULL */
    bool last;                                /* the last strip of its item */
    bool finite;                              /* no value is infinite or NaN; false if the pass has not looked */
    const char *note;                         /* remark of the weight's reader (organ_weight_reader_open), or "" */
    const struct weight_strip_source *source; /* for organ_weight_strip_read */
} organ_weight_strip;

/* The weights and the callbacks of a pass. */
typedef struct organ_weight_pass {
    const organ_model *model, *other_model; /* `other_model`: NULL if no item has a counterpart */
    const organ_weight_item *items;
    size_t item_count;
    organ_dtype as;      /* ORGAN_F32, ORGAN_BF16 or ORGAN_F16 */
    bool narrow;         /* with as = ORGAN_F32: weights that files have as BF16 or F16 keep that type, and `work` reads
                            their strips with organ_weight_strip_read, so that it finds the values in the cache */
    size_t row_multiple; /* strips, except the last of a matrix, have a multiple of this many rows and never extend over
                            two matrices; 0: 1 */
    /* 0, or about how many values `work` gets at once, so that they stay in the cache: it is then called for the parts
     * of a strip, in order, with one result. Items have no counterparts, and `narrow` is not set. */
    size_t part_values;
    /* Finite values that are infinite as F16 or BF16 (`as`) are refused or limited; NULL: stored as infinite. */
    organ_overflow *overflow;
    size_t scratch_bytes; /* for each worker, 64-byte aligned */
    size_t result_bytes;  /* for each strip, zeroed before `work`; at most 64 KiB */
    void *context;        /* first argument of the callbacks */
    /* Called once for each item, also for one without rows, before `work` gets a strip of it: loads what the strips
     * need. Any worker calls it, at the same time as any callback for other items, so it may use only data of its item.
     * `note` is that of the reader (organ_weight_reader_open). May be NULL. */
    organ_status (*begin)(void *context, size_t item, const char *note, organ_error *error);
    /* Processes a strip and writes its result. Called on any worker, in any order. */
    organ_status (*work)(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                         organ_error *error);
    /* Receives the result of a strip on the thread that runs organ_weight_pass_run, in order of items and rows;
     * strip->values and strip->other are NULL. May be NULL. */
    organ_status (*retire)(void *context, const organ_weight_strip *strip, const void *result, organ_error *error);
} organ_weight_pass;

/* About how many values a strip has. */
#define ORGAN_STRIP_VALUES ((size_t)1 << 20)
/* For each worker, the greatest number of strips of weights that have begun and whose strips are not retired, without
 * the other strips of the first and the last of these weights. Half of them are taken by workers. */
#define ORGAN_STRIPS_OPEN 8

/* Runs the pass on all workers, or on fewer if the memory has no room for the buffers of all. At most engine->readers
 * workers read at the same time. No other thread reads bytes of tensors. Returns ORGAN_USAGE if
 * there is no room for the buffers of one worker; ORGAN_IO if a read failed; ORGAN_BAD_INPUT for invalid data, or a
 * counterpart with another number of rows or columns; ORGAN_INTERRUPTED if stopped; the error of a callback. If several
 * strips fail, the error is that of the earliest. No worker uses *pass after the return. */
organ_status organ_weight_pass_run(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error);

/* Reads rows of a strip without values: sets part->values to rows [first, first + rows), counted from the first one of
 * the strip, and the other members to what they have for these rows. The values are the last bytes of strip->room, and
 * stay until the next call. `work` of the strip calls it, row by row from the first one on. Returns ORGAN_IO if the
 * rows cannot be read. */
organ_status organ_weight_strip_read(const organ_weight_strip *strip, size_t first, size_t rows,
                                     organ_weight_strip *part, organ_error *error);

/* Row 8 c + k of a weight of AutoAWQ's gemm is in nibble organ_awq_nibble[k] of word c. */
extern const unsigned organ_awq_nibble[8];

/* How a weight of GPTQ, AWQ or pack-quantized stores its codes, as far as only its bytes tell. */
typedef struct organ_weight_storage {
    bool plus_one; /* zero points are stored minus 1 */
    bool indexed;  /* the groups of columns are those in g_idx, not runs of columns */
} organ_weight_storage;

/* Reads the zero points of GPTQ and the index. `note`: as in organ_weight_reader_open. */
organ_status organ_weight_storage_read(const organ_model *model, const organ_weight *weight,
                                       const organ_kernels *kernels, organ_weight_storage *storage, char note[256],
                                       organ_error *error);

/* Returns the least memory, in bytes, with which organ_weight_pass_run does not return ORGAN_USAGE; 0 after an error of
 * the headers. */
uint64_t organ_weight_pass_enough(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error);
/* Returns ORGAN_USAGE, with the memory that is enough, if organ_weight_pass_run would: for a verb that first runs
 * another pass, which needs less. */
organ_status organ_weight_pass_claim(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error);

#endif
