/* SPDX-License-Identifier: MIT
 * Structures and functions that the parts of an autopsy share. */
#ifndef ORGAN_VERBS_AUTOPSY_AUTOPSY_PARTS_H
#define ORGAN_VERBS_AUTOPSY_AUTOPSY_PARTS_H

#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/convert/convert_across.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/inspect.h>
#include <organ/kernels.h>
#include <organ/models.h>
#include <pthread.h>
#include <stdbool.h>

/* Ranges of healthy values for each role: the expected values, and wider limits. A weight outside the expected range
 * gets a remark, a weight outside the limits a finding. */

/* Limits of the statistics of a weight. An infinite number means no limit. */
typedef struct organ_limits {
    double mean;             /* largest |mean| */
    double std_min, std_max; /* of the standard deviation */
    double min, max;         /* smallest and largest allowed value */
} organ_limits;

/* The ranges of all roles. A weight gets a remark beyond `expected`, a finding beyond `faulty`. */
typedef struct organ_ranges {
    struct {
        organ_limits expected, faulty;
    } of[ORGAN_ROLE_COUNT];
} organ_ranges;

/* Returns the default ranges of every role. */
organ_ranges organ_ranges_default(void);

/* Reads a file such as {"schema": "organ.ranges/1", "q_proj": {"mean": 0.01, "std": [0.005, 0.2], "min": -1, "max": 1},
 * ...} and applies its entries to the defaults. A key is the name of a role, of a group, or "default". For each number
 * the entry of the role takes precedence over the entry of its group, and the entry of the group over "default";
 * numbers without an entry keep their defaults. A number sets both the limit of findings and the limit of remarks; a
 * member "expected" in the same object sets the limit of remarks separately. Returns ORGAN_BAD_INPUT if the file is
 * malformed or a range is empty, with the place in the message, or ORGAN_IO if the file cannot be read. */
organ_status organ_ranges_read(const char *path, organ_ranges *ranges, organ_error *error);

/* Returns the ranges as JSON in the form that organ_ranges_read reads. NULL if memory runs out. */
json_t *organ_ranges_json(const organ_ranges *ranges);

/* ---- jumps at the borders of blocks ---- */

/* Detects whether the spread of a weight's values jumps at the borders of blocks of scales. In a healthy weight the rms
 * of 128 adjacent values changes between two rows by a similar amount everywhere. If blocks have the scales of other
 * blocks, the rms changes more across a border of blocks. The same applies to columns. The test takes the median of
 * |change of ln rms| across multiples of 64 and of 128, and compares it with the median across other multiples of 16.
 * The test is made twice: on the changes minus the mean change of the whole row or column, and on the changes without
 * this subtraction. */

#define ORGAN_JUMP_CLASSES  4   /* 0: other multiples of 16, 1: odd multiples of 64, 2: multiples of 128; 3: unused */
#define ORGAN_JUMP_BINS     128 /* of |difference of ln rms|, 1/64 wide; the last bin contains all larger values */
#define ORGAN_JUMP_SEGMENTS 256 /* segments of 128 values in a row: columns further right are not examined */
#define ORGAN_JUMP_LINES    (8 * ORGAN_JUMP_SEGMENTS) /* multiples of 16 in a row */

/* Histograms of |change of ln rms|, one for each class of lines. */
typedef uint32_t organ_jump_counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS];

/* Histograms of the changes across lines in a part of a matrix. A line is the border before a row or column whose index
 * is a multiple of 16. The counts of several parts can be added. */
typedef struct organ_jumps {
    organ_jump_counts rows, columns; /* changes across lines between rows, and between columns, minus the mean change
                                      * of the whole line */
    organ_jump_counts whole_rows, whole_columns; /* the changes without this subtraction */
} organ_jumps;
/* Adds the counts of *more to *sum. */
void organ_jumps_add(organ_jumps *sum, const organ_jumps *more);

/* ln rms of the segments of 128 values of one row; NaN for segments whose sum of squares is 0 or not finite, and after
 * the last whole segment. */
typedef struct organ_row_profile {
    float ln[ORGAN_JUMP_SEGMENTS];
} organ_row_profile;

/* For each column whose index is a multiple of 16: ln rms of a sample of its values in at most 128 rows, minus ln rms
 * of the values in the same rows of the column on its left. NaN where either rms is 0 or not finite, and for columns
 * that do not exist. */
typedef struct organ_column_profile {
    float change[ORGAN_JUMP_LINES];
} organ_column_profile;

/* The profiles at the upper and lower edge of a strip of rows, for joining strips. */
typedef struct organ_jump_edges {
    organ_row_profile first_row, last_row; /* first_row is set only if its number is a multiple of 16 */
    organ_column_profile first_columns, last_columns;
} organ_jump_edges;

/* Scratch memory of one thread. */
typedef struct organ_jump_scratch {
    organ_row_profile above, here;
    organ_column_profile columns;
    double squares[2 * ORGAN_JUMP_LINES]; /* of the two columns at each multiple of 16 */
} organ_jump_scratch;

/* Adds to *jumps the changes within rows [first, first + rows) of a matrix of `cols` columns, and sets *edges to the
 * profiles at the first and the last rows. `rows` is at least 1. `values` points to row `first`; its type is `as` (F32,
 * BF16 or F16). */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values,
                       uint64_t first, size_t rows, size_t cols, organ_jump_scratch *scratch, organ_jump_edges *edges);

/* Adds to *jumps the changes between two adjacent strips of the same matrix: `above`, which ends before row `row`, and
 * `below`, which begins with row `row`. */
void organ_jumps_join(organ_jumps *jumps, uint64_t row, const organ_jump_edges *above, const organ_jump_edges *below);

/* Returns the distance of the lines across which the spread of values jumps: 64, 128, or 0 if it does not jump. `less`
 * is the histogram of the changes minus the mean change of the whole row or column (organ_jumps.rows or columns),
 * `whole` that of the unmodified changes (whole_rows or whole_columns). `lines` is the number of lines in all matrices.
 * Sets *factor to the typical factor between the two sides of a line with a jump, in excess of the usual factor (1.3:
 * 30 percent more), or to 1 if there are no jumps. */
unsigned organ_jumps_period(organ_jump_counts less, organ_jump_counts whole, uint64_t lines, double *factor);

/* ---- levels of a weight ---- */

/* Counts the distinct values (levels) of a weight, exactly up to a limit, with many threads: each thread collects the
 * values of a strip of rows and adds them to the set of the weight. The order of strips does not matter. */

#define ORGAN_AUTOPSY_LEVELS 4096 /* the largest exact count */

/* A set of FP32 values. */
typedef struct organ_level_set {
    uint32_t slots[2 * ORGAN_AUTOPSY_LEVELS]; /* hash table of the bits of the values; a NaN marks an empty slot */
    uint32_t count;                           /* number of values; ORGAN_AUTOPSY_LEVELS + 1: more than fit */
} organ_level_set;

/* The set of one weight, to which all threads add. */
typedef struct organ_level_union {
    organ_level_set set;
    pthread_mutex_t lock;
    bool over; /* `set` has more than ORGAN_AUTOPSY_LEVELS values; atomic, read without the lock */
} organ_level_union;

/* Initialises the set of a weight as an empty set. */
void organ_level_union_begin(organ_level_union *all);
/* Releases the lock of the set. */
void organ_level_union_end(organ_level_union *all);

/* The levels of one strip: scratch memory of one thread. */
typedef struct organ_level_scratch {
    unsigned char seen[65536]; /* 1 for each 16-bit word that occurs: upper halves of FP32 values, BF16 or F16 */
    organ_level_set other;     /* FP32 values whose lower half is not 0 */
} organ_level_scratch;

/* Empties *scratch for the next strip of a weight. This function and the next two count the levels of one strip. These
 * three functions do nothing once `all`, the set of the weight, has more than ORGAN_AUTOPSY_LEVELS values. */
void organ_levels_begin(organ_level_scratch *scratch, const organ_level_union *all);
/* Adds n values of the strip to *scratch. `as` is their type: ORGAN_F32, ORGAN_BF16 or ORGAN_F16. */
void organ_levels_add(organ_level_scratch *scratch, const organ_level_union *all, organ_dtype as, const void *values,
                      size_t n);
/* Adds the values of the whole strip to *all. Leaves out infinities and NaN; -0 counts as +0. */
void organ_levels_unite(organ_level_scratch *scratch, organ_level_union *all, organ_dtype as,
                        const organ_kernels *kernels);

/* The kind of numbers among the levels; all false if there are more than the limit, or none. */
typedef struct organ_level_kind {
    bool integers; /* all levels are whole numbers */
    bool fp4;      /* all levels are values of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives */
} organ_level_kind;
/* Returns the kind of the numbers in the set. */
organ_level_kind organ_level_kind_of(const organ_level_set *set);

/* ---- statistics of a weight from a single pass over its values ---- */

/* Statistics of a weight from a single pass over its values: threads examine strips of rows, whose results are combined
 * in order. */

#define ORGAN_WEIGHT_STATS_ROWS 4 /* number of faulty rows that are listed */

/* Rows of a weight (those of all stacked matrices, numbered consecutively) that have a fault. */
typedef struct organ_faulty_rows {
    uint64_t count, first, last;           /* their number, and the indices of the first and the last one */
    uint64_t row[ORGAN_WEIGHT_STATS_ROWS]; /* indices of the first ones */
} organ_faulty_rows;

/* Distance of a weight a from its counterpart b: sums over pairs of finite values. */
typedef struct organ_distance {
    uint64_t pairs, skipped;                /* pairs that were counted, and pairs of which a value is not finite */
    double difference, own, other, product; /* sums of (a - b)^2, a^2, b^2, a b */
    double max;                             /* largest |a - b| */
} organ_distance;

/* Statistics of one weight. The members from `moments` on contain no pointers, so that ranks can exchange them. */
typedef struct organ_weight_stats {
    const organ_weight *weight, *other;     /* other: NULL if there is no counterpart */
    const char *unread;                     /* why the weight was not read, one sentence; NULL if it was */
    char *note;                             /* message of the reader, or NULL */
    organ_moments moments;                  /* of the dequantised values */
    organ_faulty_rows nonfinite_rows, dead; /* rows with values that are not finite; rows of zeros */
    uint64_t dead_columns;                  /* number of columns of zeros, each counted in its matrix */
    uint32_t levels;                        /* distinct finite values; ORGAN_AUTOPSY_LEVELS + 1: more */
    organ_level_kind kind;
    unsigned row_period, column_period; /* distance of the lines across which the spread of values jumps; 0: no jumps */
    double row_factor, column_factor;   /* factor by which the spread typically jumps */
    organ_distance distance;
} organ_weight_stats;

/* Returns the bytes of the codes (for a plain weight: of the values) of the weight and of its counterpart, without
 * scales; 0 if the weight is not read. */
uint64_t organ_weight_stats_bytes(const organ_weight_stats *v);
/* Returns the standard deviation of the n finite values (the sum of squared deviations is divided by n, not by n - 1);
 * 0 if there are none. */
double organ_weight_stats_std(const organ_weight_stats *v);
/* Returns the excess kurtosis of the finite values; 0 if all values are equal. */
double organ_weight_stats_kurtosis(const organ_weight_stats *v);

/* Callback of organ_weight_stats_compute: `bytes` more bytes were read; `done` is a weight that is complete, or
 * NULL. */
typedef struct organ_scan_progress {
    void (*advance)(void *context, uint64_t bytes, const organ_weight_stats *done);
    void *context;
} organ_scan_progress;

/* Examines stats[0 .. count). The caller sets weight, other and unread and zeroes the other members; weights with
 * `unread` are skipped. With several ranks each rank examines some weights, and all ranks receive all results. Errors
 * are those of organ_weight_pass_run and organ_ranks_agree. */
organ_status organ_weight_stats_compute(const organ_model *model, const organ_model *other, organ_weight_stats *stats,
                                        size_t count, const organ_engine *engine, const organ_scan_progress *progress,
                                        organ_error *error);

typedef struct organ_scale_pool organ_scale_pool; /* evidence collected over all weights */
typedef struct organ_change organ_change;
/* Relative errors of all changed weights by role: autopsy_changes.c. */
typedef struct organ_change_census organ_change_census;

/* One run of organ_autopsy. */
typedef struct organ_autopsy_job {
    const organ_autopsy_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    double started;                         /* time of the start, in seconds of organ_seconds_now */
    organ_model *model, *other;             /* the examined model, and the one to compare with (NULL: none) */
    organ_weights *weights, *other_weights; /* all weights of these models */
    organ_across *across;                   /* the weights of `other` in the form of `model`; NULL: of one format */
    organ_ranges ranges;                    /* healthy values of each role */
    size_t count;                           /* number of weights that --select selects */
    organ_weight_stats *stats;              /* statistics of the selected weights: `count` elements */
    json_t *findings, *remarks; /* arrays of {"tensor", "role", "kind", "what", "value", "range", "cause", "command"} */
    json_t *only_in_other;      /* names of weights that the examined model lacks */
    json_t *scale_test;         /* result of organ_autopsy_judge_text; NULL without --text */
    organ_scale_pool *pool;     /* evidence from organ_autopsy_judge_grid; NULL until it has judged a weight */
    /* Class of the difference of each of the `count` weights from its counterpart, and their errors by role. Both are
     * set by organ_autopsy_read_changes, NULL without another model. */
    organ_change *changes;
    organ_change_census *census;
    bool broken; /* memory ran out while rows were added; there is no report */
} organ_autopsy_job;

/* Judges the statistics *v of one weight alone and adds findings and remarks about it. Returns true if it adds a
 * finding. */
bool organ_autopsy_judge(organ_autopsy_job *job, const organ_weight_stats *v);

/* Sets job->changes and job->census: classifies the difference of each weight from its counterpart. Must be called
 * after organ_autopsy_pair and, if there is another model, before all functions that judge weights. Returns ORGAN_IO or
 * ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_autopsy_read_changes(organ_autopsy_job *job, organ_error *error);
void organ_autopsy_changes_release(organ_autopsy_job *job);

/* Adds a finding or remark, or nothing, about the distance of weight job->stats[index] from its counterpart. `faulty`:
 * the weight has another finding, which explains the distance. */
void organ_autopsy_judge_distance(organ_autopsy_job *job, size_t index, bool faulty);

/* Compares the scales of a weight with its counterpart. If the weight is farther from its counterpart than is usual,
 * reads the blocks of both weights and computes the least-squares factor between each pair of blocks. If these factors
 * explain the distance, adds a finding that names the fault and sets *named to true. Returns ORGAN_IO or
 * ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_autopsy_judge_against(organ_autopsy_job *job, const organ_weight_stats *v, bool *named,
                                         organ_error *error);

/* Reads some rows of the weight again and judges its scales without the original: the order of the scales in the grid,
 * rows of blocks that differ from the others, and whether the digits of the scales are those of a quantised BF16 model.
 * Does nothing for a weight with fewer than two scales. */
organ_status organ_autopsy_judge_grid(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error);

/* Judges the scales of each weight by comparison with the other weights of the model. The caller calls it after the
 * last call of organ_autopsy_judge_grid. */
organ_status organ_autopsy_judge_scales(organ_autopsy_job *job, organ_error *error);

void organ_autopsy_scales_release(organ_autopsy_job *job);

/* Returns whether at least one weight of the model has scales. */
bool organ_autopsy_has_scales(const organ_autopsy_job *job);

/* Scores the first tokens of job->options->text with all scales multiplied by 1, 1/4, 1/2, 2 and 4. Stores the scores
 * in job->scale_test and adds a finding if a factor other than 1 gives a clearly better score. Returns ORGAN_USAGE if
 * job->engine->memory is too small; ORGAN_BAD_INPUT if the tokenizer or architecture is unknown or the text is too
 * short; ORGAN_IO if a file cannot be read; ORGAN_INTERRUPTED. */
organ_status organ_autopsy_judge_text(organ_autopsy_job *job, organ_error *error);

/* Sets `other` in each element of job->stats to the counterpart of the weight: the weight of the other model with the
 * same name or, between GGUF and safetensors, the weights of the other model with the same values, in the form of this
 * one. `other` stays NULL for a weight that has no counterpart, which gets a finding or a remark. Also reports weights
 * that only the other model has. Returns the errors of organ_across_open. */
organ_status organ_autopsy_pair(organ_autopsy_job *job, organ_error *error);

/* `relative` is ||a - b|| / ||b||, `cosine` the cosine of a and b, and `ratio` ||a|| / ||b||, where a is a weight and b
 * its counterpart. A quotient by zero is NaN, except that `relative` is 0 if both weights are zero. */
typedef struct organ_distance_view {
    double relative, cosine, ratio;
} organ_distance_view;
organ_distance_view organ_distance_view_of(const organ_distance *distance);

/* Smallest and largest relative error that a quantised copy usually has, and the name of its type or scheme ("FP8
 * E4M3"). */
typedef struct organ_usual_error {
    double least, max;
    const char *what;
} organ_usual_error;
/* Returns the usual error of copies in the type or scheme in which the weight is stored. */
organ_usual_error organ_usual_error_of(const organ_weight *weight);
/* Returns the usual error of integer codes of `bits` bits (above 8: of 8 bits) with one scale per group. */
organ_usual_error organ_usual_error_of_bits(unsigned bits);
/* Returns the larger of the usual errors of the types or schemes in which two weights are stored. */
organ_usual_error organ_usual_error_between(const organ_weight *a, const organ_weight *b);

/* The texts of a finding or remark. */
typedef struct organ_verdict {
    const char *kind;  /* identifier: one word, or two joined by an underscore */
    const char *what;  /* a short title */
    const char *range; /* the healthy values, or "" */
    const char *cause; /* likely cause, in sentences */
    bool compare;      /* the suggested command is a comparison with the original; otherwise an inspection */
} organ_verdict;

/* Adds the verdict on a weight to job->findings (`finding`) or job->remarks. `value` is a printf format for the
 * measured value. Sets job->broken if memory runs out. */
void organ_autopsy_report(organ_autopsy_job *job, bool finding, const organ_weight *weight,
                          const organ_verdict *verdict, const char *value, ...) __attribute__((format(printf, 5, 6)));

/* ---- blocks of a weight ---- */

/* Reads the blocks of a weight, the parts that share a scale. For each block it sums the squares of some of the values
 * and reads the stored scale. This second pass reads only a part of the weight, small enough for one thread. */

/* Sums over the `n` sampled values of one block: a^2 (own), b^2 (other) and a b (product), where a is a value of the
 * weight and b that of its counterpart in the other model (0 without one). */
typedef struct organ_block_sums {
    double own, other, product;
    uint64_t n;
} organ_block_sums;

/* The grid of blocks of a weight; of a large weight only its first rows of blocks. A block has one scale. A weight
 * without scales gets blocks of 128 x 128, which most FP8 models have. */
typedef struct organ_blocks {
    /* number of rows and columns of blocks that were read; 0: the weight has no such grid, and all pointers are NULL */
    size_t rows, cols;
    uint64_t height, width; /* rows and columns of values in a block; blocks at the edges may be smaller */
    bool complete;          /* all blocks of the weight were read */
    organ_block_sums *sums; /* rows x cols */
    /* rows x cols, all positive and finite; NULL: the weight does not have one such scale of type F32, F16 or BF16 for
     * each block, or they are too many to read */
    float *scales;
    double *lines; /* for each row of blocks: median, over its sampled rows of values, of their ln rms */
} organ_blocks;

/* Reads a sample of the values of each block of v->weight, and of the counterpart v->other if `compare`, and the stored
 * scales. Leaves *blocks empty (rows 0) if the weight has no grid of blocks. Returns ORGAN_IO or ORGAN_BAD_INPUT if a
 * weight cannot be read. The caller frees *blocks, also after an error. */
organ_status organ_blocks_read(const organ_autopsy_job *job, const organ_weight_stats *v, bool compare,
                               organ_blocks *blocks, organ_error *error);
void organ_blocks_release(organ_blocks *blocks);

/* Returns ln of the root mean square of the sampled values of a block of the weight (not of the counterpart); -infinity
 * if all of them are zero. */
double organ_block_ln_rms(const organ_block_sums *sums);

/* Returns the median of `count` >= 1 values. Sorts them. */
double organ_autopsy_median(double *values, size_t count);

/* ---- scales stored in the wrong order ---- */

/* A wrong order of the grid of scales. */
typedef enum organ_order {
    ORGAN_ORDER_TRANSPOSED, /* written column by column, read row by row */
    ORGAN_ORDER_DOWN,       /* each row of blocks has the scales of the row above */
    ORGAN_ORDER_UP,         /* each row of blocks has the scales of the row below */
    ORGAN_ORDER_RIGHT,      /* each column of blocks has the scales of the column on its left */
    ORGAN_ORDER_LEFT,       /* each column of blocks has the scales of the column on its right */
    ORGAN_ORDER_COUNT
} organ_order;

/* Returns the text of a finding for the order: "the grid of scales is transposed". */
const char *organ_order_text(organ_order order);

/* The blocks [row, row_end) x [col, col_end): those whose correct scale is still in the grid although the scales are
 * stored in a wrong order. */
typedef struct organ_order_range {
    size_t row, row_end, col, col_end;
} organ_order_range;

/* Sets *range to the blocks whose correct scale is still in the grid if the scales are stored in `order`. Returns false
 * if there are none. For ORGAN_ORDER_TRANSPOSED also returns false if the grid has only one row or column, or was not
 * read completely. */
bool organ_order_fits(const organ_blocks *blocks, organ_order order, organ_order_range *range);

/* Returns the index in blocks->scales at which the correct scale of block (row, col) is, if the scales are stored in
 * `order`. The block is in the range that organ_order_fits has set. */
size_t organ_order_index(const organ_blocks *blocks, organ_order order, size_t row, size_t col);

/* ---- how a weight differs: by rounding, pruning, an adapter, training, or none of these ---- */

/* Classes of the difference. */
typedef enum organ_change_kind {
    ORGAN_CHANGE_NONE,       /* the difference is not larger than usual for the two types, or was not computed */
    ORGAN_CHANGE_ORDER,      /* the same values in another order, or with other signs */
    ORGAN_CHANGE_LINES,      /* only some rows or columns differ */
    ORGAN_CHANGE_SHIFT,      /* nearly the same number was added to all values */
    ORGAN_CHANGE_ROUNDED,    /* the values of a coarser type, which may be stored in a finer one */
    ORGAN_CHANGE_PRUNED,     /* zeros that the original does not have; the other values may be refitted */
    ORGAN_CHANGE_PART,       /* a part of the original was removed: a filter, or an approximation of low rank */
    ORGAN_CHANGE_LOW_RANK,   /* a matrix of low rank was added */
    ORGAN_CHANGE_STRUCTURED, /* some directions of the difference are much stronger than in noise */
    ORGAN_CHANGE_NOISE,      /* all directions of the difference are as strong as in noise */
    ORGAN_CHANGE_OTHER       /* none of these: a vector, a small matrix, or directions between STRUCTURED and NOISE */
} organ_change_kind;

/* The class of the difference of one weight, and the numbers by which it was found. */
struct organ_change {
    organ_change_kind kind;
    double relative; /* relative error of the whole weight: ||a - b|| / ||b|| */
    /* largest squared singular value of the difference, divided by that of noise of the same shape; 0: not computed */
    double top;
    /* number of directions that contain the share ORGAN_CHANGE_MOST of the squared norm; 0: not computed */
    size_t rank;
    /* LINES: differing rows or columns among the `line_count` sampled ones; 0: they are outside the sample */
    size_t lines;
    size_t line_count;
    bool rows; /* LINES: the lines are rows; else columns */
};

/* Share of the squared norm of a difference that counts as "most of it". */
#define ORGAN_CHANGE_MOST 0.95
/* A relative error above this multiple of the largest usual error is unusual. */
#define ORGAN_CHANGE_UNUSUAL 1.5

/* Sets *change to the class of the difference of v->weight from its counterpart v->other. If the relative error exceeds
 * ORGAN_CHANGE_UNUSUAL times the usual one, reads at most 256 rows of both weights and allocates about 5 MB. Returns
 * ORGAN_IO or ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_change_read(const organ_autopsy_job *job, const organ_weight_stats *v, organ_change *change,
                               organ_error *error);

/* ---- wrong scales that look plausible individually: other blocks, weights and layers ---- */

/* Evidence, over all weights, that scales are stored in one wrong order. Residuals are ln rms of the blocks of a weight
 * minus the means of rows and columns of the grid (autopsy_order.c). */
typedef struct organ_order_pool {
    size_t weights;  /* judged weights */
    size_t better;   /* weights whose residuals are smaller with the order undone */
    size_t reported; /* weights with a finding of this order */
    /* For each weight pool_order (autopsy_order.c) computes a ln F from the ratio F of the mean squares of its
     * residuals: sum of these numbers, and sum of the variances that they have by chance. */
    double evidence, variance;
    const organ_weight *first; /* the first weight counted in `better` */
} organ_order_pool;

/* A weight whose blocks become more alike if a wrong order of the scales is undone, but not so clearly that chance is
 * excluded. */
typedef struct organ_order_suspect {
    const organ_weight *weight;
    organ_order order;
    double own, moved; /* mean squares of the residuals: with the stored order, and with the order undone */
} organ_order_suspect;

/* A row of blocks whose rms differs from that of the other rows of its weight. */
typedef struct organ_odd_row {
    const organ_weight *weight;
    size_t row;      /* index of the row of blocks */
    uint64_t height; /* rows of values in a block */
    /* off: ln rms of the row minus the median ln rms of all rows of blocks; usual: median |difference| of all rows from
     * the same median */
    double off, usual;
} organ_odd_row;

/* The row with the largest scales of a weight whose blocks are one row high. */
typedef struct organ_top_line {
    const organ_weight *weight;
    size_t row;
    double gap, off; /* ln of its median scale minus that of the next row, and minus that of the row in the middle */
} organ_top_line;

/* Evidence collected over all weights; all zero at first. */
struct organ_scale_pool {
    organ_order_pool orders[ORGAN_ORDER_COUNT]; /* evidence for each wrong order */
    organ_order_suspect *suspects;              /* `suspect_count` elements */
    size_t suspect_count;
    /* Mean squares of the residuals with the stored order, for each weight with a grid of 3 x 3 or more and blocks that
     * are high enough (add_residual); `rest_count` elements. */
    double *rests;
    size_t rest_count;
    double row_usual[ORGAN_ROLE_COUNT];   /* for each role: sum of organ_odd_row.usual over its weights */
    size_t row_weights[ORGAN_ROLE_COUNT]; /* for each role: number of these weights */
    organ_odd_row *odd;                   /* rows of blocks that may be wrong: `odd_count` elements */
    size_t odd_count;
    organ_top_line *tops; /* `top_count` elements */
    size_t top_count;
};

/* Tests the rows of a weight whose blocks are one row high. With the original, the rows with the largest and smallest
 * scales are compared with it; a row that differs by a factor is a finding. Without it, the row with the largest scale
 * of a weight with one scale for each row is appended to job->pool->tops. job->pool must exist. Groups of columns are
 * not compared without the original, because sound rows of outliers have scales of up to six times those of others. */
organ_status organ_autopsy_judge_lines(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error);
/* Adds a finding for each row of pool->tops that is much farther from the next row than those of the other weights.
 * `scratch` has pool->top_count elements. */
void organ_autopsy_judge_tops(organ_autopsy_job *job, const organ_scale_pool *pool, double *scratch);

/* Tests whether all scales of an FP8 weight were multiplied by one factor such as 3 or 1/5. Each scale of a quantised
 * BF16 model is a BF16 value divided by the largest code. Adds a finding if most scales have that form only after
 * division by such a factor. Powers of two cannot be detected. */
void organ_autopsy_judge_digits(organ_autopsy_job *job, const organ_weight_stats *v, const organ_blocks *blocks);

/* Tests for each weight whether all of its scales are wrong by one factor, by comparison with the same weight of other
 * layers and with the other weights of its layer. */
organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error);

#endif
