/* SPDX-License-Identifier: MIT
 * Room surgery/precision: changes the number types of a model. dequantize converts packed models to plain ones,
 * quantize plain models to packed ones; both write new shards and an edited config.json. */
#ifndef ORGAN_SURGERY_PRECISION_H
#define ORGAN_SURGERY_PRECISION_H

#include "orchestrator/surgery/precision/dequantize.h"
#include "orchestrator/surgery/precision/quantize.h"

#endif
