/* SPDX-License-Identifier: MIT
 * Room surgery/organs: tensors change places, their values stay. extract takes a model apart into an organ directory, a
 * file for each tensor; assemble makes a model of one; graft, and chimera, put tensors of one model into another. */
#ifndef ORGAN_SURGERY_ORGANS_H
#define ORGAN_SURGERY_ORGANS_H

#include "orchestrator/surgery/organs/assemble.h"
#include "orchestrator/surgery/organs/extract.h"
#include "orchestrator/surgery/organs/graft.h"

#endif
