/* SPDX-License-Identifier: MIT
 * Runs of organ_width on the models of fixtures/forward, and layers of the outputs and the donor. */
#ifndef WIDTH_RIG_H
#define WIDTH_RIG_H

#include <organ/cut.h>
#include "tests/kit/forward_rig.h"
#include "tests/verbs/shrink/least_loss.h"

enum { EXPERTS = 6, SAMPLES = 30, CONTEXT = 32 };

typedef struct width_way {
    const char *ffn, *score;
    unsigned samples, context;
    size_t threads;
    uint64_t memory;
    bool dry_run, no_refit;
} width_way;

extern const width_way usual; /* 16 channels by loss, with SAMPLES windows of CONTEXT tokens */
extern json_t *width_report;  /* of the last run */

void width_setup(void);
void width_teardown(void);

/* Returns true if the donor that method_make_donor has made is a GGUF file. */
bool is_gguf(void);
const char *donor_path(void);
const char *output_path(const char *name);
organ_status narrow(const char *output, width_way way, organ_error *error);
void must_narrow(const char *output, width_way way);

/* Names of the matrices of expert %u of a layer, or of its shared expert; up is NULL if gate contains the rows of
 * both. */
typedef struct expert_names {
    const char *kind, *gate, *up, *down;
} expert_names;

/* A layer of a model, and its forward pass. */
typedef struct opened {
    session s;
    organ_layer *layer;
} opened;

void open_layer(opened *o, const char *path, int32_t layer);
void close_layer(opened *o);

void read_matrix(const opened *o, const char *pattern, unsigned expert, uint64_t rows, uint64_t cols, float *values);
/* Reads the rows of gate, then those of up, of an expert. */
void read_rows(const opened *o, const expert_names *names, unsigned expert, uint64_t width, float *values);
/* Finds the donor's channels that an expert of the output has, by its rows of gate and up. */
void find_kept(const opened *donor, const opened *out, const expert_names *names, unsigned expert, bool *kept);
/* Checks that kept columns have these values, rounded to the stored type. */
void check_values(const opened *out, const expert_names *names, unsigned expert, const bool *kept, double (*v)[WIDTH]);

/* Inputs of the experts of a layer for the text, tokens x HIDDEN, and router weights, tokens x EXPERTS. */
typedef struct hearing {
    size_t tokens;
    float *normed, *logits;
} hearing;

/* Runs the windows of the text as a run does, through `before`, the preceding layer (NULL: none), and the layer. */
void hear_text(const opened *before, const opened *o, unsigned samples, unsigned context, hearing *heard);
void hearing_free(hearing *heard);

#endif
