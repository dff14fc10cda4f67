/* SPDX-License-Identifier: MIT */
#include "formats/base/activity.h"
#include "formats/base/format_rest.h"
#include "formats/base/text.h"

#include <errno.h>
#include <time.h>
#include <utf8proc.h>

/* `last` is included. */
static const struct {
    uint32_t first, last;
} hidden[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0x061C, 0x061C}, {0x200E, 0x200F},
              {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF}};

bool organ_utf8_hidden(uint32_t code)
{
    for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++)
        if (code >= hidden[k].first && code <= hidden[k].last)
            return true;
    return false;
}

size_t organ_utf8_within(const void *s, size_t remaining, uint32_t *code)
{
    utf8proc_int32_t found = 0;
    const utf8proc_ssize_t length = utf8proc_iterate(s, (utf8proc_ssize_t)remaining, &found);
    *code = (uint32_t)found;
    return length > 0 ? (size_t)length : 0;
}

/* A sequence has at most 4 bytes, and decoding stops at a NUL, which is never a continuation byte. */
size_t organ_utf8_decode(const unsigned char *s, uint32_t *code) { return organ_utf8_within(s, 4, code); }

size_t organ_utf8_length(const unsigned char *s)
{
    uint32_t code;
    return organ_utf8_decode(s, &code);
}

bool organ_utf8_valid(const char *s)
{
    const unsigned char *at = (const unsigned char *)s;
    size_t length = 1;
    while (*at && (length = organ_utf8_length(at)) > 0)
        at += length;
    return length > 0;
}

bool organ_utf8_valid_within(const char *text, size_t bytes)
{
    uint32_t code;
    size_t at = 0;
    for (size_t length; at < bytes && (length = organ_utf8_within(text + at, bytes - at, &code)); at += length) {
    }
    return at == bytes;
}

/* White space of two bytes is U+0085 and U+00A0; all other has three bytes, the first from E1 to E3. */
size_t organ_utf8_space(const unsigned char *s)
{
    if ((*s >= 0x09 && *s <= 0x0D) || (*s >= 0x1C && *s <= 0x20))
        return 1;
    if (*s == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
        return 2;
    if (*s < 0xE1 || *s > 0xE3 || organ_utf8_length(s) != 3)
        return 0;
    const unsigned code = (*s & 0x0FU) << 12 | (s[1] & 0x3FU) << 6 | (s[2] & 0x3FU);
    return code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
                   code == 0x205F || code == 0x3000
               ? 3
               : 0;
}

/* Characters that could disturb a terminal, and bytes that are no UTF-8, become \xNN. Stops when the message is
 * full. */
static void append_visible(organ_error *error, const char *text)
{
    size_t used = strlen(error->message);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t code;
        const size_t length = organ_utf8_decode(s, &code), step = length ? length : 1;
        const bool plain = length > 0 && !organ_utf8_hidden(code);
        if (used + (plain ? step : 4 * step) + 1 > sizeof error->message)
            return;
        if (plain)
            memcpy(error->message + used, s, step);
        else
            for (size_t k = 0; k < step; k++)
                snprintf(error->message + used + 4 * k, 5, "\\x%02x", s[k]);
        used += plain ? step : 4 * step;
        s += step;
        error->message[used] = '\0';
    }
}

/* errnum has this value while the status is ORGAN_OK and `message` contains the prefix that organ_error_set_output
 * wrote. */
enum { WHOLE_OUTPUT = -1 };

/* If organ_error_set_output has written a prefix and the status is ORGAN_IO or ORGAN_INTERRUPTED, the prefix stays
 * before the text. Sets errnum to ENOMEM if the format contains the words "no memory", else to 0. */
static void begin_message(organ_error *error, organ_status status, const char *format, va_list args)
{
    char text[sizeof error->message];
    organ_vsnprintf(text, sizeof text, format, args);
    organ_text_hide_passwords(text);
    if (error->errnum != WHOLE_OUTPUT || (status != ORGAN_IO && status != ORGAN_INTERRUPTED))
        error->message[0] = '\0';
    error->status = status;
    error->errnum = strstr(format, "no memory") ? ENOMEM : 0;
    append_visible(error, text);
}

organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
{
    if (!error || error->status != ORGAN_OK)
        return error ? error->status : status;
    va_list args;
    va_start(args, format);
    begin_message(error, status, format, args);
    va_end(args);
    return status;
}

organ_status organ_refuse(organ_error *error, const char *label, const char *format, ...)
{
    char text[sizeof error->message];
    if (error && error->status != ORGAN_OK)
        return error->status;
    ORGAN_FORMAT_REST(text, format);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", label, text);
}

organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
{
    if (!error || error->status != ORGAN_OK)
        return error ? error->status : ORGAN_IO;
    va_list args;
    va_start(args, format);
    begin_message(error, ORGAN_IO, format, args);
    va_end(args);
    error->errnum = errnum;
    char text[128] = "";
    append_visible(error, ": ");
    append_visible(error, strerror_r(errnum, text, sizeof text)); /* the GNU variant, which returns the text */
    return ORGAN_IO;
}

organ_status organ_fail_memory(organ_error *error, const char *what)
{
    return organ_fail_errno(error, ENOMEM, "%s", what);
}

void organ_error_set_output(organ_error *error, const char *path)
{
    char shown[sizeof error->message / 2];
    if (!error || error->status != ORGAN_OK || error->errnum == WHOLE_OUTPUT)
        return;
    snprintf(shown, sizeof shown, "%s", path);
    error->message[0] = '\0';
    append_visible(error, shown);
    append_visible(error, " is complete, but a later step failed: ");
    error->errnum = WHOLE_OUTPUT;
}

bool organ_faults_take(const organ_faults *faults, organ_error *error)
{
    if (!faults || error->status != ORGAN_BAD_INPUT)
        return false;
    faults->take(faults->context, error->message);
    *error = (organ_error){0};
    return true;
}

int organ_order_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

int organ_order_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return ORGAN_ORDER(x, y);
}

static _Thread_local organ_activity_clock *clock_here; /* of this thread; NULL: it is not measured */

uint64_t organ_activity_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

organ_activity organ_activity_turn(organ_activity_clock *clock, organ_activity to, uint64_t time)
{
    const organ_activity before = clock->now;
    clock->sums.spent[before] += time - clock->since;
    clock->now = to;
    clock->since = time;
    return before;
}

organ_activity organ_activity_begin(organ_activity to)
{
    return clock_here ? organ_activity_turn(clock_here, to, organ_activity_time()) : to;
}

void organ_activity_moved(uint64_t bytes)
{
    if (clock_here && (clock_here->now == ORGAN_READING || clock_here->now == ORGAN_WRITING))
        clock_here->sums.moved[clock_here->now] += bytes;
}

organ_activity_clock *organ_activity_attach(organ_activity_clock *clock, organ_activity now)
{
    organ_activity_clock *const before = clock_here;
    const uint64_t time = before || clock ? organ_activity_time() : 0;
    if (before)
        organ_activity_turn(before, before->now, time);
    if (clock) {
        clock->now = now;
        clock->since = time;
    }
    clock_here = clock;
    return before;
}

void organ_activity_add(organ_activity_sums *sums, const organ_activity_sums *more)
{
    for (int k = 0; k < ORGAN_ACTIVITIES; k++) {
        sums->spent[k] += more->spent[k];
        sums->moved[k] += more->moved[k];
    }
}
