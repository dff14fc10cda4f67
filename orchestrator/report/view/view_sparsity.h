/* SPDX-License-Identifier: MIT
 * Blocks shared by the views of a pruning and of its audit: both count killed weights. */
#ifndef ORGAN_VIEW_SPARSITY_H
#define ORGAN_VIEW_SPARSITY_H

#include "orchestrator/report/view/view_parts.h"

/* Returns a copy of the report with the member "fold", which is computed from the other members:
 *
 *   all       "tensors", "mean", "min", "max" over the percents of all target tensors, with the members of
 *             totals.target
 *   totals    both denominators as rows: "name", "killed", "elements", "percent"
 *   bars      the projections and all targets: "name", "percent", "min", "max", "killed", "elements", "of_full"
 *   layers    the report's layers, with "label" ("none"), "name" ("layer 3"), and the "low" and "high" of the percents
 *             of their tensors
 *   densest   the same layers, the most densely pruned first; "sparsest" is the last of them
 *   tensors   if there are very many tensors: those whose percent is farthest from the mean
 *   bins      of "magnitudes", from the first with a weight in it: "place", "all" and "killed" in percent of the
 *             weights counted
 *   tiles     "tile_map", if it is complete
 *   alike     all target tensors are pruned equally densely, as methods that reach a given sparsity in every tensor do
 *   target_percent, memory_mib
 *
 * NULL without memory. */
json_t *organ_sparsity_fold(const json_t *report);

/* Fields and blocks for such a copy. */
extern const organ_field organ_projection_fields[8], organ_total_fields[4], organ_sparse_layer_fields[5];
#define PROJECTIONS(where, if_)                                                                                        \
    TABLE(where, if_, "projections", FIELDS(organ_projection_fields), .total = "all targets", .total_row = "fold.all", \
          .caption = "Mean, min and max are over the projection's tensors, each in percent of that tensor's "          \
                     "elements; the last percent "                                                                     \
                     "is of all elements of the projection.")
#define TOTALS(where, if_)                                                                                             \
    TABLE(where, if_, "fold.totals", FIELDS(organ_total_fields), .caption = "Killed weights over both denominators")

/* On a page: killed weights by projection and by layer; the magnitudes of the killed weights; single tensors. */
enum { ORGAN_SPARSITY_BLOCKS = 11, ORGAN_MAGNITUDE_BLOCKS = 3, ORGAN_SPARSE_TENSOR_BLOCKS = 4 };
extern const organ_block organ_sparsity_blocks[ORGAN_SPARSITY_BLOCKS], organ_magnitude_blocks[ORGAN_MAGNITUDE_BLOCKS],
    organ_sparse_tensor_blocks[ORGAN_SPARSE_TENSOR_BLOCKS];
#define SPARSITY(if_)       PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparsity_blocks))
#define MAGNITUDES          PART_IF(ON_PAGE, "fold.bins", ".", BLOCKS_OF(organ_magnitude_blocks))
#define SPARSE_TENSORS(if_) PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparse_tensor_blocks))

/* "organ audit DONOR OUTPUT --targets ...", as a shell takes it: `output` is the member of "run", `compensated` a
 * condition. */
#define AUDIT_COMMAND(output, compensated)                                                                             \
    "organ audit {run.donor:shell} {run." output ":shell}{parameters.targets? --targets {parameters.targets:shell}}"   \
    "{" compensated "? --compensated}"

#define SPARSITY_HIGHLIGHTS                                                                                            \
    {NULL, "of the {totals.target.elements:count} target weights killed", "{totals.target.percent:percent}"},          \
        {NULL, "of all {totals.full.elements:count} weights of the model killed", "{totals.full.percent:percent}"},    \
        {NULL, "of the target weights processed, each once", "{coverage.percent:percent}"},                            \
        {"matrices", "of the weights in matrices of linear layers are targets", "{matrices.percent:percent}"},         \
    {                                                                                                                  \
        NULL, "target tensors", "{per_tensor.tensors:count}"                                                           \
    }

#endif
