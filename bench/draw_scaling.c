/* SPDX-License-Identifier: MIT
 * draw_scaling TABLE.tsv CHART.svg: draws the table of bench/bench_scaling.sh. Each row that was measured with several
 * threads gets a panel with its speed over threads, as a multiple of its speed with one thread, and the speed that it
 * would have if its processor time were divided by the threads. The panel of prune also has one `cp` and one `cp` for
 * each shard side by side. */
#include "bench/bench_rig.h"
#include "orchestrator/report/svg/svg.h"

#include <math.h>
#include <stdbool.h>

enum { MAX_ROWS = 16, MAX_COUNTS = 16, NAME = 64, LINE = 1024, COLUMNS = 14 };
enum { MEASURED, DIVIDED, PARALLEL_CP, ONE_CP, SERIES };

/* The lines of one row of the table. */
typedef struct row {
    char name[NAME];
    size_t count;
    double threads[MAX_COUNTS], seconds[MAX_COUNTS], processor[MAX_COUNTS];
    double line[SERIES][MAX_COUNTS]; /* speed as a multiple of that with one thread */
} row;

/* The table: its rows with threads, and the seconds of the copies, 0 if they are not in the table. */
typedef struct table {
    row rows[MAX_ROWS];
    size_t count;
    double cp[SERIES];
    char cpu[BENCH_CPU_NAME];
} table;

static void stop(const char *what)
{
    fprintf(stderr, "draw_scaling: %s\n", what);
    exit(4);
}

/* Divides a line at its tabs and returns the number of fields. */
static size_t divide(char *line, char *field[COLUMNS + 1])
{
    size_t count = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *at = line; at && count <= COLUMNS; count++) {
        field[count] = at;
        if ((at = strchr(at, '\t')))
            *at++ = '\0';
    }
    return count;
}

/* Adds the fields of a line: name, size, unit, threads, rounds, seconds, processor seconds. */
static void add_line(table *t, char *const *field)
{
    const double threads = strtod(field[3], NULL), seconds = strtod(field[5], NULL);
    if (!(threads >= 1) || !(seconds > 0))
        stop("a line has no threads or no seconds");
    snprintf(t->cpu, sizeof t->cpu, "%s", field[COLUMNS]);
    if (strncmp(field[0], "products", 8) == 0)
        return;
    if (strcmp(field[0], "cp_one") == 0 || strcmp(field[0], "cp_all") == 0) {
        t->cp[strcmp(field[0], "cp_all") == 0 ? PARALLEL_CP : ONE_CP] = seconds;
        return;
    }
    row *r = t->count ? &t->rows[t->count - 1] : NULL;
    if (!r || strcmp(r->name, field[0]) != 0) {
        if (t->count == MAX_ROWS)
            stop("too many rows");
        r = &t->rows[t->count++];
        snprintf(r->name, sizeof r->name, "%s", field[0]);
    }
    if (r->count == MAX_COUNTS)
        stop("too many numbers of threads");
    r->threads[r->count] = threads;
    r->seconds[r->count] = seconds;
    r->processor[r->count++] = strtod(field[6], NULL);
}

static void read_table(const char *path, table *t)
{
    char line[LINE], *field[COLUMNS + 1];
    FILE *const in = fopen(path, "r");
    if (!in || !fgets(line, sizeof line, in)) /* the head */
        stop("the table cannot be read");
    while (fgets(line, sizeof line, in)) {
        if (divide(line, field) != COLUMNS + 1)
            stop("a line has another number of columns");
        add_line(t, field);
    }
    fclose(in);
    if (!t->count)
        stop("the table has no rows");
}

/* Computes the lines of a panel. Copies are compared with prune only, which reads and writes the same bytes. */
static void compare_with_one(const table *t, row *r)
{
    const bool copies = strncmp(r->name, "prune", 5) == 0;
    for (size_t k = 0; k < r->count; k++) {
        r->line[MEASURED][k] = r->seconds[0] / r->seconds[k];
        r->line[DIVIDED][k] = r->processor[k] > 0 ? r->seconds[0] * r->threads[k] / r->processor[k] : NAN;
        for (size_t s = PARALLEL_CP; s < SERIES; s++)
            r->line[s][k] = copies && t->cp[s] > 0 ? r->seconds[0] / t->cp[s] : NAN;
    }
}

static void draw(table *t, const char *path)
{
    static const organ_chart_series series[SERIES] = {[MEASURED] = {"measured", 0, false},
                                                      [DIVIDED] = {"processor time / threads", 1, true},
                                                      [PARALLEL_CP] = {"parallel cp", 2, false},
                                                      [ONE_CP] = {"one cp", 3, false}};
    const double *lines[MAX_ROWS][SERIES];
    organ_chart_panel panels[MAX_ROWS] = {{0}};
    organ_error error = {0};
    char *svg;
    for (size_t k = 0; k < t->count; k++) {
        row *const r = &t->rows[k];
        compare_with_one(t, r);
        for (size_t s = 0; s < SERIES; s++)
            lines[k][s] = s >= PARALLEL_CP && !isfinite(r->line[s][0]) ? NULL : r->line[s];
        panels[k] = (organ_chart_panel){.title = r->name, .count = r->count, .x = r->threads, .y = lines[k]};
    }
    const organ_chart chart = {.title = "Speed over threads",
                               .subtitle = t->cpu,
                               .description = "One panel for each kind of work: measured speed over the number of "
                                              "threads, and what its processor time would allow.",
                               .x_label = "threads",
                               .y_label = "speed, one thread = 1",
                               .whole_x = true,
                               .series = series,
                               .series_count = SERIES,
                               .panels = panels,
                               .panel_count = t->count};
    organ_chart_svg(&chart, &svg, &error);
    bench_stop_at(&error);
    FILE *const out = fopen(path, "w");
    if (!out || fputs(svg, out) < 0 || fclose(out))
        stop("the chart cannot be written");
    free(svg);
}

int main(int argc, char **argv)
{
    static table t;
    if (argc != 3)
        return fputs("usage: draw_scaling TABLE.tsv CHART.svg\n", stderr), 2;
    read_table(argv[1], &t);
    draw(&t, argv[2]);
    return 0;
}
