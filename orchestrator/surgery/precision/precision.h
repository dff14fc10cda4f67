/* SPDX-License-Identifier: MIT
 * Room surgery/precision: a model in other types of numbers. dequantize makes a plain model of a packed one, quantize a
 * packed one of a plain one, in new shards with config.json changed. */
#ifndef ORGAN_SURGERY_PRECISION_H
#define ORGAN_SURGERY_PRECISION_H

#include "orchestrator/surgery/precision/dequantize.h"
#include "orchestrator/surgery/precision/quantize.h"

#endif
