/* SPDX-License-Identifier: MIT
 * The sums of a calibration (calibration.h), which calibration_sums.c adds up. The symbols H, C, X_p and X_d are
 * defined at organ_input_moments, W is options.weights. */
#ifndef ORGAN_SURGERY_CALIBRATION_CALIBRATION_SUMS_H
#define ORGAN_SURGERY_CALIBRATION_CALIBRATION_SUMS_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/calibration/calibration.h"

#define ORGAN_CALIBRATION_CHUNK ((size_t)512) /* tokens whose inputs are kept in FP32 */

typedef enum organ_input_stream { ORGAN_STREAM_PRUNED, ORGAN_STREAM_DONOR, ORGAN_INPUT_STREAMS } organ_input_stream;

typedef struct organ_calibration_panel {
    size_t row, col; /* first feature of its rows and of its columns */
    bool cross;      /* the panel is part of C; false: of H */
} organ_calibration_panel;

/* With an arithmetic other than exact: inputs of several chunks as the operands of products, a row for each feature. */
typedef struct organ_turned_inputs {
    /* [features][room]; that of ORGAN_STREAM_DONOR has a row for each row of W of this rank if the drift is summed,
     * and is NULL with one stream */
    unsigned char *rows[ORGAN_INPUT_STREAMS];
    organ_real type;
    size_t room, tokens; /* tokens that fit into a row; those in use */
} organ_turned_inputs;

struct organ_calibration {
    organ_calibration_options options;
    const organ_engine *engine;
    organ_input_moments moments;
    double *h, *c, *drift; /* the sums that `moments` points to; NULL: not summed */
    float *factors;        /* act_norm, stability and contribution, 3 x features */
    uint64_t *magnitudes;  /* NULL: not counted */
    organ_saliency_sums sums;
    double *sums_memory; /* memory of `sums`, ORGAN_SALIENCY_SUMS x features; NULL with moments_only */
    const float *levels; /* quantiles of the noise: the caller's, or own_levels */
    float *own_levels;   /* NULL: the caller's levels are used, or no noise with moments_only */
    /* inputs of the chunk, ORGAN_CALIBRATION_CHUNK x features or fewer rows; that of ORGAN_STREAM_DONOR is NULL with
     * one stream */
    float *chunk[ORGAN_INPUT_STREAMS];
    size_t buffered;                      /* number of tokens in the chunk */
    unsigned char *scratch, *own_scratch; /* memory for products, the caller's or own; own_scratch NULL: the caller's */
    float *shift;                         /* (X_d - X_p) W^T of the chunk, tokens x rows of this rank; NULL without W */
    organ_turned_inputs turned;           /* room 0: the arithmetic is exact */
    organ_calibration_panel *panels;      /* all panels; this rank sums those of organ_calibration_own_range */
    size_t panel_count;
    int singular; /* nonzero if a tile of H has no inverse */
    bool finished;
};

#define ORGAN_SALIENCY_SUMS ((size_t)5) /* arrays of organ_saliency_sums, a number for each feature */

/* The entries of a panel in H or C. */
typedef struct organ_panel_sums {
    double *at;        /* its first entry */
    size_t rows, cols; /* its size */
    size_t stride;     /* entries from one row to the next */
} organ_panel_sums;

/* Returns the entries of a panel. H and C are stored as consecutive diagonal blocks; the last block may be narrower. */
organ_panel_sums organ_calibration_panel_sums(const organ_calibration *c, const organ_calibration_panel *panel);

/* Returns the range of `count` parts that this rank sums. */
organ_row_range organ_calibration_own_range(const organ_calibration *c, size_t count);
/* Returns the number of tiles of ORGAN_CALIBRATION_BLOCK features. */
size_t organ_calibration_tiles(const organ_calibration *c);

/* Allocates `turned` if the engine's arithmetic is not exact. Returns false if memory cannot be allocated. */
bool organ_calibration_turned_open(organ_calibration *c);
void organ_calibration_turned_close(organ_calibration *c);

/* Adds the inputs of the chunk to the sums and empties it. */
void organ_calibration_add_chunk(organ_calibration *c);
/* Does the same, and adds the turned inputs that wait for more tokens. Called after the last token. */
void organ_calibration_add_last(organ_calibration *c);

/* Adds the magnitudes of the inputs of `tokens` tokens to c->magnitudes. */
void organ_calibration_count_magnitudes(const organ_calibration *c, const float *inputs, size_t tokens);

#endif
