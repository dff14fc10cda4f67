/* SPDX-License-Identifier: MIT
 * The Hungarian method with potentials (Kuhn 1955; Jonker and Volgenant 1987). */
#include "orchestrator/solve/assign.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Arrays of n + 1; index 0 is a column of its own, from which each row is assigned. */
typedef struct assign_room {
    double *row, *column, *least; /* potentials, and the least reduced cost of each column */
    size_t *row_of, *before;      /* row of each column; column before it on the path */
    bool *done;
} assign_room;

size_t organ_assign_room(size_t n) { return (n + 1) * (3 * sizeof(double) + 2 * sizeof(size_t) + sizeof(bool)); }

static assign_room rooms(size_t n, void *room)
{
    double *const row = room;
    size_t *const row_of = (size_t *)(void *)(row + 3 * (n + 1));
    return (assign_room){row,    row + (n + 1),    row + 2 * (n + 1),
                         row_of, row_of + (n + 1), (bool *)(void *)(row_of + 2 * (n + 1))};
}

/* Extends the path by the column of the least reduced cost. */
static size_t extend(size_t n, const double *gain, assign_room *a, size_t column)
{
    const size_t row = a->row_of[column];
    double least = INFINITY;
    size_t next = 0;
    for (size_t j = 1; j <= n; j++) {
        if (a->done[j])
            continue;
        const double cost = -gain[(row - 1) * n + j - 1] - a->row[row] - a->column[j];
        if (cost < a->least[j]) {
            a->least[j] = cost;
            a->before[j] = column;
        }
        if (a->least[j] < least) {
            least = a->least[j];
            next = j;
        }
    }
    for (size_t j = 0; j <= n; j++)
        if (a->done[j]) {
            a->row[a->row_of[j]] += least;
            a->column[j] -= least;
        } else
            a->least[j] -= least;
    return next;
}

void organ_assign(size_t n, const double *gain, size_t *row_of, void *room)
{
    assign_room a = rooms(n, room);
    memset(room, 0, organ_assign_room(n));
    for (size_t i = 1; i <= n; i++) {
        size_t column = 0;
        a.row_of[0] = i;
        memset(a.done, 0, (n + 1) * sizeof *a.done);
        for (size_t j = 0; j <= n; j++)
            a.least[j] = INFINITY;
        do {
            a.done[column] = true;
            column = extend(n, gain, &a, column);
        } while (a.row_of[column] != 0);
        for (size_t before; column != 0; column = before) {
            before = a.before[column];
            a.row_of[column] = a.row_of[before];
        }
    }
    for (size_t j = 1; j <= n; j++)
        row_of[a.row_of[j] - 1] = j - 1;
}

/* ---- groups ---- */

size_t organ_assign_groups_room(size_t n, size_t groups)
{
    const size_t each = n / groups, most = each > groups ? each : groups;
    return groups * groups * sizeof(double) + most * most * sizeof(double) + (groups * n + groups) * sizeof(size_t) +
           organ_assign_room(most);
}

/* `inner` gets the rows that group g's rows are assigned to if group g becomes group h: at [h * n + row]. */
void organ_assign_groups(size_t n, size_t groups, const double *gain, size_t *row_of, void *room)
{
    const size_t each = n / groups, most = each > groups ? each : groups;
    double *const between = room, *const within = between + groups * groups;
    size_t *const inner = (size_t *)(void *)(within + most * most), *const group_of = inner + groups * n;
    void *const rest = group_of + groups;
    for (size_t g = 0; g < groups; g++)
        for (size_t h = 0; h < groups; h++) {
            size_t *const rows = inner + h * n + g * each;
            double sum = 0;
            for (size_t i = 0; i < each; i++)
                memcpy(within + i * each, gain + (g * each + i) * n + h * each, each * sizeof *gain);
            organ_assign(each, within, rows, rest);
            for (size_t i = 0; i < each; i++)
                sum += within[i * each + rows[i]];
            between[g * groups + h] = sum;
        }
    organ_assign(groups, between, group_of, rest);
    for (size_t i = 0; i < n; i++)
        row_of[i] = group_of[i / each] * each + inner[group_of[i / each] * n + i];
}
