/* SPDX-License-Identifier: MIT
 * Room surgery/organs: moves tensors between models without changing their values. extract splits a model into an organ
 * directory, with one file for each tensor; assemble makes a model from such a directory; graft and chimera replace
 * tensors of one model by those of another. */
#ifndef ORGAN_SURGERY_ORGANS_H
#define ORGAN_SURGERY_ORGANS_H

#include "orchestrator/surgery/organs/assemble.h"
#include "orchestrator/surgery/organs/extract.h"
#include "orchestrator/surgery/organs/graft.h"

#endif
