/* SPDX-License-Identifier: MIT
 * Blocks shared by the views of a pruning and of its audit: both count killed weights, which pruning set to zero. */
#ifndef ORGAN_VIEW_SPARSITY_H
#define ORGAN_VIEW_SPARSITY_H

#include "orchestrator/report/view/view_parts.h"

/* Returns a copy of the report with the member "fold", which is computed from the other members:
 *
 *   all       a row for all targets: the members of totals.target, and "tensors", "mean", "min", "max" of the
 *             tensors' percents
 *   totals    a row for each denominator, targets and full model: "name", "killed", "elements", "percent"
 *   bars      a row for each projection and one for all targets: "name", "killed", "elements", "percent", "of_full"
 *             (killed weights in percent of the full model), and of projections "min" and "max"
 *   layers    the report's layers, with "label" ("none"), "name" ("layer 3"), and the "low" and "high" of the percents
 *             of their tensors
 *   densest   the same layers, those with the highest percent first; "sparsest" is the last of them
 *   tensors   the report's tensors; of more than 2,000 those whose percent is farthest from the mean
 *   bins      a row for each range of "magnitudes" from the first to the last with a weight: "place" (log2 of its
 *             middle), "all" and "killed" in percent of the weights counted
 *   tiles     the report's "tile_map", if it is complete
 *   alike     true if all target tensors have the same percent within 0.005, as with a sparsity that is set for each
 *             tensor
 *   target_percent    the target weights, in percent of the model's weights
 *   memory_mib        the run's --memory in MiB
 *
 * Returns NULL if out of memory. */
json_t *organ_sparsity_fold(const json_t *report);

/* Columns and tables over a copy that organ_sparsity_fold returned: by projection, over both denominators, by layer. */
extern const organ_field organ_projection_fields[8], organ_total_fields[4], organ_sparse_layer_fields[5];
#define PROJECTIONS(where, if_)                                                                                        \
    TABLE(where, if_, "projections", FIELDS(organ_projection_fields), .total = "all targets", .total_row = "fold.all", \
          .caption = "Mean, min and max are over the projection's tensors, each in percent of that tensor's "          \
                     "elements; the last percent "                                                                     \
                     "is of all elements of the projection.")
#define TOTALS(where, if_)                                                                                             \
    TABLE(where, if_, "fold.totals", FIELDS(organ_total_fields), .caption = "Killed weights over both denominators")

/* Blocks of a page, over the same copy: killed weights by projection and by layer; by magnitude; of single tensors. */
enum { ORGAN_SPARSITY_BLOCKS = 11, ORGAN_MAGNITUDE_BLOCKS = 3, ORGAN_SPARSE_TENSOR_BLOCKS = 4 };
extern const organ_block organ_sparsity_blocks[ORGAN_SPARSITY_BLOCKS], organ_magnitude_blocks[ORGAN_MAGNITUDE_BLOCKS],
    organ_sparse_tensor_blocks[ORGAN_SPARSE_TENSOR_BLOCKS];
#define SPARSITY(if_)       PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparsity_blocks))
#define MAGNITUDES          PART_IF(ON_PAGE, "fold.bins", ".", BLOCKS_OF(organ_magnitude_blocks))
#define SPARSE_TENSORS(if_) PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparse_tensor_blocks))

/* The command `organ audit DONOR OUTPUT --targets ...`, quoted for a shell. `output` is the member of "run" with the
 * path of the output, `compensated` the condition for --compensated. */
#define AUDIT_COMMAND(output, compensated)                                                                             \
    "organ audit {run.donor:shell} {run." output ":shell}{parameters.targets? --targets {parameters.targets:shell}}"   \
    "{" compensated "? --compensated}"

/* Main results of a pruning or its audit, for HIGHLIGHTS. */
#define SPARSITY_HIGHLIGHTS                                                                                            \
    {NULL, "of the {totals.target.elements:count} target weights killed", "{totals.target.percent:percent}"},          \
        {NULL, "of all {totals.full.elements:count} weights of the model killed", "{totals.full.percent:percent}"},    \
        {NULL, "of the target weights processed, each once", "{coverage.percent:percent}"},                            \
        {"matrices", "of the weights in matrices of linear layers are targets", "{matrices.percent:percent}"},         \
    {                                                                                                                  \
        NULL, "target tensors", "{per_tensor.tensors:count}"                                                           \
    }

#endif
