/* SPDX-License-Identifier: MIT
 * All of liborgan. A program may include single topics instead: <organ/models.h>, <organ/prune.h>. */
#ifndef ORGAN_API_ORGAN_H
#define ORGAN_API_ORGAN_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <organ/tokenizer.h>
#include <organ/architecture.h>
#include <organ/machine.h>
#include <organ/stream.h>
#include <organ/forward.h>
#include <organ/options.h>
#include <organ/prune.h>
#include <organ/quantize.h>
#include <organ/convert.h>
#include <organ/cut.h>
#include <organ/lora.h>
#include <organ/organs.h>
#include <organ/purify.h>
#include <organ/measure.h>
#include <organ/merge_methods.h>
#include <organ/merge.h>
#include <organ/inspect.h>
#include <organ/evaluate.h>
#include <organ/report.h>
#include <organ/schemes.h>
#include <organ/choices.h>

#endif
