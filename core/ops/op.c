// SPDX-License-Identifier: Apache-2.0
#include "core/ops/op.h"

#include <stdarg.h>
#include <stdio.h>

const struct at_op *const at_ops[AT_OP_COUNT] = {
#define AT_OP(name) &at_op_##name,
#include "core/ops/op_list.h"
#undef AT_OP
};

bool at_infer_fail(char *why, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, size, fmt, args);
    va_end(args);
    return false;
}

bool at_infer_same(struct at_node *n, char *why, size_t size)
{
    (void)why;
    (void)size;
    n->shape = n->in[0]->shape;
    n->dtype = n->in[0]->dtype;
    return true;
}

bool at_infer_equal(struct at_node *n, char *why, size_t size)
{
    for (int i = 1; i < AT_ARITY; i++)
        if (n->in[i] && !at_shape_equal(n->in[0]->shape, n->in[i]->shape))
            return at_infer_fail(why, size, "all inputs must have one shape");
    return at_infer_same(n, why, size);
}

enum at_dtype at_case_dtype(const struct at_op_case *c, int i)
{
    return c->ints >> i & 1 ? AT_I32 : c->f16 >> i & 1 ? AT_F16 : c->bf16 >> i & 1 ? AT_BF16 : AT_F32;
}

double at_cost_bytes(const struct at_node *n)
{
    double bytes = 4.0 * (double)at_shape_count(n->shape);
    for (int i = 0; i < AT_ARITY; i++)
        if (n->in[i])
            bytes += (double)at_dtype_size(n->in[i]->dtype, 4) * (double)at_shape_count(n->in[i]->shape);
    return bytes;
}

struct at_cost at_cost_elementwise(const struct at_node *n, double flops)
{
    return (struct at_cost){flops * (double)at_shape_count(n->shape), at_cost_bytes(n)};
}
