/* SPDX-License-Identifier: MIT
 * Scales the channels of a model's folds (orchestrator/forward/folds.h): the factors of all folds, and their effect on
 * each row of each tensor. */
#ifndef ORGAN_SURGERY_FOLDS_SCALING_H
#define ORGAN_SURGERY_FOLDS_SCALING_H

#include "orchestrator/forward/folds.h"
#include "orchestrator/surgery/calibration/calibration.h"

/* A side of a fold, by the tensor that it scales. */
typedef struct organ_scaled_side {
    size_t fold, side; /* indices in organ_folds.list and organ_folds.sides */
} organ_scaled_side;

/* The factors of the channels of all folds, 1 at first. The producer of channel c is divided by its factor, the readers
 * are multiplied by it. */
typedef struct organ_scaling {
    const organ_model *model;
    organ_folds folds;
    uint64_t channels; /* of all folds */
    float *factors;    /* of the channels of fold 0, then of fold 1, ... */
    uint64_t *begin;   /* index in `factors` of each fold's first channel */
    size_t *of_tensor; /* index in `sides` of each tensor's first side; the last entry is their number */
    organ_scaled_side *sides;
} organ_scaling;

/* Finds the folds of the model of `forward`, with factors of 1. The model must outlive *scaling. Call
 * organ_scaling_release also after an error. Returns ORGAN_IO if memory runs out. */
organ_status organ_scaling_open(const organ_forward *forward, const organ_model *model, organ_scaling *scaling,
                                organ_error *error);
void organ_scaling_release(organ_scaling *scaling);

/* Returns the number of channels whose factor is not 1. */
uint64_t organ_scaling_changed(const organ_scaling *scaling);

/* Returns whether a fold has tensor number `tensor` of the model. */
bool organ_scaling_has(const organ_scaling *scaling, size_t tensor);

/* Scales a row of tensor number `tensor`: row `row` as the file has it, counted over all matrices
 * (organ_tensor_matrices), with all its values. */
void organ_scaling_row(const organ_scaling *scaling, size_t tensor, uint64_t row, float *values);
/* Scales values [first, first + count) of the tensor as the file has it. */
void organ_scaling_values(const organ_scaling *scaling, size_t tensor, uint64_t first, size_t count, float *values);

/* Sets the factors to those by which the producers of `copy`, a model of the same tensors, differ from those of the
 * scaling's model. *odd becomes the name of a tensor with a factor that is no power of two; NULL: there is none.
 * Returns the errors of organ_model_read, ORGAN_IO if memory runs out. */
organ_status organ_scaling_find(organ_scaling *scaling, const organ_model *copy, const organ_kernels *kernels,
                                const char **odd, organ_error *error);

/* The powers of two by which a channel can be scaled such that no weight of it is rounded. */
typedef struct organ_channel_range {
    /* Exponents from `least`, -ORGAN_SMOOTH_EXPONENTS to 0, to `most`, 0 to ORGAN_SMOOTH_EXPONENTS: no weight overflows
     * or loses bits by underflow. The weights of a norm that adds a number are not counted here; `added` and `weight`
     * decide on them. */
    int least, most;
    bool norm;           /* the producer is a norm, and the next members describe its channel */
    float weight, added; /* the norm multiplies by added + weight; `added` is 0 or 1 */
    organ_dtype dtype;   /* the type in which the norm's weight is stored */
} organ_channel_range;
/* Returns by which factor a norm is divided if the caller divides its channel by `wanted` and rounds its weight to the
 * type in which it is stored: readers that are multiplied by this factor compensate the rounding. Returns `wanted` if
 * the producer is no norm. */
float organ_channel_factor(const organ_channel_range *range, const organ_kernels *kernels, float wanted);
/* Returns the powers of two by which a channel can be scaled, for organ_smooth_nearest: every value stays exact in its
 * type, and a norm that adds one multiplies by exactly its former factor over the power. */
uint64_t organ_channel_exponents(const organ_channel_range *range);

/* Narrows *range to exponents with which values of this type stay exact if they are multiplied (`divided`: divided) by
 * the power of two. `least` and `most` are the least magnitude above 0 and the greatest magnitude of the values; if
 * most is 0, the range stays. Only exponents of values are used, so the range may become narrower than necessary. */
void organ_channel_narrow(organ_channel_range *range, float least, float most, organ_dtype dtype, bool divided);

#endif
