/* SPDX-License-Identifier: MIT
 * Room surgery/inputs: the inputs of a verb. Models that are read completely and their targets; matrices of linear
 * layers; selections by layer, group or pattern; importance matrices assigned to tensors; texts with their tokens. */
#ifndef ORGAN_SURGERY_INPUTS_H
#define ORGAN_SURGERY_INPUTS_H

#include "orchestrator/surgery/inputs/globs.h"
#include "orchestrator/surgery/inputs/importance.h"
#include "orchestrator/surgery/inputs/matrices.h"
#include "orchestrator/surgery/inputs/plain_only.h"
#include "orchestrator/surgery/inputs/selection.h"
#include "orchestrator/surgery/inputs/select_targets.h"
#include "orchestrator/surgery/inputs/text_input.h"

#endif
