/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/chart_scale.h"

#include "formats/base/plain_numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* `figures` has at most 15 digits and no decimal point; the result is the power of ten of the first digit. */
static int decimal_digits(double value, int digits, char figures[16])
{
    char text[48];
    size_t count = 0;
    organ_snprintf(text, sizeof text, "%.*e", digits - 1, fabs(value));
    const char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && count < 15)
            figures[count++] = *at;
    figures[count] = 0;
    return *at ? atoi(at + 1) : 0;
}

char *organ_number_text(double value, int digits, char out[32])
{
    char figures[16];
    const int exponent = decimal_digits(value, digits, figures);
    const char *const sign = value < 0 ? "-" : "";
    size_t count = strlen(figures);
    while (count > 1 && figures[count - 1] == '0')
        figures[--count] = 0;
    const int behind = (int)count - 1 - exponent; /* digits after the decimal point, without an exponent */
    if (exponent < -4 || exponent > 8)
        snprintf(out, 32, "%s%c%s%se%d", sign, figures[0], count > 1 ? "." : "", figures + 1, exponent);
    else if (exponent < 0)
        snprintf(out, 32, "%s0.%.*s%s", sign, -exponent - 1, "0000", figures);
    else if (behind <= 0)
        snprintf(out, 32, "%s%s%.*s", sign, figures, -behind, "00000000");
    else
        snprintf(out, 32, "%s%.*s.%s", sign, exponent + 1, figures, figures + exponent + 1);
    return out;
}

static void power_text(int exponent, char out[32])
{
    static const char *const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char digits[12];
    snprintf(digits, sizeof digits, "%d", abs(exponent));
    size_t used = (size_t)snprintf(out, 32, "10%s", exponent < 0 ? "⁻" : "");
    for (const char *d = digits; *d; d++)
        used += (size_t)snprintf(out + used, 32 - used, "%s", raised[*d - '0']);
}

/* Computes with integers if they suffice, so that 3 * 0.1 is "0.3". */
static void tick_text(double count, const organ_scale *scale, char out[32])
{
    const double integer = count * scale->mantissa;
    char figures[24];
    if (scale->exponent >= 0 || scale->exponent < -6 || fabs(integer) >= 1e9) {
        organ_number_text(integer * pow(10, scale->exponent), 9, out);
        return;
    }
    const int behind = -scale->exponent;
    snprintf(figures, sizeof figures, "%0*ld", behind + 1, labs((long)integer));
    const int before = (int)strlen(figures) - behind;
    snprintf(out, 32, "%s%.*s.%s", integer < 0 ? "-" : "", before, figures, figures + before);
}

/* ---- scales ---- */

static int chart_scale_within(int n, int least, int max)
{
    if (n < least)
        return least;
    return n > max ? max : n;
}

/* The step is the smallest number of the form 1, 2 or 5 x 10^n that is at least `least`. */
static void choose_step(organ_scale *s, double least)
{
    char figures[16];
    s->exponent = decimal_digits(least, 15, figures);
    const double unit = pow(10, s->exponent), ratio = least / unit;
    s->mantissa = 1;
    if (ratio > 1)
        s->mantissa = ratio <= 2 ? 2 : 5;
    if (ratio > 5) {
        s->mantissa = 1;
        s->exponent++;
    }
    s->step = s->mantissa * pow(10, s->exponent);
}

static organ_scale log_scale(double low, double high, unsigned ticks)
{
    organ_scale s = {.log = true, .first = floor(log10(low)), .last = ceil(log10(high))};
    if (s.last <= s.first)
        s.last = s.first + 1;
    s.step = ceil((s.last - s.first) / ticks);
    s.last = s.first + ceil((s.last - s.first) / s.step) * s.step;
    return s;
}

/* The step is 1, 2 or 5 times a power of 10, or with `log` whole decades. The default scale is 0 .. 1, or 0.1 .. 1
 * with `log`. */
organ_scale organ_scale_of(double low, double high, unsigned ticks, bool log, bool integers)
{
    /* rounding both ends outwards adds up to two ticks */
    ticks = (unsigned)chart_scale_within((int)ticks, 2, ORGAN_MAX_TICKS - 3);
    if (low > high) {
        low = log ? 0.1 : 0;
        high = 1;
    }
    if (log)
        return log_scale(low, high, ticks);
    organ_scale s = {0};
    /* Divides before subtracting, because the difference may overflow. The step is at least 1e-9 of the largest value,
     * because the labels, which have 9 digits, would be equal with smaller steps. */
    double least = high / ticks - low / ticks;
    const double max = fmax(fabs(low), fabs(high));
    least = fmax(least, max * 1e-9);
    least = fmax(least, low == high && max > 0 ? max / ticks : 1e-290);
    choose_step(&s, max > 0 || integers ? least : 1.0 / ticks);
    if (integers && s.step < 1) {
        s.step = s.mantissa = 1;
        s.exponent = 0;
    }
    /* Tolerance for rounding errors: 0.3 / 0.1 is not exactly 3. */
    s.first = floor(low / s.step + 1e-9);
    s.last = ceil(high / s.step - 1e-9);
    if (s.last <= s.first)
        s.last = s.first + 1;
    return s;
}

organ_scale organ_scale_tight(double low, double high, unsigned ticks, bool integers)
{
    organ_scale s = organ_scale_of(low, high, ticks, false, integers);
    s.first = low / s.step;
    s.last = high / s.step;
    return s;
}

double organ_scale_place(const organ_scale *s, double value)
{
    return ((s->log ? log10(value) : value / s->step) - s->first) / (s->last - s->first);
}

static size_t few_decades(const organ_scale *s, organ_tick ticks[ORGAN_MAX_TICKS])
{
    static const double parts[] = {1, 2, 5};
    size_t count = 0;
    for (double decade = s->first; decade <= s->last; decade++)
        for (size_t k = 0; k < (decade < s->last ? 3 : 1); k++) {
            ticks[count].at = (decade + log10(parts[k]) - s->first) / (s->last - s->first);
            organ_number_text(parts[k] * pow(10, decade), 3, ticks[count++].text);
        }
    return count;
}

size_t organ_scale_ticks(const organ_scale *s, organ_tick ticks[ORGAN_MAX_TICKS])
{
    size_t count = 0;
    if (s->log && s->last - s->first <= 2)
        return few_decades(s, ticks);
    const double stride = s->log ? s->step : 1;
    for (double at = ceil(s->first - 1e-9); at <= s->last + 1e-9 && count < ORGAN_MAX_TICKS; at += stride) {
        ticks[count].at = (at - s->first) / (s->last - s->first);
        if (!s->log)
            tick_text(at, s, ticks[count].text);
        else if (fabs(at) <= 4)
            organ_number_text(pow(10, at), 1, ticks[count].text);
        else
            power_text((int)at, ticks[count].text);
        count++;
    }
    return count;
}

organ_axis organ_axis_of(organ_scale scale)
{
    organ_axis axis = {.scale = scale};
    axis.count = organ_scale_ticks(&scale, axis.ticks);
    return axis;
}

void organ_extent_widen(organ_extent *extent, double value)
{
    if (!isfinite(value))
        return;
    extent->low = fmin(extent->low, value);
    extent->high = fmax(extent->high, value);
}

int organ_decimals_for(double largest, int digits)
{
    if (!(fabs(largest) < 1e6) || fabs(largest) < 1e-2)
        return -1;
    const int decimals = digits - 1 - (int)floor(log10(fabs(largest)));
    return chart_scale_within(decimals, 0, 6);
}

char *organ_fixed_text(double value, int decimals, char out[32])
{
    unsigned long long power = 1;
    for (int k = 0; k < decimals; k++)
        power *= 10;
    const unsigned long long scaled = (unsigned long long)llround(fabs(value) * (double)power), rest = scaled % power;
    int length = snprintf(out, 32, "%s%llu%s", value < 0 && scaled ? "-" : "", scaled / power, decimals ? "." : "");
    for (unsigned long long place = power / 10; place; place /= 10)
        out[length++] = (char)('0' + rest / place % 10);
    out[length] = '\0';
    return out;
}
