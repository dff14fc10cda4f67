/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/read_rows.h"

#include <langinfo.h>
#include <math.h>
#include <organ/machine.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The values below ORGAN_INTERRUPTED are consecutive. */
static const char *status_name(organ_status status)
{
    static const char *const names[] = {[ORGAN_OK] = "done",
                                        [ORGAN_CHECK_FAILED] = "check failed",
                                        [ORGAN_USAGE] = "usage",
                                        [ORGAN_BAD_INPUT] = "bad input",
                                        [ORGAN_IO] = "input or output"};
    return status == ORGAN_INTERRUPTED ? "interrupted" : names[status];
}

/* Counts of a stage so far. */
typedef struct event_stage {
    uint64_t done, bytes; /* bytes processed, and in total */
    size_t tensors;       /* number of finished tensors */
} event_stage;

/* The line is one write, so that lines of two programs on one pipe do not mix. Releases `event`; writes nothing if
 * it is NULL or memory runs out. */
static void put_event_line(FILE *out, json_t *event)
{
    ORGAN_OWNED char *const line = event ? organ_json_dump(event, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    if (line)
        fprintf(out, "%s\n", line);
    fflush(out);
    json_decref(event);
}

/* Text that is no UTF-8 is escaped; NULL, or a lack of memory, is null. */
static json_t *visible_or_null(const char *s)
{
    json_t *const string = s ? json_string(s) : NULL, *const safe = s && !string ? organ_document_string(s) : string;
    return safe ? safe : json_null();
}

static void event_begin(FILE *out, const char *what, uint64_t bytes, size_t tensors)
{
    put_event_line(out, json_pack("{s:s, s:o, s:I, s:I, s:s}", "event", "begin", "what", visible_or_null(what), "bytes",
                                  (json_int_t)bytes, "tensors", (json_int_t)tensors, "unit", organ_stage_unit(what)));
}

static void event_advance(FILE *out, const event_stage *stage, const char *tensor, const char *remark)
{
    put_event_line(out,
                   json_pack("{s:s, s:I, s:I, s:I, s:o, s:o}", "event", "advance", "bytes", (json_int_t)stage->done,
                             "of", (json_int_t)stage->bytes, "tensors", (json_int_t)stage->tensors, "tensor",
                             visible_or_null(tensor), "remark", visible_or_null(remark)));
}

static void event_end(FILE *out, const event_stage *stage)
{
    put_event_line(out, json_pack("{s:s, s:I, s:I, s:I}", "event", "end", "bytes", (json_int_t)stage->done, "of",
                                  (json_int_t)stage->bytes, "tensors", (json_int_t)stage->tensors));
}

static void event_note(FILE *out, const char *level, const char *text)
{
    put_event_line(out, json_pack("{s:s, s:s, s:o}", "event", "note", "level", level, "text", visible_or_null(text)));
}

void organ_event_error(FILE *out, const organ_error *error)
{
    put_event_line(out, json_pack("{s:s, s:s, s:i, s:o}", "event", "error", "status", status_name(error->status),
                                  "code", (int)error->status, "message", visible_or_null(error->message)));
}

static const double redraw_seconds = 0.1;   /* least time between two redraws of the line: more would flicker */
static const double log_seconds = 10;       /* least time between two lines of a log */
static const double event_seconds = 0.2;    /* least time before an event without a finished tensor */
static const double speed_seconds = 0.5;    /* least time between two measurements of the speed */
static const double shortest_window = 5;    /* least time constant of the average of the speed, in seconds */
static const double min_rate_seconds = 0.3; /* time before the speed is shown: earlier values vary too much */

organ_page organ_terminal_page(FILE *stream)
{
    struct winsize size;
    organ_page page = {.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
    const char *const columns = getenv("COLUMNS");
    const long requested = columns ? strtol(columns, NULL, 10) : 0;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        page.width = size.ws_col;
    else if (requested >= 20 && requested <= 10000) /* other values are taken for errors */
        page.width = (size_t)requested;
    return page;
}

/* A bar of "auto" needs a terminal that can move its cursor; "bar" draws it on any output. */
void organ_terminal_open(organ_terminal *terminal, FILE *out, const char *progress, bool quiet)
{
    const char *const type = getenv("TERM"), *const requested = progress ? progress : "auto";
    const bool able = isatty(fileno(out)) && type && *type && strcmp(type, "dumb") != 0;
    *terminal = (organ_terminal){.out = out, .now = organ_seconds_now, .page = organ_terminal_page(out)};
    terminal->quiet = quiet || strcmp(requested, "none") == 0;
    terminal->events = !terminal->quiet && strcmp(requested, "json") == 0;
    terminal->live = strcmp(requested, "bar") == 0 || (able && strcmp(requested, "auto") == 0);
    terminal->each = strcmp(requested, "lines") == 0;
    terminal->colour = terminal->live && organ_stream_has_colour(out);
}

/* ---- the line that is redrawn ---- */

static void put_progress_bar(FILE *out, double share, size_t width, bool utf8)
{
    const size_t full = (size_t)(share * (double)width);
    const char *const done = utf8 ? "━" : "#", *const left = utf8 ? "─" : ".";
    for (size_t k = 0; k < width; k++)
        fputs(k < full ? done : left, out);
}

/* Share of the bytes, or of the tensors in a stage that counts no bytes. */
static double share_done(const organ_terminal *terminal)
{
    if (terminal->bytes == 0)
        return terminal->count < terminal->tensors ? (double)terminal->count / (double)terminal->tensors : 1.0;
    return terminal->done >= terminal->bytes ? 1.0 : (double)terminal->done / (double)terminal->bytes;
}

/* The exponential average is updated at most once per speed_seconds. A mean over the whole stage would be wrong,
 * because the speed varies and a resumed run skips finished parts. The time constant is a third of the elapsed time,
 * at least shortest_window, so that the estimate of the remaining time does not jump. */
static void measure_speed(organ_terminal *terminal, double now)
{
    const double seconds = now - terminal->measured, elapsed = now - terminal->started;
    if (seconds < speed_seconds)
        return;
    const double speed = (double)(terminal->done - terminal->measured_done) / seconds;
    const double window = elapsed / 3 > shortest_window ? elapsed / 3 : shortest_window;
    terminal->speed =
        terminal->speed > 0 ? terminal->speed + (speed - terminal->speed) * (1 - exp(-seconds / window)) : speed;
    terminal->measured = now;
    terminal->measured_done = terminal->done;
}

/* Below a minute the time is in whole seconds, because tenths would only flicker. */
static const char *remaining_time_text(double seconds, char out[24])
{
    if (seconds >= 59.5) /* would be rounded to "60 s" below */
        return organ_duration_text(seconds, out);
    organ_snprintf(out, 24, "%.0f s", seconds < 1 ? 1 : seconds);
    return out;
}

/* `seconds` is the time since the stage began; the rate is unsteady in its first min_rate_seconds. */
static void put_rate(FILE *out, const organ_terminal *terminal, double seconds)
{
    char rate[16], left[24];
    if (seconds < min_rate_seconds || terminal->done == 0)
        return;
    const double speed = terminal->speed > 0 ? terminal->speed : (double)terminal->done / seconds;
    fprintf(out, "  %s/s", organ_quantity_text((uint64_t)speed, rate));
    if (terminal->done < terminal->bytes)
        fprintf(out, "  %s left", remaining_time_text((double)(terminal->bytes - terminal->done) / speed, left));
}

/* Prints the name of the tensor finished last and the remark about it in at most `capacity` columns: without the
 * remark, or not at all, if they are too few. */
static void put_finished(FILE *out, const organ_terminal *terminal, size_t capacity)
{
    enum { SHORTEST = 16, GAP = 2 }; /* columns: least room for the name, and blanks before it */
    const size_t remark = *terminal->remark ? organ_text_width(terminal->remark) + 1 : 0;
    const bool both = capacity >= GAP + SHORTEST + remark;
    const char *const unit = organ_stage_unit(terminal->what);
    char count[64];
    if (!*terminal->finished || capacity < GAP + SHORTEST)
        return;
    snprintf(count, sizeof count, "%zu of %zu %s", terminal->count, terminal->tensors, unit);
    ORGAN_OWNED char *const name = organ_text_shorten(strcmp(unit, "tensors") == 0 ? terminal->finished : count,
                                                      capacity - GAP - (both ? remark : 0), terminal->page.utf8);
    fprintf(out, "  %s%s%s", name ? name : "", both && remark ? " " : "", both ? terminal->remark : "");
}

/* The start of the line is always shown: name of the stage, bar, percentage, speed and remaining time. `width` is
 * that of the screen in columns. The caller frees the text; NULL if memory runs out. */
static char *line_start(const organ_terminal *terminal, size_t width, double now)
{
    /* columns of the bar: fewer on narrow screens, so that more of the line remains for the rest */
    const size_t narrow = width >= 60 ? 14 : 8, bar = width >= 120 ? 30 : narrow;
    organ_text line;
    organ_error ignored = {0};
    char *text = NULL;
    if (organ_text_open(&line, &ignored) != ORGAN_OK)
        return NULL;
    fprintf(line.out, "%s ", terminal->what);
    put_progress_bar(line.out, share_done(terminal), bar, terminal->page.utf8);
    organ_fprintf(line.out, " %5.1f %%", 100.0 * share_done(terminal));
    put_rate(line.out, terminal, now - terminal->started);
    organ_text_finish(&line, &text, &ignored);
    return text;
}

char *organ_terminal_line(const organ_terminal *terminal, double now)
{
    const size_t width = terminal->page.width ? terminal->page.width : 80;
    char *const whole = line_start(terminal, width, now), *line = NULL;
    organ_text text;
    organ_error ignored = {0};
    if (!whole)
        return NULL;
    ORGAN_OWNED char *const start = organ_text_shorten(whole, width, terminal->page.utf8);
    free(whole);
    if (start && organ_text_open(&text, &ignored) == ORGAN_OK) {
        fputs(start, text.out);
        put_finished(text.out, terminal, width - organ_text_width(start));
        organ_text_finish(&text, &line, &ignored);
    }
    return line;
}

/* Moves to the first column and erases the line. */
static void clear_line(const organ_terminal *terminal)
{
    if (terminal->live)
        fputs("\r\033[K", terminal->out);
}

static void draw_progress_line(organ_terminal *terminal, double now)
{
    terminal->page.width = organ_terminal_page(terminal->out).width; /* the window may have been resized */
    ORGAN_OWNED char *const line = organ_terminal_line(terminal, now);
    clear_line(terminal);
    fprintf(terminal->out, "%s%s%s", terminal->colour ? "\033[36m" : "", line ? line : "",
            terminal->colour ? "\033[0m" : "");
    fflush(terminal->out);
    terminal->drawn = now;
}

/* ---- the callbacks ---- */

/* This is organ_progress.begin. */
static void begin_shown_stage(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    organ_terminal *const terminal = context;
    const double now = terminal->now();
    snprintf(terminal->what, sizeof terminal->what, "%s", what);
    terminal->finished[0] = terminal->remark[0] = '\0';
    terminal->bytes = bytes;
    terminal->tensors = tensors;
    terminal->done = terminal->count = 0;
    terminal->started = terminal->drawn = terminal->measured = now;
    terminal->measured_done = 0;
    terminal->speed = 0;
    if (terminal->events)
        event_begin(terminal->out, what, bytes, tensors);
}

/* Names come from files, so characters that could move the cursor are written as \xNN. Changes nothing if memory
 * runs out. */
static void remember_tensor(organ_terminal *terminal, const char *tensor, const char *remark)
{
    ORGAN_OWNED char *const visible = organ_text_made_visible(tensor);
    if (!visible)
        return;
    ORGAN_OWNED char *const fitting = organ_text_shorten(visible, /*width=*/120, terminal->page.utf8);
    snprintf(terminal->finished, sizeof terminal->finished, "%s", fitting ? fitting : "");
    snprintf(terminal->remark, sizeof terminal->remark, "%s", remark ? remark : "");
}

/* Prints a line about the tensor finished last. */
static void log_tensor(const organ_terminal *terminal, double now)
{
    const double seconds = now - terminal->started;
    char rate[16];
    fprintf(terminal->out, "[%zu/%zu] %s%s%s", terminal->count, terminal->tensors, terminal->finished,
            *terminal->remark ? " " : "", terminal->remark);
    if (seconds > 0 && terminal->done > 0)
        fprintf(terminal->out, "  %s/s", organ_quantity_text((uint64_t)((double)terminal->done / seconds), rate));
    fputc('\n', terminal->out);
}

/* Ends a line of a log. A stage that runs a text has the remark, such as the perplexity so far. */
static void put_count(const organ_terminal *terminal)
{
    const char *const unit = organ_stage_unit(terminal->what);
    if (terminal->tensors)
        fprintf(terminal->out, "  %zu of %zu %s", terminal->count, terminal->tensors, unit);
    if (strcmp(unit, "tensors") != 0 && *terminal->remark)
        fprintf(terminal->out, "  %s", terminal->remark);
    fputc('\n', terminal->out);
}

/* The line begins like the line of a terminal, without its bar. */
static void log_stage(organ_terminal *terminal, double now)
{
    organ_fprintf(terminal->out, "%s %5.1f %%", terminal->what, 100.0 * share_done(terminal));
    put_rate(terminal->out, terminal, now - terminal->started);
    put_count(terminal);
    fflush(terminal->out);
    terminal->drawn = now;
}

/* Logs the end of a stage that was longer than the time between two lines. */
static void log_end(const organ_terminal *terminal)
{
    const double seconds = terminal->now() - terminal->started;
    char time[24], rate[16];
    if (seconds < log_seconds)
        return;
    if (share_done(terminal) < 1)
        organ_fprintf(terminal->out, "%s ended at %.1f %%", terminal->what, 100.0 * share_done(terminal));
    else
        fprintf(terminal->out, "%s done", terminal->what);
    fprintf(terminal->out, " after %s", organ_duration_text(seconds, time));
    if (terminal->done)
        fprintf(terminal->out, "  %s/s", organ_quantity_text((uint64_t)((double)terminal->done / seconds), rate));
    put_count(terminal);
}

static event_stage stage_of(const organ_terminal *terminal)
{
    return (event_stage){.done = terminal->done, .bytes = terminal->bytes, .tensors = terminal->count};
}

/* `tensor` may be NULL (none): such events are printed at most once per event_seconds. */
static void print_progress_event(organ_terminal *terminal, const char *tensor, const char *remark, double now)
{
    terminal->count += tensor != NULL;
    if (!tensor && now - terminal->drawn < event_seconds)
        return;
    const event_stage stage = stage_of(terminal);
    event_advance(terminal->out, &stage, tensor, remark);
    terminal->drawn = now;
}

/* This is organ_progress.advance. `tensor` is the name of a tensor that was just finished, or NULL. */
static void advance_stage(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_terminal *const terminal = context;
    const double now = terminal->now();
    terminal->done += bytes;
    if (terminal->events) {
        print_progress_event(terminal, tensor, remark, now);
        return;
    }
    if (tensor && !terminal->quiet) {
        terminal->count++;
        remember_tensor(terminal, tensor, remark);
        if (terminal->each)
            log_tensor(terminal, now);
    }
    measure_speed(terminal, now);
    if (terminal->quiet || terminal->each)
        return;
    if (terminal->live && now - terminal->drawn >= redraw_seconds)
        draw_progress_line(terminal, now);
    else if (!terminal->live && now - terminal->drawn >= log_seconds)
        log_stage(terminal, now);
}

/* This is organ_progress.end. */
static void end_stage(void *context)
{
    organ_terminal *const terminal = context;
    const event_stage stage = stage_of(terminal);
    if (terminal->events)
        event_end(terminal->out, &stage);
    else if (!terminal->quiet && !terminal->live && !terminal->each)
        log_end(terminal);
    else if (!terminal->quiet)
        clear_line(terminal);
    terminal->what[0] = '\0';
    fflush(terminal->out);
}

/* The message is above the progress line if one is drawn. */
static void show_text(organ_terminal *terminal, organ_message_kind kind, const char *text)
{
    if (terminal->events)
        event_note(terminal->out, kind == ORGAN_MESSAGE_WARNING ? "warning" : "note", text);
    if (terminal->quiet || terminal->events)
        return;
    clear_line(terminal);
    organ_message(terminal->out, kind, "%s", text);
    if (terminal->live && *terminal->what)
        draw_progress_line(terminal, terminal->now());
}

static void show_message(organ_terminal *terminal, organ_message_kind kind, const char *text)
{
    char named[4096];
    if (terminal->verb && strlen(text) < sizeof named) {
        organ_options_name_fields(terminal->verb, text, named, sizeof named);
        text = named;
    }
    show_text(terminal, kind, text);
}

/* This is organ_progress.note. */
static void show_note(void *context, const char *text) { show_message(context, ORGAN_MESSAGE_NOTE, text); }

/* This is organ_progress.warn. */
static void show_warning(void *context, const char *text) { show_message(context, ORGAN_MESSAGE_WARNING, text); }

organ_progress organ_terminal_progress(organ_terminal *terminal)
{
    return (organ_progress){.context = terminal,
                            .begin = begin_shown_stage,
                            .advance = advance_stage,
                            .end = end_stage,
                            .note = show_note,
                            .warn = show_warning};
}
