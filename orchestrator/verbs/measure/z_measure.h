/* SPDX-License-Identifier: MIT
 * Declarations that the sources of organ measure share. */
#ifndef ORGAN_VERBS_MEASURE_Z_MEASURE_H
#define ORGAN_VERBS_MEASURE_Z_MEASURE_H

#include "orchestrator/output/output.h"
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/measure.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/weights.h>
#include <stddef.h>
#include <stdint.h>

/* ---- z subjects ---- */

/* Selects the tensors of a model that are measured: the tensor with the values or codes of each weight. Companions of
 * packed weights (scales, zero points, ...) and scales of activations are not measured. */

/* The weights of a model. */
typedef struct organ_z_subjects {
    organ_weights *found; /* weights that organ_weights_find combined from the tensors */
    /* Plain weights made of tensors that look like companions but belong to no weight; the stored values of these
     * tensors are measured. One element for each tensor in found->unmatched; unused for dropped tensors. */
    organ_weight *alone;
    /* For each tensor of the model: the weight whose codes (for a plain weight: values) it is; NULL: not measured.
     * Points into `found` and `alone`. */
    const organ_weight **weight_of;
    /* Number of tensors that are not measured: companions of weights and scales of activations. */
    size_t companions;
} organ_z_subjects;

/* Finds the weights of a model. The model must outlive *subjects. Returns errors of organ_weights_find. The caller
 * frees *subjects even after an error. */
organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error);
void organ_z_subjects_release(organ_z_subjects *subjects);

/* Returns the type to which the values of a weight are decoded, which is the one that organ_dequantize would write
 * (BF16; F32 for GGUF blocks with an additional scale). ORGAN_DTYPE_COUNT: stored values are measured without
 * decoding. */
organ_dtype organ_z_decoded_type(const organ_weight *weight);

/* ---- z levels ---- */

/* Counts the distinct values of a tensor: exact up to ORGAN_Z_LEVELS. */

/* Slots of the hash table: twice ORGAN_Z_LEVELS, so that at most half of them are used. */
#define ORGAN_Z_LEVEL_SLOTS (1u << 17)

/* A hash table of the bit patterns of distinct values; the caller owns the memory of `slots`. */
typedef struct organ_z_levels {
    uint32_t *slots; /* ORGAN_Z_LEVEL_SLOTS */
    uint32_t mask;   /* number of slots that this tensor uses, a power of two, minus 1 */
    uint32_t count;  /* number of distinct bit patterns so far; stops at ORGAN_Z_LEVELS + 1 */
} organ_z_levels;

/* Empties the table and chooses its size for a tensor of `elements` elements. */
void organ_z_levels_begin(organ_z_levels *levels, uint64_t elements);

/* Adds the finite values among n values, -0 as +0. Does nothing once the table has more than ORGAN_Z_LEVELS values. */
void organ_z_levels_add(organ_z_levels *levels, const float *values, size_t n);

/* ---- z codes ---- */

/* Computes results for tensors of 16-bit floats from the number of occurrences of each of the 65,536 codes, which
 * determines all results at scale 1. */

/* Sets z->moments and z->levels. codes[c]: number of occurrences of code c. `widen` converts codes to values:
 * organ_kernels.bf16_to_f32 or .f16_to_f32. */
void organ_z_codes_moments(const uint64_t codes[65536], void (*widen)(const uint16_t *, float *, size_t), organ_z *z);

/* Adds the values of these codes to the histogram counts[]. The result is the sum of the four histograms that
 * organ_kernels.z_bins would make of the same values. `mean` and `std` are those of the values; all codes that occur
 * must be finite. */
void organ_z_codes_bins(const uint64_t codes[65536], void (*widen)(const uint16_t *, float *, size_t), double mean,
                        double std, uint64_t counts[ORGAN_Z_BINS]);

/* ---- z shape ---- */

/* Computes the numbers of "z/1" from a histogram of standardised values. */

/* Properties of the density that results from smoothing a histogram with a normal kernel. */
typedef struct organ_z_shape {
    double h; /* differential entropy in bits */
    /* ln CV: logarithm of the coefficient of variation (standard deviation / mean) of the 62 spacings between the
     * density's quantiles 1/64 ... 63/64 */
    double ln_cv;
} organ_z_shape;

/* Returns the shape of `counts`, the histogram of n > 0 standardised values. */
organ_z_shape organ_z_shape_of(const organ_kernels *kernels, const uint64_t counts[ORGAN_Z_BINS], uint64_t n);

/* Sets e, k, c, power, signal and theta of *z from the shape and from z->kurtosis and z->moments.n. */
void organ_z_judge(organ_z *z, organ_z_shape shape);

/* Sets dI_dlog2s and coherence of *z from z->information; does nothing if z->scales < 2. */
void organ_z_slope(organ_z *z);

/* Returns theta in degrees for a signal power in 0 .. 1. */
double organ_z_theta(double power);

/* ---- z source ---- */

/* Reads the values of a weight in order through a window of memory: the stored values or, for a packed weight, the
 * values that organ_dequantize would write. */

#define ORGAN_Z_STRIP ((size_t)8192) /* upper bound of elements in one request; a multiple of every block size */

/* A weight that is being read, and the range of its values that is in memory. */
typedef struct organ_z_source {
    const organ_model *model;
    const organ_weight *weight;
    const organ_stop *stop;
    organ_dtype dtype;        /* type of the values in the window */
    uint64_t elements, bytes; /* elements of the weight, and their bytes in type `dtype` */
    uint64_t from, to;        /* the window has bytes [from, to) of the values */
    unsigned char *window;
    size_t window_bytes;         /* size of the window; used only for stored values */
    organ_weight_reader *reader; /* decodes a packed weight; NULL: stored values are read */
    /* The members below are set only with a reader. */
    unsigned char *scratch; /* scratch memory of the reader */
    /* Rows of all matrices of the weight together, and their columns; rows of one matrix; rows that fit into the
     * window. */
    uint64_t rows, cols, matrix_rows, window_rows;
    unsigned char *held;  /* buffer for one stored (packed) matrix; NULL: none */
    uint64_t held_matrix; /* index of the matrix in `held`; larger than that of the last matrix: none */
    /* A file without a name with bytes [0, spooled) of the values, if the model is remote and the window is smaller
     * than the weight: the server then sends every byte once. -1: none. */
    int spool;
    uint64_t spooled;
} organ_z_source;

/* Sets *least to the bytes of memory that suffice to read a weight one strip of ORGAN_Z_STRIP elements at a time. Sets
 * *max to the bytes with which the weight is read or decoded as a whole; for stored values of a local file, which are
 * read twice, to at most 1 MiB. Returns errors of organ_weight_reader_size. */
organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *max, organ_error *error);

/* Opens a weight for reading in windows within `memory`, which is 64-byte aligned, has `bytes` bytes, at least *least
 * of organ_z_source_size, and must outlive the source. The caller closes *source even after an error. */
organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error);
void organ_z_source_close(organ_z_source *source);

/* Returns the elements [start, start + count) of the weight in type source->dtype, valid until the next call, and sets
 * *units to the number of blocks. The range must consist of whole blocks of the type and have at most ORGAN_Z_STRIP
 * elements. NULL on error. */
const void *organ_z_source_at(organ_z_source *source, uint64_t start, size_t count, size_t *units, organ_error *error);

/* ---- seed measure ---- */

/* The measure "seed/1" of a tensor, from at most 4,096 sorted values and the spacings between them;
 * fixtures/seed_oracle.py defines it. */

#define ORGAN_SEED_VALUES 4096 /* upper bound of sampled values at each scale */
/* Scales 1, 2, 4, 8, 16: a value at scale s is the mean of s neighbouring values of a row. */
#define ORGAN_SEED_SCALES 5

/* A sample of a tensor's values, collected while the tensor is read: at each scale the values with index floor(i n / m)
 * for i from 0 to m - 1, where n is the number of values at the scale and m the smaller of n and ORGAN_SEED_VALUES.
 * Index k of the arrays is scale 2^k. */
typedef struct organ_seed_sample {
    unsigned scales;                   /* number of scales */
    uint64_t count[ORGAN_SEED_SCALES]; /* n: number of values of the tensor at each scale */
    uint64_t seen[ORGAN_SEED_SCALES];  /* values that the caller has passed so far */
    uint32_t taken[ORGAN_SEED_SCALES]; /* values in the sample so far */
    float values[ORGAN_SEED_SCALES][ORGAN_SEED_VALUES];
} organ_seed_sample;

/* Begins a sample of a tensor of rows x cols values at the first `scales` scales. At scale s the caller omits the last
 * cols mod s values of each row. */
void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales);

/* Passes the next `n` values at scale 2^k, in the tensor's order, to the sample, which keeps some of them. */
void organ_seed_add(organ_seed_sample *sample, unsigned k, const float *values, size_t n);

/* Same as organ_seed_add for the next `n` values at scale 1, given as 16-bit floats; `widen` converts those that are
 * kept to FP32. */
void organ_seed_add_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                          void (*widen)(const uint16_t *, float *, size_t));

/* Returns the measure after all values were passed; all must be finite. Sorts the sample. `there` of the result is
 * false if the sample has fewer than 16 values at scale 1, their variance is 0, or their moments exceed FP64. */
organ_seed_z organ_seed_finish(organ_seed_sample *sample);

/* ---- z tensor ---- */

/* Measures one tensor by z/1, on one thread in bounded memory. */

/* Buffers of a thread. */
typedef struct organ_z_scratch {
    void *window; /* memory for organ_z_source */
    size_t window_bytes;
    float *values;   /* FP32 values of a strip (z_tensor.c), followed by their pairwise means at all scales */
    uint64_t *codes; /* number of occurrences of each 16-bit code */
    organ_z_levels levels;
    organ_seed_sample *sample; /* for the older measure seed/1; NULL: not requested. The caller sets it. */
} organ_z_scratch;

/* Returns the bytes of a thread's buffers without the window (organ_z_source_size). */
size_t organ_z_scratch_fixed_bytes(void);

/* Divides `memory` (`bytes` bytes, 64-byte aligned) into the buffers; the window gets the remainder after
 * organ_z_scratch_fixed_bytes(). */
organ_z_scratch organ_z_scratch_divide(void *memory, size_t bytes);

/* Sets z->reason again, from the weight and the moments in *z, for a result that another process has computed:
 * z->reason is then a pointer of that process. Does nothing if the tensor was not measured or `weight` is NULL. */
void organ_z_reason(const organ_weight *weight, organ_z *z);

/* Measures a weight into *z. Returns ORGAN_OK also if the weight has no theta (z->reason is then set). Returns errors
 * of reading the model, and ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_z_tensor(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            const organ_stop *stop, organ_z_scratch *scratch, organ_z *z, organ_error *error);

/* ---- measure stream ---- */

/* Measures a model behind a URL: the results of each tensor are appended to a journal, and a later run continues from
 * there. Results depend on the bytes of the model only, so a continued run gives the same ones. */

/* A model and the open journal of its results. */
typedef struct organ_measure_stream organ_measure_stream;

/* Closes the stream, which may be NULL. The journal stays. */
void organ_measure_stream_close(organ_measure_stream *stream);

/* Returns the results of one tensor as JSON, from which organ_z_of_json restores every bit. NULL if out of memory. */
json_t *organ_z_json(const organ_z *z);
/* Returns the results that organ_z_json wrote, with `done` set; `reason` points into `json`. */
organ_z organ_z_of_json(const json_t *json);

/* Written by fixtures/make_z_null.py: entropy h and ln CV of normal samples of size n, mean and standard deviation. */
static const struct {
    double n, h, h_std, cv, cv_std;
} z_null[] = {
    {16, 2.0277862955771497, 0.05671748170119907, -0.48107744182228646, 0.3541811436798075},
    {64, 2.0986985632280675, 0.018287400252984008, -0.2639323524065728, 0.279665665319202},
    {256, 2.121708899813586, 0.00525139952241425, -0.2711752125055278, 0.11647931833716153},
    {1024, 2.128136160559802, 0.0016288407688007296, -0.27595956330772226, 0.057478094927019746},
    {4096, 2.130022793405841, 0.00048801477384742754, -0.28108854775311776, 0.026736737756408085},
    {16384, 2.130453911550145, 0.00019528151077970806, -0.28257232921092984, 0.013721926135197975},
    {65536, 2.1306150481660127, 8.848011828044587e-05, -0.2830047854399231, 0.006576423557372867},
};

/* ---- fleet find ---- */

/* Finds the models under a directory. */

/* A model under the searched directory, or a file that may be one. */
typedef struct organ_fleet_member {
    char *path; /* path for opening it */
    char *name; /* path relative to the searched directory, "." for itself; for a split GGUF without the part number */
    /* Digest of the names, sizes and modification times of the model's files: if it is equal in two runs, the model is
     * unchanged. */
    uint64_t identity;
} organ_fleet_member;

/* The models under a directory. */
typedef struct organ_fleet_list {
    size_t count;
    organ_fleet_member *members; /* ordered by name */
} organ_fleet_list;

/* Fills *list with the models in `directory` and its folders. A folder with model.safetensors.index.json or
 * model.safetensors is one model. In other folders every .safetensors is a model; in all folders every .gguf is a model
 * (a split set once). An organ directory is one model and is not searched. Ignores hidden entries, unfinished outputs,
 * links to directories and the folder `skip` (a real path, may be NULL). Returns ORGAN_IO if a folder cannot be read,
 * and leaves *list empty. The caller frees *list. */
organ_status organ_fleet_find(const char *directory, const char *skip, organ_fleet_list *list, organ_error *error);
void organ_fleet_release(organ_fleet_list *list);

/* ---- fleet kind ---- */

/* Recognises files in a fleet that are not models, such as adapters. */

/* Returns "adapter", "imatrix", "vocabulary only", "multimodal projector", "control vector", "optimizer state" or "no
 * tensors", from the metadata of the file or the names of its tensors; NULL for a model. */
const char *organ_fleet_kind(const organ_model *model);

/* ---- fleet prunings ---- */

/* Summarises the pruned models of a fleet from their logs. Models are grouped by experiment: the method and parameters
 * of the pruning. */

/* Returns {"experiment", "target", "full"} from the pruning log of a model (organ/prune.json): method and parameters,
 * and the share of killed weights among the targets and in the whole model. Returns null if there is no log, {"fault"}
 * with the reason if the log is invalid, NULL if out of memory. */
json_t *organ_fleet_pruning(const organ_model *model);

/* Adds "prunings", an array of {"experiment", "words", "models": [{"name", "target", "full"}]}, and "errata" to the
 * report of a fleet, from the member "pruning" of its "models". Returns 0, or another number if out of memory. */
int organ_fleet_report_prunings(json_t *report);

/* ---- fleet state ---- */

/* Reads and writes OUT/fleet.json: the results of a run over a fleet, with which the next run processes only changed
 * models. */

/* Returns whether `entry`, the results of one member of the fleet, is of a file that is not a model, such as an adapter
 * (organ_fleet_kind): the status of its dissection is "apart". Such a file is listed, but neither extracted nor
 * measured. */
bool organ_fleet_is_other(const json_t *entry);

/* Sets *known to {NAME: {"identity", "dissection", "measure"}} of the members of `list` that an earlier run completed
 * and that have not changed. Unless `no_extract` is set, their extracted folders must exist. Rank 0 reads the file and
 * sends the entries to the other ranks. If the file is missing or invalid, *known is empty, so everything is processed
 * again. The caller releases *known. Returns ORGAN_IO if memory runs out, and the errors of organ_ranks_gather. */
organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error);

/* Returns ORGAN_USAGE if OUTPUT/fleet.json exists and is no document of this program. */
organ_status organ_fleet_state_check(const char *output, organ_error *error);

/* Writes `state`, the results of all members so far, on rank 0; does nothing on other ranks. Returns ORGAN_IO if the
 * file cannot be written. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_ranks *ranks, organ_error *error);

#endif
