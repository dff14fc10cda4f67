/* SPDX-License-Identifier: MIT
 * Declarations that the sources of the measurement share: measure_scores.c runs the text, outputs.c computes the
 * outputs of experts for a chunk, products.c stores their inner products, measure_rows.c sums scores, greedy.c
 * determines the order of removal. */
#ifndef ORGAN_EXPERT_MEASURE_JOB_H
#define ORGAN_EXPERT_MEASURE_JOB_H

#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/experts/measure_scores.h"

/* For each token the inner products f_i . f_j, i <= j, of the outputs of all experts: upper triangle row by row, FP32,
 * in memory or in a scratch file. */
typedef struct organ_expert_products {
    size_t experts, tokens;
    float *all;             /* NULL: the products are in `file` */
    organ_direct_file file; /* path NULL: no file */
} organ_expert_products;

size_t organ_expert_products_count(size_t experts); /* returns the number of products of a token */
/* Reserves room for the products of all tokens, in a file in the directory `scratch`, or in memory if `scratch` is
 * NULL. */
organ_status organ_expert_products_open(size_t experts, size_t tokens, const char *scratch,
                                        organ_expert_products *products, organ_error *error);
void organ_expert_products_close(organ_expert_products *products);
/* Returns where the caller computes the products of tokens from `token` on: their place in memory, or `scratch` if they
 * are stored in the file. The caller then calls organ_expert_products_keep with the number of tokens. */
float *organ_expert_products_place(const organ_expert_products *products, size_t token, float *scratch);
organ_status organ_expert_products_keep(organ_expert_products *products, size_t token, size_t count,
                                        const float *scratch, organ_error *error);
/* Returns the products of a token, which may be stored in `scratch`; NULL on error. Thread-safe. */
const float *organ_expert_products_of(const organ_expert_products *products, size_t token, float *scratch,
                                      organ_error *error);
/* An expert and the difference of its weights in two choices of experts. organ_expert_products_apart returns |sum a_i
 * f_i - sum b_j f_j|^2 of two choices of `used` experts for one token; `b` NULL: |sum a_i f_i|^2. Both choices are
 * sorted by expert number; `room` has space for 2 * used entries. */
typedef struct organ_expert_difference {
    unsigned expert;
    double weight;
} organ_expert_difference;
double organ_expert_products_apart(const float *products, size_t experts, const organ_choice *a, const organ_choice *b,
                                   unsigned used, organ_expert_difference *room);

/* Buffers of one worker thread. */
typedef struct organ_expert_worker {
    float *square;        /* experts x experts */
    float *products;      /* products of one token */
    float *values;        /* values that organ_forward_route computes */
    bool *kept;           /* a flag for each expert: the router may choose it */
    organ_choice *chosen; /* the experts that the router chooses among these for a token: `used` entries */
    organ_expert_difference *differences; /* 2 * used entries */
    void *scratch;                        /* scratch of kernels->product */
} organ_expert_worker;

/* The measurement. `used` is the number of experts of a token. */
struct organ_expert_measure {
    organ_expert_measure_options options;
    organ_expert_scores *scores;
    organ_targets targets; /* empty: the walk has no target matrices */
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_calibration_run *calib;
    const organ_forward_config *config;
    json_t *identity;
    const char *file;                    /* file that gets the scores after each layer; NULL: none */
    size_t tokens, chunk_tokens, chunks; /* tokens of this rank; largest number of tokens in a chunk; chunks of all
                                          * ranks */
    size_t batch;                        /* tokens for which all experts are computed together */
    organ_expert_worker *workers;
    organ_expert_products products;
    /* State of the layer that is measured: */
    bool open; /* the current layer is measured; false: its scores are known */
    organ_router router;
    size_t next;         /* tokens of the chunks before the current one */
    float *normed;       /* inputs of the router for the current chunk: chunk_tokens x hidden */
    float *logits;       /* router logits: tokens x experts */
    float *factors;      /* factors of experts' inputs: tokens x experts; NULL without router.into_inputs */
    organ_choice *dense; /* tokens x used: the donor's experts of each token */
    double *norms;       /* chunk_tokens x used: norms of the outputs of these experts */
    size_t *places;      /* `batch` entries: for each gathered row of an expert, its index in `norms` */
    double *powers;      /* chunk_tokens: squared norm of the layer's routed output */
    float *outputs;  /* experts x batch x hidden, and with `factors` batch x hidden scaled inputs; without the loss 2 x
                      * batch x hidden */
    float *made;     /* batch x products: buffer for products written to the file */
    double *rows;    /* for each chunk of all ranks, its row: sums over its tokens, organ_expert_row_width() numbers */
    uint32_t *owner; /* for each chunk, the rank that processes it */
};

/* Returns the number of rows of a token that scaled inputs need: 1 with router.into_inputs, else 0. */
static inline unsigned organ_expert_scaled_rows(const organ_forward_config *config)
{
    return config->router.into_inputs ? 1 : 0;
}
/* Chooses the experts of a token like organ_forward_route. With router.into_inputs all factors of outputs are 1. */
void organ_expert_route(const organ_expert_measure *measure, const bool *kept, const float *logits, float *scratch,
                        organ_choice *chosen);

/* Returns the length of a row. While scores are measured it has the sums and then the frequencies of all experts, and
 * last the power; during removal the increases of the loss for all experts, unused entries, and last the loss. */
size_t organ_expert_row_width(const organ_expert_measure *measure);
/* Returns the row of the chunk of this rank that contains `token`. */
double *organ_expert_row_of(const organ_expert_measure *measure, size_t token);
/* Sends the rows of each rank to all ranks and adds them in the order of chunks into `sums`, so that all ranks get the
 * same bits. Called also after an error, which every rank then returns. `where` names the work in messages. */
organ_status organ_expert_rows_sum(organ_expert_measure *measure, const char *where, double *sums, organ_error *error);

/* Measures the experts on the `tokens` tokens of the chunk that has just passed through the layer: fills its row and,
 * if the loss is scored, stores its products. */
organ_status organ_expert_outputs_take(organ_expert_measure *measure, const organ_calibration_layer *layer,
                                       size_t tokens, organ_error *error);

/* Determines the order in which experts of the layer are removed, and the loss after each removal. */
organ_status organ_expert_greedy(organ_expert_measure *measure, int32_t number, organ_expert_layer *layer,
                                 organ_error *error);
/* Returns the bytes that organ_expert_greedy needs for `tokens` tokens of this rank. */
uint64_t organ_expert_greedy_memory(const organ_forward_config *config, uint64_t tokens);

#endif
