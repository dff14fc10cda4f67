/* SPDX-License-Identifier: MIT
 * make_kimi DIR [LAYERS EXPERTS HIDDEN WIDTH [holes]]: writes a model with the tensors of Kimi-K2 and tiny shapes
 * (default: 61 384 64 32), to measure the cost of many tensors. With `holes` the weights are zeros that take no disk
 * space: 61 384 7168 2048 holes is a model of 10^12 weights. */
#include "tests/kit/kimi_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 6 && !(argc == 7 && strcmp(argv[6], "holes") == 0)) {
        fputs("usage: make_kimi DIR [LAYERS EXPERTS HIDDEN WIDTH [holes]]\n", stderr);
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
