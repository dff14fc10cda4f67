/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of the calibration walk share. calibration_run.c opens the walk;
 * calibration_walk.c runs the text through the layers; captures.c gathers the inputs of a layer's matrices, which a tap
 * (organ_tap, a callback of the forward pass) receives; sharing.c assigns matrices to ranks and exchanges inputs
 * between them; calibration_units.c lets the caller change the matrices; calibration_rows.c converts between the row
 * orders of files and the forward pass. */
#ifndef ORGAN_SURGERY_CALIBRATION_CALIBRATION_PARTS_H
#define ORGAN_SURGERY_CALIBRATION_CALIBRATION_PARTS_H

#include "orchestrator/surgery/calibration/calibration.h"

/* Bytes of memory for the second moments of any layer. */
typedef struct organ_calibration_needs {
    uint64_t least; /* the layer runs several times, on a copy of its weights, each time for some of its experts */
    uint64_t all;   /* it runs once for all experts */
} organ_calibration_needs;

/* A run of the windows of a text through the layers of a model, one layer after another, to calibrate the matrices of
 * the layers. */
struct organ_calibration_run {
    /* Belongs to the caller; organ_calibration_run_open lowers `samples` if the text is too short. */
    organ_calibration_run_options *options;
    const organ_model *model;
    const organ_targets *targets;
    const organ_calibration_work *work;
    const organ_engine *engine; /* `with_compute` */
    organ_engine with_compute;  /* the caller's engine with the arithmetic of options->calibration.compute */
    const organ_progress *progress;
    organ_calibration_run_facts facts;
    uint32_t *tokens; /* ids of the tokens of all windows, samples x context */
    size_t *begin;    /* index in `tokens` of each window's first token, and of the end: samples + 1 indices */
    organ_calibration_chunks chunks;
    organ_calibration_states *states;       /* hidden states of the changed model, or of the only stream */
    organ_calibration_states *donor_states; /* hidden states of the donor, with two streams; else NULL */
    float *levels;        /* organ_normal_levels() for the noise of all calibrations; NULL with moments_only */
    uint64_t text_memory; /* bytes that reading and encoding the text needed */
    organ_calibration_needs needs[2]; /* of the second moments of a layer: whole, and in diagonal blocks */
    uint64_t moments_memory;          /* bytes that the second moments of one layer's matrices may use together */
    uint64_t work_memory; /* bytes that are reserved for a matrix in FP32 and the work on it, besides its moments */
};

/* Returns the bytes of the second moments of a matrix; `blocks`: organ_calibration_run_options.blocks. */
uint64_t organ_calibration_moments_bytes(const organ_calibration_run *calib, uint64_t cols, uint64_t rows, bool expert,
                                         bool blocks);
/* Returns true if inputs are gathered on a copy of a chunk's states, because the states run through the layer again
 * later. */
bool organ_calibration_runs_on_copies(const organ_calibration_run_options *options, const organ_forward *forward);
/* Returns true if a layer may run several times to gather the second moments of its experts (work->forget). */
bool organ_calibration_may_rerun(const organ_calibration_run *calib);
/* Sets calib->needs. Work that gathers no second moments needs none. */
organ_status organ_calibration_find_needs(organ_calibration_run *calib, organ_error *error);

/* Returns true if at least `tokens` tokens are between the windows, for organ_calibration_cut_test_windows. */
bool organ_calibration_has_test_tokens(const organ_calibration_run *calib, size_t tokens);

/* Returns the position in the text of the first token of a window. */
size_t organ_calibration_window_at(const organ_calibration_run *calib, size_t window);

/* Matrices with the same inputs (Q, K and V; gate and up), which share a calibration. */
typedef struct organ_calibration_group {
    size_t leader;   /* index of the unit whose inputs are gathered for all units of the group */
    size_t features; /* inputs of each matrix */
    bool closed;     /* `calibration` uses the weights of the leader: no other unit may join */
    /* owned; NULL if units of the group were moved to other groups (organ_calibration_find_few_tokens) */
    organ_calibration *calibration;
    /* inputs of the current chunk in the changed stream, tokens x features, until the donor's inputs of the same chunk
     * arrive; NULL with one stream */
    float *kept;
    uint64_t tokens; /* number of tokens gathered in the changed stream */
} organ_calibration_group;

/* A target matrix of the layer: a tensor, or a matrix of a stack of experts. */
typedef struct organ_calibration_unit {
    char name[400];      /* organ_calibration_matrix.name */
    size_t target;       /* index of its tensor in the targets */
    uint64_t matrix;     /* index of the matrix in its stack; else 0 */
    uint64_t rows, cols; /* shape of the matrix */
    size_t group;        /* index of its group; SIZE_MAX: none yet */
    /* the matrix belongs to an expert: the two streams may route different tokens to it, so it is calibrated on the
     * changed stream alone */
    bool expert;
    bool done;      /* an earlier run has finished the matrix */
    bool fallback;  /* an expert with too few routed tokens: it is calibrated on all tokens of the layer */
    size_t pass;    /* number of the pass in which its inputs are gathered (organ_calibration_captures.pass) */
    uint32_t owner; /* the rank that changes the matrix */
    bool common;    /* all ranks change the matrix together, and `owner` writes it to the output */
} organ_calibration_unit;

/* A recorded call of a tap, which all ranks replay: `tokens` rows of `features` inputs of unit `unit`, from token
 * `first` of the chunk on. */
typedef struct organ_calibration_call {
    size_t unit, first, tokens, features;
    bool donor;     /* the inputs are those of the donor; false: of the changed model */
    bool same;      /* the inputs are those of the previous call, and no bytes are sent */
    uint64_t bytes; /* bytes of inputs that are sent */
} organ_calibration_call;

typedef struct organ_calibration_record {
    organ_calibration_call *calls;
    float **inputs;          /* copies of the inputs of each call, owned */
    size_t count, capacity;  /* recorded calls, and the room of both arrays */
    const float *last_input; /* address of the last call's inputs in the forward pass, only to be compared */
    float *others;           /* buffer for the inputs of another rank's call; NULL with one rank */
} organ_calibration_record;

/* The matrices of a layer while their inputs are gathered. A pass is a run of the text through the layer that gathers
 * the inputs of some units, which are then changed; most layers have one pass. */
typedef struct organ_calibration_captures {
    const organ_calibration_run *calib;
    int32_t layer;
    organ_layer *loaded;
    organ_calibration_unit *units; /* in the order of targets and matrices */
    size_t unit_count;
    organ_calibration_group *groups; /* room for two per unit: a unit with `fallback` opens a second group */
    size_t group_count;
    unsigned char *scratch;  /* scratch of products, shared by all calibrations: a layer may have thousands */
    size_t pass, passes;     /* the current pass, from 0, and the number of passes */
    uint64_t spare;          /* bytes of moments_memory that the second moments of this pass leave unused */
    bool fallback_pass;      /* the layer runs again for experts with few tokens: gathers only units with `fallback` */
    size_t last;             /* unit of the previous call of a tap; SIZE_MAX: none */
    const float *last_input; /* address of the inputs of that call, only to be compared */
    organ_calibration_record record;
} organ_calibration_captures;

/* Lists the units of the layer `loaded`, which has the number `layer`, and assigns the units to passes. Returns
 * ORGAN_IO if memory cannot be allocated. The caller closes *captures also after an error. */
organ_status organ_calibration_gathering_open(const organ_calibration_run *calib, organ_layer *loaded, int32_t layer,
                                              organ_calibration_captures *captures, organ_error *error);
void organ_calibration_gathering_close(organ_calibration_captures *captures);
/* Discards the calibrations of this pass and begins the next one. */
void organ_calibration_gathering_next(organ_calibration_captures *captures);
/* Begins a new chunk: from now on, inputs at the address of an earlier call's inputs count as other inputs. */
void organ_calibration_capture_next(organ_calibration_captures *captures);

/* Returns the tap for the changed stream or, if `donor`, for the donor's stream. With one rank it gathers inputs at
 * once; with several ranks it records them until organ_calibration_capture_exchange. */
organ_tap organ_calibration_tap(organ_calibration_captures *captures, bool donor);
/* Exchanges recorded inputs after each rank has run its chunk (or has no chunk left): all ranks gather the inputs of
 * all ranks. A rank must call it also after an error, which every rank then returns. Does nothing with one rank. */
organ_status organ_calibration_capture_exchange(organ_calibration_captures *captures, organ_error *error);
/* Allocates the buffer for inputs that other ranks record. Does nothing with one rank. */
organ_status organ_calibration_record_open(organ_calibration_captures *captures, organ_error *error);
void organ_calibration_record_close(organ_calibration_record *record);
/* Called after the inputs of all routed tokens were gathered: sets `fallback` of the units of experts with fewer than
 * ORGAN_CALIBRATION_MIN_TOKENS routed tokens and discards their calibrations. Sets *all_tokens to an array with a flag
 * for each expert of the layer, true for experts with too few tokens; to NULL if all have enough. The caller frees the
 * array. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_calibration_find_few_tokens(organ_calibration_captures *captures, bool **all_tokens,
                                               organ_error *error);
/* Sets *all_tokens to an array of flags, true for each expert of the layer; to NULL if the layer has no experts. The
 * caller frees the array. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_calibration_all_experts(const organ_calibration_captures *captures, bool **all_tokens,
                                           organ_error *error);
/* Finishes the calibrations of this pass after the last chunk. Returns ORGAN_USAGE if a unit has received no inputs,
 * and the errors of organ_calibration_finish. */
organ_status organ_calibration_gathering_finish(organ_calibration_captures *captures, organ_error *error);

/* Sets `owner` and `common` of all units: assigns them to ranks after the inputs were gathered. The result is the same
 * on all ranks, unless work->alike. Does nothing with one rank. */
organ_status organ_calibration_assign_units(const organ_calibration_captures *captures, organ_error *error);
/* Sends each matrix that only its owner has changed to all ranks; sends none with ORGAN_INPUTS_DONOR or work->alike. A
 * rank must call it also after an error, which every rank then returns. Does nothing with one rank. */
organ_status organ_calibration_exchange_matrices(const organ_calibration_captures *captures,
                                                 const organ_calibration_layer *layer, organ_error *error);

/* Returns ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_calibration_stopped(const organ_calibration_run *calib, int32_t layer, organ_error *error);
/* Lets the caller change the units of this pass that this rank changes, then exchanges the matrices between ranks. */
organ_status organ_calibration_change_units(const organ_calibration_captures *captures,
                                            const organ_calibration_layer *layer, organ_error *error);

/* Opens the blocks for multi-token prediction if a target may be in one. */
organ_status organ_calibration_open_drafts(organ_forward *forward, const organ_targets *targets, organ_error *error);
/* Returns ORGAN_USAGE, naming the target, if the forward pass gives no inputs of a target (organ_forward_is_tapped). */
organ_status organ_calibration_check_targets(const organ_calibration_run *calib, organ_error *error);

/* Returns the last layer of the forward pass with a target, -1 if there is none; with work->every the last layer. */
int32_t organ_calibration_last_layer(const organ_calibration_run *calib);

/* Releases the hidden states of both streams. */
void organ_calibration_free_states(organ_calibration_run *calib);

#endif
