/* SPDX-License-Identifier: MIT
 * Converts between the share of gates that Gemma 3n sets to 0 and the cut of the gates, in standard deviations above
 * their mean (gate_cut of organ_layer_kind). */
#include "formats/architecture/families.h"
#include "formats/base/plain_numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SQRT_PI 1.77245385090551602730

/* Newton's method from 0 never passes the root: erf is concave above 0 and convex below. */
static double inverse_erf(double y)
{
    double x = 0;
    for (unsigned k = 0; k < 1000; k++) {
        const double step = (y - erf(x)) * (SQRT_PI / 2) * exp(x * x);
        x += step;
        if (fabs(step) <= 1e-16 * fabs(x))
            break;
    }
    return x;
}

float organ_forward_gate_cut(float part)
{
    const float centred = 2 * part - 1;
    return (float)inverse_erf((double)centred) * (float)sqrt(2);
}

double organ_forward_gate_part(float cut)
{
    const double part = 0.5 * erfc(-(double)cut / sqrt(2));
    double rounded = part;
    for (int digits = 1; digits <= 9; digits++) {
        char text[40];
        organ_snprintf(text, sizeof text, "%.*g", digits, part);
        rounded = organ_strtod(text, NULL);
        if (rounded > 0 && rounded < 1 && organ_forward_gate_cut((float)rounded) == cut)
            break;
    }
    return rounded;
}
