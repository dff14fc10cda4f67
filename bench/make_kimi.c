/* SPDX-License-Identifier: MIT
 * make_kimi DIR [LAYERS EXPERTS HIDDEN WIDTH [holes]]: writes a model with the tensors of Kimi-K2 and tiny shapes
 * (default: 61 384 64 32), to measure the cost of many tensors. With `holes` the weights are zeros that take no disk
 * space.
 * make_kimi DIR kimi-k2|deepseek-v3 [LAYERS EXPERTS]: writes the published shapes in BF16 as such holes. With LAYERS
 * and EXPERTS the model has only so many of each, and generated weights. */
#include "tests/kit/kimi_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    kimi_shape shape;
} published[] = {{"kimi-k2",
                  {.layers = 61,
                   .dense = 1,
                   .experts = 384,
                   .hidden = 7168,
                   .width = 2048,
                   .shared = 2048,
                   .wide = 18432,
                   .vocabulary = 163840,
                   .attention = {64, 1536, 512, 128, 64, 128},
                   .plain = true}},
                 {"deepseek-v3",
                  {.layers = 61,
                   .dense = 3,
                   .experts = 256,
                   .hidden = 7168,
                   .width = 2048,
                   .shared = 2048,
                   .wide = 18432,
                   .vocabulary = 129280,
                   .attention = {128, 1536, 512, 128, 64, 128},
                   .groups = 8,
                   .used_groups = 4,
                   .plain = true}}};

/* A part has no dense layers, a small vocabulary and one group of experts. */
static int make_published(int argc, char **argv)
{
    for (size_t k = 0; k < sizeof published / sizeof *published; k++) {
        kimi_shape shape = published[k].shape;
        if (strcmp(argv[2], published[k].name) != 0)
            continue;
        shape.holes = argc == 3;
        if (argc == 5) {
            shape.layers = atoi(argv[3]);
            shape.experts = atoi(argv[4]);
            shape.dense = shape.groups = 0;
            shape.vocabulary = 256;
        }
        kimi_make(argv[1], shape);
        return 0;
    }
    return 2;
}

int main(int argc, char **argv)
{
    if ((argc == 3 || argc == 5) && make_published(argc, argv) == 0)
        return 0;
    if (argc != 2 && argc != 6 && !(argc == 7 && strcmp(argv[6], "holes") == 0)) {
        fputs("usage: make_kimi DIR [LAYERS EXPERTS HIDDEN WIDTH [holes]]\n"
              "       make_kimi DIR kimi-k2|deepseek-v3 [LAYERS EXPERTS]\n",
              stderr);
        return 2;
    }
    kimi_shape shape = {.layers = 61, .dense = 1, .experts = 384, .hidden = 64, .width = 32, .vocabulary = 256};
    if (argc >= 6) {
        shape.layers = atoi(argv[2]);
        shape.experts = atoi(argv[3]);
        shape.hidden = atoi(argv[4]);
        shape.width = atoi(argv[5]);
    }
    shape.holes = argc == 7;
    shape.shared = shape.width;
    shape.wide = 2 * shape.hidden;
    kimi_make(argv[1], shape);
    return 0;
}
