/* SPDX-License-Identifier: MIT
 * Importance matrices of llama.cpp: for each matrix of a model, the sums of the squares of its inputs over the
 * tokens of a text. Opens a GGUF file (general.type "imatrix"; tensors NAME.in_sum2 and NAME.counts) or a file of
 * the older binary format, and returns the root mean square of each input of a matrix. */
#ifndef ORGAN_IMATRIX_H
#define ORGAN_IMATRIX_H

#include <organ/base.h>
#include <organ/models.h>

#include <stddef.h>
#include <stdint.h>

/* The statistics of one tensor of the model, which may be a stack of matrices (experts). */
typedef struct organ_imatrix_entry {
    const char *name; /* the tensor's name in GGUF: "blk.0.ffn_down.weight" */
    organ_anatomy anatomy;
    uint64_t values; /* number of sums: the inputs (columns) of all its matrices together */
    uint64_t counts; /* number of counts: one for each matrix (expert), or 1 for all */
} organ_imatrix_entry;

/* An open importance matrix: its entries, and the texts and tokens over which their sums were taken. All pointers
 * belong to it. */
typedef struct organ_imatrix {
    const char *path;   /* the caller's path */
    const char *format; /* "GGUF", or "imatrix.dat" for the older format */
    uint64_t bytes;     /* size of the file */
    size_t entry_count;
    const organ_imatrix_entry *entries; /* in file order, names are unique */
    size_t dataset_count;
    const char *const *datasets; /* names of the calibration texts, as stored; valid UTF-8 */
    int64_t chunks, chunk_size;  /* number of chunks, and tokens in a chunk; -1 if the file does not contain them */
} organ_imatrix;

/* Opens an importance matrix: reads headers and names, and checks every size against the size of the file.
 * organ_imatrix_norms reads the sums. Returns ORGAN_IO if the file cannot be read, or ORGAN_BAD_INPUT with file,
 * tensor, field and both values if it is malformed or not an importance matrix. *imatrix is NULL on error. */
organ_status organ_imatrix_open(const char *path, organ_imatrix **imatrix, organ_error *error);
void organ_imatrix_close(organ_imatrix *imatrix); /* NULL is allowed */

/* The statistics of one matrix of a model: an entry, or one matrix of it. */
typedef struct organ_imatrix_place {
    const organ_imatrix_entry *entry;
    uint64_t matrix;   /* number of the matrix in the entry, from 0 */
    uint64_t matrices; /* number of matrices that the entry should have */
} organ_imatrix_place;

/* Finds the statistics of the inputs of the model's tensor `tensor`, or of its expert `expert` of `experts` (-1 and 1
 * for a tensor that is no expert and no stack of experts). Uses the entry of the same name, else the entry of the same
 * layer, role and kind (plain, expert, shared expert), for any naming scheme of the model. If there is none, uses an
 * entry of another role whose matrices have the same inputs: for example the entry of the fused QKV matrix for Q, or
 * the entry of Q for a fused QKV matrix. Returns ORGAN_BAD_INPUT if there is no such entry or more than one, or if the
 * order of the inputs in the entry differs from the order of the tensor's columns. */
organ_status organ_imatrix_find(const organ_imatrix *imatrix, const char *tensor, const organ_anatomy *anatomy,
                                int64_t expert, uint64_t experts, organ_imatrix_place *place, organ_error *error);

/* Sets norms[j] to sqrt(sum of squares / count) for each input j of a matrix with `features` inputs. Sets *count to
 * that count: the number of tokens, or of chunks in an older file. `tensor` is the name of the matrix in messages.
 * Returns ORGAN_BAD_INPUT unless the entry has matrices x features values, all finite and not negative and not all
 * zero, and a count of at least 1. In an older file, equal values of an expert are also an error: the expert had no
 * tokens. */
organ_status organ_imatrix_norms(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                 uint64_t features, float *norms, double *count, organ_error *error);

/* Sets *reached to true if tokens of the text reached the matrix `place` with `features` inputs. An expert without
 * tokens has a count of 0, or equal values in an older file. `tensor` is the name of the matrix in messages. Returns
 * ORGAN_BAD_INPUT if the entry does not have matrices x features values. */
organ_status organ_imatrix_reached(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                   uint64_t features, bool *reached, organ_error *error);

/* Reads exactly `bytes` bytes of the file from `offset` to `to`, for a digest of the file. */
organ_status organ_imatrix_read(const organ_imatrix *imatrix, void *to, size_t bytes, uint64_t offset,
                                organ_error *error);

/* ---- writing ---- */

/* The texts of the statistics: the names under which the file lists them (the older format: only the last one), the
 * number of chunks that they were cut into, and the tokens of a chunk. */
typedef struct organ_imatrix_text {
    const char *const *names;
    size_t count;                /* number of names */
    uint64_t chunks, chunk_size; /* below 2^31 */
} organ_imatrix_text;

/* The statistics of one tensor of the model, to write. */
typedef struct organ_imatrix_sums {
    const char *name;            /* name in GGUF; at most 56 bytes, because ".in_sum2" is appended and GGUF allows 64 */
    uint64_t features, matrices; /* inputs of a matrix; matrices of the tensor (experts of a stack) */
    uint64_t counts;             /* number of counts: `matrices`, or 1 if all matrices have the same */
    /* Returns number k of the matrices x features sums of squares. */
    double (*sum)(const void *source, uint64_t k);
    /* Returns number k of the counts: the tokens that reached the matrix. Without tokens, the older format gets sums of
     * 1, and no entry if no matrix has tokens. */
    double (*tokens)(const void *source, uint64_t k);
    const void *source;
} organ_imatrix_sums;

/* The two formats that llama.cpp's llama-imatrix writes and llama-quantize reads. */
typedef enum organ_imatrix_format { ORGAN_IMATRIX_GGUF, ORGAN_IMATRIX_DAT } organ_imatrix_format;

/* Sets *format to the one that `name` names, "gguf" or "dat"; NULL: dat if `path` ends in .dat, else gguf. Returns
 * ORGAN_USAGE for another name. */
organ_status organ_imatrix_format_of(const char *path, const char *name, organ_imatrix_format *format,
                                     organ_error *error);

/* Writes a new file with `count` entries in ascending order of their names, as llama-imatrix does. Returns ORGAN_IO if
 * `path` exists or the disk fails; ORGAN_BAD_INPUT for a name that is too long. A part of the file may remain after an
 * error. */
organ_status organ_imatrix_write(const char *path, organ_imatrix_format format, const organ_imatrix_text *text,
                                 const organ_imatrix_sums *sums, size_t count, organ_error *error);

/* ---- merging ---- */

#define ORGAN_IMATRIX_CHUNK 512 /* tokens of a chunk for files of the older format, as llama-imatrix has by default */

/* The sum of several importance matrices. */
typedef struct organ_imatrix_merged {
    size_t count;             /* number of entries */
    organ_imatrix_sums *sums; /* the entries, in ascending order of their names */
    organ_imatrix_text text;  /* the texts of all files, in their order */
    struct organ_imatrix_merge_state *state;
} organ_imatrix_merged;

/* Adds sums and counts of `count` files in FP32, in their order, as llama-imatrix does; in the older format, a chunk
 * has `chunk_size` tokens. chunk_size 0: that of the files which state it, else ORGAN_IMATRIX_CHUNK. The files must
 * stay open until organ_imatrix_merge_release, which the caller calls also after an error. Returns ORGAN_USAGE if
 * chunk_size is 0 and the files state different ones; ORGAN_BAD_INPUT, naming the first entry in ascending order, if
 * their names, values or counts differ in number, or if a count is no number of tokens. */
organ_status organ_imatrix_merge(const organ_imatrix *const *files, size_t count, uint64_t chunk_size,
                                 organ_imatrix_merged *merged, organ_error *error);
/* Writes a new file, as organ_imatrix_write does. Returns ORGAN_BAD_INPUT also for a sum that is negative or not
 * finite. */
organ_status organ_imatrix_merge_write(const organ_imatrix_merged *merged, const char *path,
                                       organ_imatrix_format format, organ_error *error);
void organ_imatrix_merge_release(organ_imatrix_merged *merged);

/* Returns ORGAN_BAD_INPUT if the file was changed, shortened, replaced or removed since it was opened. */
organ_status organ_imatrix_unchanged(const organ_imatrix *imatrix, organ_error *error);

#endif
