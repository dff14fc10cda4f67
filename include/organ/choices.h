/* SPDX-License-Identifier: MIT
 * Enumerations of the closed sets of texts among options. A program that sets a member to the name of a constant cannot
 * misspell it. Types of elements are organ_dtype; schemes of quantize are open, because recipes add to them. */
#ifndef ORGAN_API_CHOICES_H
#define ORGAN_API_CHOICES_H

#include <organ/merge_methods.h>

#include <stddef.h>
#include <string.h>

/* CHOICE(constant, text) for each choice, in the order of the documentation. */
/* clang-format off */
#define ORGAN_PRUNE_METHODS(CHOICE) \
    CHOICE(PRUNE_BY_PHYSARUM_V1, "physarum-v1") \
    CHOICE(PRUNE_BY_PHYSARUM_V2, "physarum-v2") \
    CHOICE(PRUNE_BY_PHYSARUM_V3, "physarum-v3") \
    CHOICE(PRUNE_BY_ALPS, "alps") \
    CHOICE(PRUNE_BY_MAGNITUDE, "magnitude") \
    CHOICE(PRUNE_BY_WANDA, "wanda") \
    CHOICE(PRUNE_BY_SPARSEGPT, "sparsegpt")
#define ORGAN_QUANTIZE_METHODS(CHOICE) \
    CHOICE(QUANTIZE_BY_NEAREST, "nearest") \
    CHOICE(QUANTIZE_BY_GPTQ, "gptq")
#define ORGAN_PURIFY_METHODS(CHOICE) \
    CHOICE(PURIFY_BY_FFT, "fft") \
    CHOICE(PURIFY_BY_HAAR, "haar")
#define ORGAN_CONVERT_OUTPUTS(CHOICE) \
    CHOICE(CONVERT_TO_GGUF, "gguf") \
    CHOICE(CONVERT_TO_SAFETENSORS, "safetensors")
/* Programs that open models, of `organ quantize --for` and `organ inspect --for`. */
#define ORGAN_READERS(CHOICE) \
    CHOICE(READER_VLLM, "vllm") \
    CHOICE(READER_TRANSFORMERS, "transformers") \
    CHOICE(READER_LLAMA_CPP, "llama.cpp") \
    CHOICE(READER_MLX, "mlx") \
    CHOICE(READER_OPENVINO, "openvino") \
    CHOICE(READER_MISTRALRS, "mistralrs")
/* clang-format on */

/* The choices as one text, "|fft|haar". */
#define ORGAN_CHOICE_TEXTS(choices)       choices(ORGAN_CHOICE_TEXT)
#define ORGAN_CHOICE_TEXT(constant, text) "|" text

/* Defines an enumeration that ends with `count`, a function that returns the text of a choice, and one that returns the
 * choice of a text, or `count` if there is none. */
#define ORGAN_CHOICES(name, count, constants, texts)                                                                   \
    typedef enum organ_##name{constants count} organ_##name;                                                           \
    static inline const char *organ_##name##_name(organ_##name choice)                                                 \
    {                                                                                                                  \
        static const char *const names[] = {texts NULL};                                                               \
        return names[choice];                                                                                          \
    }                                                                                                                  \
    static inline organ_##name organ_##name##_from_name(const char *text)                                              \
    {                                                                                                                  \
        int k = 0;                                                                                                     \
        while (k < count && strcmp(organ_##name##_name((organ_##name)k), text) != 0)                                   \
            k++;                                                                                                       \
        return (organ_##name)k;                                                                                        \
    }
#define ORGAN_CHOICE_CONSTANT(constant, text) ORGAN_##constant,
#define ORGAN_CHOICE_NAME(constant, text)     text,
#define ORGAN_MERGE_CONSTANT(name)            ORGAN_MERGE_BY_##name,
#define ORGAN_MERGE_NAME(name)                #name,

ORGAN_CHOICES(prune_by, ORGAN_PRUNE_BY_COUNT, ORGAN_PRUNE_METHODS(ORGAN_CHOICE_CONSTANT),
              ORGAN_PRUNE_METHODS(ORGAN_CHOICE_NAME))
ORGAN_CHOICES(quantize_by, ORGAN_QUANTIZE_BY_COUNT, ORGAN_QUANTIZE_METHODS(ORGAN_CHOICE_CONSTANT),
              ORGAN_QUANTIZE_METHODS(ORGAN_CHOICE_NAME))
ORGAN_CHOICES(purify_by, ORGAN_PURIFY_BY_COUNT, ORGAN_PURIFY_METHODS(ORGAN_CHOICE_CONSTANT),
              ORGAN_PURIFY_METHODS(ORGAN_CHOICE_NAME))
ORGAN_CHOICES(convert_to, ORGAN_CONVERT_TO_COUNT, ORGAN_CONVERT_OUTPUTS(ORGAN_CHOICE_CONSTANT),
              ORGAN_CONVERT_OUTPUTS(ORGAN_CHOICE_NAME))
ORGAN_CHOICES(merge_by, ORGAN_MERGE_BY_COUNT, ORGAN_MERGE_METHODS(ORGAN_MERGE_CONSTANT),
              ORGAN_MERGE_METHODS(ORGAN_MERGE_NAME))
ORGAN_CHOICES(reader, ORGAN_READER_COUNT, ORGAN_READERS(ORGAN_CHOICE_CONSTANT), ORGAN_READERS(ORGAN_CHOICE_NAME))

#endif
