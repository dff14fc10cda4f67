/* SPDX-License-Identifier: MIT
 * Stacks of experts as the numbered matrices of which they consist. */
#include "formats/tensor/tensor_list.h"

#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct stack_row {
    const char *end;      /* end of the name of the stack */
    const char *names[2]; /* projections whose rows follow each other in a matrix of the stack; NULL: only one */
} stack_row;

/* The last two rows are of Granite. */
static const stack_row stacks[] = {{".experts.gate_up_proj", {"gate_proj", "up_proj"}},
                                   {".experts.down_proj", {"down_proj", NULL}},
                                   {".input_linear.weight", {"gate_proj", "up_proj"}},
                                   {".output_linear.weight", {"down_proj", NULL}}};

static const stack_row *stack_of(const organ_tensor *tensor)
{
    for (size_t k = 0; k < sizeof stacks / sizeof *stacks; k++)
        if (tensor->rank == 3 && organ_ends_with(tensor->name, stacks[k].end) &&
            organ_dtype_describe(tensor->dtype)->elements == 1 && tensor->shape[1] % (stacks[k].names[1] ? 2 : 1) == 0)
            return &stacks[k];
    return NULL;
}

/* Matrix `expert` has the name "X.experts.EXPERT.gate_proj.weight". */
static organ_status append_matrix(organ_tensor_list *to, organ_arena *arena, const organ_tensor *stack, const char *end,
                                  const char *projection, uint64_t expert, uint64_t at, const uint64_t *shape,
                                  organ_error *error)
{
    const size_t before = strlen(stack->name) - strlen(end);
    ORGAN_OWNED char *const name =
        organ_format("%.*s.experts.%" PRIu64 ".%s.weight", (int)before, stack->name, expert, projection);
    organ_tensor one = *stack;
    one.name = name ? organ_arena_copy(arena, name, strlen(name)) : NULL;
    if (!one.name)
        return organ_fail_memory(error, stack->name);
    one.rank = 2;
    one.shape = shape;
    one.elements = shape[0] * shape[1];
    one.bytes = one.elements * organ_dtype_describe(stack->dtype)->bytes;
    one.offset = stack->offset + at * one.bytes;
    one.anatomy = organ_anatomy_of(one.name);
    return organ_tensor_list_append(to, &one, error);
}

static organ_status append_stack(organ_tensor_list *to, organ_arena *arena, const organ_tensor *stack,
                                 const stack_row *row, organ_error *error)
{
    const unsigned count = row->names[1] ? 2 : 1;
    uint64_t *const shape = organ_arena_take(arena, 2 * sizeof *shape);
    if (!shape)
        return organ_fail_memory(error, stack->name);
    shape[0] = stack->shape[1] / count;
    shape[1] = stack->shape[2];
    for (uint64_t k = 0; k < stack->shape[0] * count && !error->status; k++)
        append_matrix(to, arena, stack, row->end, row->names[k % count], k / count, k, shape, error);
    return error->status;
}

organ_status organ_tensor_list_unstack(organ_tensor_list *list, organ_error *error)
{
    organ_tensor_list made = {0};
    for (size_t k = 0; k < list->count && !error->status; k++) {
        const organ_tensor *const tensor = &list->tensors[k];
        const stack_row *const row = stack_of(tensor);
        organ_rows_passed();
        row ? append_stack(&made, &list->arena, tensor, row, error) : organ_tensor_list_append(&made, tensor, error);
    }
    for (size_t k = 0; k < made.count && !error->status; k++) {
        if (organ_name_table_find(&made.names, made.tensors[k].name))
            organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' is there, and in a stack of experts too",
                       made.tensors[k].name);
        else if (!organ_name_table_put(&made.names, made.tensors[k].name, k))
            organ_fail_memory(error, made.tensors[k].name);
    }
    if (error->status) {
        organ_name_table_release(&made.names);
        free(made.tensors);
        return error->status;
    }
    organ_rows_free(list->tensors);
    organ_name_table_release(&list->names);
    list->tensors = made.tensors;
    list->count = made.count;
    list->capacity = made.capacity;
    list->names = made.names;
    organ_tensor_list_to_file(list);
    return ORGAN_OK;
}
