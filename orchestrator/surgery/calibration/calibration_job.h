/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of the walk share: calibration_run.c opens it, calibration_walk.c runs through
 * the layers, captures.c stores the inputs of a layer, capture.c exchanges them between ranks, sharing.c assigns
 * matrices to ranks, states.c stores the hidden states of windows, calibration_rows.c converts between the row
 * orders of files and the forward pass. */
#ifndef ORGAN_CALIBRATION_JOB_H
#define ORGAN_CALIBRATION_JOB_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/calibration/states.h"

/* A run of the windows of a text through the layers of a model, one layer after another, to calibrate its matrices. */
struct organ_calibration_run {
    /* Belongs to the caller; organ_calibration_run_open lowers `samples` if the text is too short. */
    organ_calibration_run_options *options;
    const organ_model *model;
    const organ_targets *targets;
    const organ_calibration_work *work;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_calibration_run_facts facts;
    uint32_t *tokens; /* samples x context */
    size_t *begin;    /* first token of each window in `tokens`, and the end: samples + 1 numbers */
    organ_calibration_chunks chunks;
    organ_calibration_states *states;       /* hidden states of the changed model, or of the only stream */
    organ_calibration_states *donor_states; /* hidden states of the donor, with two streams; else NULL */
    float *levels;           /* organ_normal_levels() for the noise of all calibrations; NULL with moments_only */
    uint64_t text_memory;    /* bytes of the text and its tokens */
    uint64_t moments_memory; /* bytes that the calibrations of a layer may use together */
};

/* Returns true if at least `tokens` tokens are between the windows, for organ_calibration_cut_test_windows. */
bool organ_calibration_has_test_tokens(const organ_calibration_run *calib, size_t tokens);

/* Returns the position in the text of the first token of a window. */
size_t organ_calibration_window_at(const organ_calibration_run *calib, size_t window);

/* Matrices with the same inputs (Q, K and V; gate and up), which share a calibration. */
typedef struct organ_calibration_group {
    size_t leader; /* the unit whose inputs are gathered */
    size_t features;
    bool closed;         /* calibrated with its leader's weights: no other unit may join */
    organ_engine engine; /* its memory decides whether the moments are one block */
    organ_calibration *calibration;
    float *kept; /* inputs of the current chunk in the changed stream, until those of the donor arrive; NULL with one
                    stream */
    uint64_t tokens; /* number of tokens gathered in the changed stream */
} organ_calibration_group;

/* A target matrix of the layer: a tensor, or a matrix of a stack of experts. */
typedef struct organ_calibration_unit {
    char name[400];              /* organ_calibration_matrix.name */
    size_t target;               /* index of its tensor in the targets */
    uint64_t matrix, rows, cols; /* index in a stack, else 0; its shape */
    size_t group;                /* index of its group; SIZE_MAX: none yet */
    bool expert; /* an expert: the streams may route different tokens to it, so it is calibrated on the changed stream
                    alone */
    bool one_block; /* its second moments fit in memory as one block */
    bool done;      /* finished by an earlier run */
    bool fallback;  /* an expert with too few routed tokens: it is calibrated on all tokens of the layer */
    size_t pass;    /* the run of the layer in which its inputs are gathered */
    uint32_t owner; /* the rank that changes the unit */
    bool common;    /* all ranks change it together, and `owner` writes it to the output */
} organ_calibration_unit;

/* A call of a tap that other ranks replay: `tokens` rows of `features` inputs of a unit, from token `first` of the
 * chunk on. */
typedef struct organ_calibration_call {
    size_t unit, first, tokens, features;
    bool donor, same; /* the stream; whether the inputs are those of the previous call */
    uint64_t bytes;   /* bytes of inputs that are sent */
} organ_calibration_call;

/* The tap calls that this rank has recorded for its current chunk. */
typedef struct organ_calibration_record {
    organ_calibration_call *calls;
    float **inputs; /* inputs of each call */
    size_t count, capacity;
    const float *last_input; /* address of the last call's inputs in the forward pass */
    float *others;           /* buffer for the inputs of another rank's call */
} organ_calibration_record;

/* The matrices of a layer while their inputs are gathered. */
typedef struct organ_calibration_captures {
    const organ_calibration_run *calib;
    int32_t layer;
    organ_layer *loaded;
    organ_calibration_unit *units; /* in the order of targets and matrices */
    size_t unit_count;
    organ_calibration_group *groups; /* room for one per unit */
    size_t group_count;
    unsigned char *scratch;  /* of products, for all calibrations: a layer may have thousands */
    size_t pass, passes;     /* the current pass, and the number of passes */
    uint64_t spare;          /* unused bytes for second moments */
    bool fallback_pass;      /* only units with `fallback` are gathered */
    size_t last;             /* unit of the last call in this run, SIZE_MAX: none */
    const float *last_input; /* inputs of that call */
    organ_calibration_record record;
} organ_calibration_captures;

/* Lists the units of the layer. The caller closes *captures also after an error. */
organ_status organ_calibration_gathering_open(const organ_calibration_run *calib, organ_layer *loaded, int32_t layer,
                                              organ_calibration_captures *captures, organ_error *error);
void organ_calibration_gathering_close(organ_calibration_captures *captures);
/* Discards the calibrations of this pass and begins the next one. */
void organ_calibration_gathering_next(organ_calibration_captures *captures);
/* Taps for organ_layer_run that gather the inputs of a chunk: first in the changed stream, then the same chunk in the
 * donor. A new chunk begins with organ_calibration_capture_next. */
void organ_calibration_capture_next(organ_calibration_captures *captures);
organ_status organ_calibration_capture(void *captures, const char *tensor, size_t first, size_t tokens, size_t features,
                                       const float *inputs, organ_error *error);
organ_status organ_calibration_capture_donor(void *captures, const char *tensor, size_t first, size_t tokens,
                                             size_t features, const float *inputs, organ_error *error);
/* Returns the index of the unit of the matrix `name` if this pass gathers its inputs, else SIZE_MAX. */
size_t organ_calibration_unit_named(const organ_calibration_captures *captures, const char *name);
/* Returns true if both units are in the attention or both in the feed-forward; only these can share an input buffer. */
bool organ_calibration_same_place(const organ_calibration_captures *captures, const organ_calibration_unit *a,
                                  const organ_calibration_unit *b);

/* Returns the tap for a stream. It gathers inputs at once, or, with several ranks, records them until
 * organ_calibration_capture_exchange. */
organ_tap organ_calibration_tap(organ_calibration_captures *captures, bool donor);
/* Exchanges recorded inputs after each rank has run its chunk (or has no chunk left): all ranks gather the inputs of
 * all ranks. Called also after an error, which every rank then returns. Does nothing without ranks. */
organ_status organ_calibration_capture_exchange(organ_calibration_captures *captures, organ_error *error);
/* Allocates the buffer for inputs that other ranks record. Does nothing with one rank. */
organ_status organ_calibration_record_open(organ_calibration_captures *captures, organ_error *error);
void organ_calibration_record_close(organ_calibration_record *record);
/* Called after the inputs of all routed tokens were gathered: marks the units of experts with fewer than
 * ORGAN_CALIBRATION_MIN_TOKENS of these tokens and discards their calibration. Sets *all_tokens to a flag for each
 * expert of the layer, which the caller frees, or to NULL if all experts have enough tokens. Returns ORGAN_IO if memory
 * cannot be allocated. */
organ_status organ_calibration_find_few_tokens(organ_calibration_captures *captures, bool **all_tokens,
                                               organ_error *error);
/* Sets *all_tokens to flags that are true for all experts of the layer, which the caller frees; to NULL if the layer
 * has no experts. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_calibration_all_experts(const organ_calibration_captures *captures, bool **all_tokens,
                                           organ_error *error);
/* Finishes the calibrations of this pass after the last chunk. */
organ_status organ_calibration_gathering_finish(organ_calibration_captures *captures, organ_error *error);

/* Assigns units to ranks after the inputs were gathered. The result is the same on all ranks. */
organ_status organ_calibration_assign_units(const organ_calibration_captures *captures, organ_error *error);
/* Sends each changed matrix from its owner to all ranks. Called also after an error, which every rank then returns. */
organ_status organ_calibration_exchange_matrices(const organ_calibration_captures *captures,
                                                 const organ_calibration_layer *layer, organ_error *error);

/* Returns ORGAN_USAGE, with its name, if a target has no inputs (organ_forward_is_tapped). */
organ_status organ_calibration_check_targets(const organ_calibration_run *calib, organ_error *error);

/* Returns the last layer of the forward pass with a target, -1 if there is none; with work->every the last layer. */
int32_t organ_calibration_last_layer(const organ_calibration_run *calib);

/* Releases the hidden states of both streams. */
void organ_calibration_free_states(organ_calibration_run *calib);

#endif
