/* SPDX-License-Identifier: MIT
 * The Hungarian method with potentials (Kuhn 1955; Jonker and Volgenant 1987). */
#include "orchestrator/solve/assign.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Rows are those of the gains (i), columns the numbers that rows are assigned to (j). Both count from 1 here: index 0
 * of each array is a column of its own, at which the path of a new row begins. Arrays of n + 1. */
typedef struct assign_room {
    double *row, *column, *least; /* potentials, and the least reduced cost of each column */
    size_t *assigned, *before;    /* row assigned to each column, 0: none; column before it on the path */
    bool *done;                   /* the column is on the path, or was tried for it */
} assign_room;

size_t organ_assign_room(size_t n) { return (n + 1) * (3 * sizeof(double) + 2 * sizeof(size_t) + sizeof(bool)); }

/* The arrays follow each other in `room`, of organ_assign_room bytes, those with the strictest alignment first. */
static assign_room rooms(size_t n, void *room)
{
    double *const row = room;
    size_t *const assigned = (size_t *)(void *)(row + 3 * (n + 1));
    return (assign_room){row,      row + (n + 1),      row + 2 * (n + 1),
                         assigned, assigned + (n + 1), (bool *)(void *)(assigned + 2 * (n + 1))};
}

/* Extends the path, which ends at `column`, by the column of the least reduced cost, which it returns. The cost of row
 * and column is minus the gain, less the potentials of both. Then shifts the potentials by that least cost, so that the
 * new column has the reduced cost 0 and no cost becomes negative. */
static size_t extend(size_t n, const double *gain, assign_room *a, size_t column)
{
    const size_t row = a->assigned[column];
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
            a->row[a->assigned[j]] += least;
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
        a.assigned[0] = i;
        memset(a.done, 0, (n + 1) * sizeof *a.done);
        for (size_t j = 0; j <= n; j++)
            a.least[j] = INFINITY;
        do {
            a.done[column] = true;
            column = extend(n, gain, &a, column);
        } while (a.assigned[column] != 0);
        /* the path ends at a free column: each of its columns gets the row of the column before it, the first row i */
        for (size_t before; column != 0; column = before) {
            before = a.before[column];
            a.assigned[column] = a.assigned[before];
        }
    }
    for (size_t j = 1; j <= n; j++) /* inverts the assignment, and counts from 0 */
        row_of[a.assigned[j] - 1] = j - 1;
}

/* ---- groups ---- */

size_t organ_assign_groups_room(size_t n, size_t groups)
{
    const size_t each = n / groups, most = each > groups ? each : groups;
    return groups * groups * sizeof(double) + most * most * sizeof(double) + (groups * n + groups) * sizeof(size_t) +
           organ_assign_room(most);
}

/* First assigns the rows of each group g to those of each group h, then the groups to each other by the gains of these
 * assignments. inner[h * n + i], with row i in group g, is the row, counted within h, that i is assigned to. `room` has
 * `between`, `within`, `inner` and `group_of` one after the other, then the room of organ_assign. */
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
