/* SPDX-License-Identifier: MIT
 * Declarations that the sources of the measurement share: measure_scores.c runs the text, outputs.c computes the
 * outputs of experts for a chunk, products.c stores their inner products, greedy.c
 * determines the order of removal. */
#ifndef ORGAN_EXPERT_MEASURE_JOB_H
#define ORGAN_EXPERT_MEASURE_JOB_H

#include "orchestrator/stream/disk/direct_file.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/experts/measure_scores.h"

/* For each token the inner products f_i . f_j, i <= j, of the outputs f of all experts of a layer, in FP32. The
 * products of a token are the upper triangle of a matrix of experts x experts, row after row. They are in memory or in
 * a scratch file. */
typedef struct organ_expert_products {
    size_t experts, tokens; /* experts of the layer; tokens that there is room for */
    float *all;             /* NULL: the products are in `file` */
    organ_direct_file file; /* path NULL: no file */
} organ_expert_products;

size_t organ_expert_products_count(size_t experts); /* returns the number of products of a token */
/* Reserves room for the products of `tokens` tokens, in a file in the directory `scratch`, or in memory if `scratch` is
 * NULL. Returns ORGAN_IO if there is no memory, or no file of this size can be created. */
organ_status organ_expert_products_open(size_t experts, size_t tokens, const char *scratch,
                                        organ_expert_products *products, organ_error *error);
void organ_expert_products_close(organ_expert_products *products);
/* Returns where the caller must write the products of tokens from `token` on: their place in memory, or `scratch` if
 * the products are stored in a file. The caller then calls organ_expert_products_keep. */
float *organ_expert_products_place(const organ_expert_products *products, size_t token, float *scratch);
/* Writes the products of tokens [token, token + count) from `scratch` to the file. Does nothing if products are in
 * memory. */
organ_status organ_expert_products_keep(organ_expert_products *products, size_t token, size_t count,
                                        const float *scratch, organ_error *error);
/* Returns the products of a token: a pointer into memory, or `scratch`, into which they were read from the file.
 * Returns NULL if the file cannot be read. `scratch` has room for the products of one token. Thread-safe. */
const float *organ_expert_products_of(const organ_expert_products *products, size_t token, float *scratch,
                                      organ_error *error);

/* An expert and the difference of its router weights in two choices of experts for one token. */
typedef struct organ_expert_difference {
    unsigned expert;
    double weight;
} organ_expert_difference;
/* Returns the squared distance between the layer's outputs for one token and two choices `a` and `b` of `used` experts:
 * |sum_i a_i f_i - sum_j b_j f_j|^2, where a_i and b_j are router weights and f the outputs of experts. `products` has
 * the inner products of the token. `b` NULL: returns |sum_i a_i f_i|^2. Both choices are sorted by expert number;
 * `room` has space for 2 * used entries. */
double organ_expert_products_apart(const float *products, size_t experts, const organ_expert_choice *a,
                                   const organ_expert_choice *b, unsigned used, organ_expert_difference *room);

/* Buffers of one worker thread. */
typedef struct organ_expert_worker {
    float *square;   /* inner products of all pairs of experts for one token: experts x experts */
    float *products; /* inner products of one token in the layout of organ_expert_products: the upper triangle */
    float *values;   /* scratch of organ_forward_route: one number for each expert */
    bool *kept;      /* a flag for each expert: true if the router may choose it */
    organ_expert_choice
        *chosen; /* the experts that the router chooses among the kept ones for a token: `used` entries */
    organ_expert_difference *differences; /* scratch of organ_expert_products_apart: 2 * used entries */
    void *scratch;                        /* scratch of kernels->product */
} organ_expert_worker;

/* The measurement of all layers. In the shapes below, `used` is the number of experts that the router chooses for a
 * token, and `tokens` and `chunk_tokens` are the members of this name. */
struct organ_expert_measure {
    organ_expert_measure_options options;
    organ_expert_scores *scores;
    organ_targets targets; /* empty: the walk has no target matrices */
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_calibration_run *calib;
    const organ_forward_config *config;
    json_t *identity;    /* what the scores are measured on: see organ_expert_scores_read */
    const char *file;    /* file to which the scores are written after each layer; NULL: none */
    size_t tokens;       /* tokens of the text that this rank processes */
    size_t chunk_tokens; /* largest number of tokens in a chunk */
    size_t batch;        /* number of tokens that experts run on together */
    organ_expert_worker *workers;
    organ_expert_products products;
    /* State of the current layer: */
    bool measuring; /* false: the scores of the layer are known already, so it only runs */
    organ_router router;
    size_t chunk_begin; /* index of the first token of the current chunk among the tokens of this rank */
    float *normed;      /* inputs of the router for the current chunk: chunk_tokens x hidden */
    float *logits;      /* router logits: tokens x experts */
    float *factors;     /* router factors that multiply the inputs of experts: tokens x experts; NULL without
                         * router.into_inputs */
    organ_expert_choice
        *choices;         /* tokens x used: the experts that the router chooses for each token among all experts */
    double *norms;        /* chunk_tokens x used: norms of the outputs of these experts for the current chunk */
    size_t *norm_indices; /* `batch` entries, used without the loss: for each row of a batch of one expert, the index in
                           * `norms` of its norm */
    double *powers;       /* chunk_tokens: squared norm of the sum of the routed experts' outputs; 0 without the loss */
    /* With the loss: the outputs of all experts for a batch (experts x batch x hidden); if `factors` is not NULL, the
     * scaled inputs of one expert (batch x hidden) follow. Without the loss: the inputs of one expert, followed by its
     * outputs (batch x hidden each). */
    float *outputs;
    float *products_buffer; /* the products of a batch before they are written to the file */
    double *rows; /* for each chunk of all ranks, its row: sums over its tokens, organ_expert_row_width() numbers */
    double *sums; /* the sum of all rows */
};

/* Returns the number of extra rows per token that scaled inputs of experts need: 1 with router.into_inputs, else 0. A
 * row has a value for each expert in `factors`, and `hidden` values in `outputs`. */
static inline unsigned organ_expert_scaled_rows(const organ_forward_config *config)
{
    return config->router.into_inputs ? 1 : 0;
}
/* Chooses the experts of a token among the kept ones like organ_forward_route (`kept` NULL: among all). With
 * router.into_inputs the weights of the chosen experts are 1, because the router's factors multiply their inputs. */
void organ_expert_route(const organ_expert_measure *measure, const bool *kept, const float *logits, float *scratch,
                        organ_expert_choice *chosen);

/* Returns the length of a row of measure->rows: 2 * experts + 1. While the scores of a layer are measured, a row has
 * the member `sum` of organ_expert_layer for each expert, then `frequency` for each expert, and last `power`. During
 * the greedy removal it has the increase of the loss for each expert, then `experts` unused entries, and last the loss.
 */
size_t organ_expert_row_width(const organ_expert_measure *measure);
/* Returns, for the chunk that contains token number `token` of this rank, its row in measure->rows. */
double *organ_expert_row_of(const organ_expert_measure *measure, size_t token);
/* Measures the experts on the `tokens` tokens of the chunk that has just passed through the layer. Fills the row of the
 * chunk and, for the loss, stores the products of its tokens. Returns ORGAN_BAD_INPUT if an output is not finite. */
organ_status organ_expert_outputs_take(organ_expert_measure *measure, const organ_calibration_layer *layer,
                                       size_t tokens, organ_error *error);

/* Determines the order in which experts of layer `number` are removed, and the loss after each removal, from the stored
 * products: fills layer->removed and layer->loss. Every rank calls it. */
organ_status organ_expert_greedy(organ_expert_measure *measure, int32_t number, organ_expert_layer *layer,
                                 organ_error *error);
/* Returns the bytes that organ_expert_greedy needs for `tokens` tokens of this rank. */
uint64_t organ_expert_greedy_memory(const organ_forward_config *config, uint64_t tokens);

#endif
