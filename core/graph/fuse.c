// SPDX-License-Identifier: Apache-2.0
#include "core/graph/fuse.h"

#include "core/base/alloc.h"
#include "core/graph/plan.h"
#include "core/ops/op.h"

#include <string.h>

// Whether `product` can be swallowed together with its user n as epilogue e.
static bool fits(const struct at_node *product, const struct at_node *n, enum at_epilogue e, const int *users)
{
    if (!product || !product->op || !(product->op->takes >> e & 1) || users[product->id] != 1 || product->output ||
        product->phase != n->phase || product->update >= 0)
        return false;
    bool bias = product->in[2], act = product->attr.i[7], residual = product->in[3];
    switch (e) {
    case AT_EPILOGUE_BIAS:
        return !bias && !act && !residual && n->in[1]->shape.rank == 1;
    case AT_EPILOGUE_ACT:
        return !act && !residual;
    default:
        return !act && !residual;
    }
}

// Turns n into the product with the epilogue: `other` is the bias or the residual.
static void swallow(struct at_node *n, const struct at_node *product, enum at_epilogue e, struct at_node *other)
{
    int act = n->attr.i[0];
    n->op = product->op;
    n->attr = product->attr;
    memcpy(n->in, product->in, sizeof(n->in));
    if (e == AT_EPILOGUE_BIAS)
        n->in[2] = other;
    else if (e == AT_EPILOGUE_ACT)
        n->attr.i[7] = act;
    else
        n->in[3] = other;
    if (n->update >= 0)
        n->update = 3;
}

static bool try_fuse(struct at_node *n, const int *users)
{
    enum at_epilogue e = n->op->epilogue;
    if (e == AT_EPILOGUE_NONE)
        return false;
    // A sum takes the later product, so that the other operand is there when it runs.
    struct at_node *first = n->in[0], *second = n->in[1];
    if (e == AT_EPILOGUE_RESIDUAL) {
        if (fits(second, n, e, users) && second != first) {
            swallow(n, second, e, first);
            return true;
        }
        if (n->update >= 0)
            return false;
    }
    if (!fits(first, n, e, users) || first == second)
        return false;
    swallow(n, first, e, second);
    return true;
}

int at_graph_fuse(struct at_graph *g)
{
    int n = at_graph_count(g), fused = 0;
    bool *live = at_calloc((size_t)n, sizeof(*live));
    int *users = at_calloc((size_t)n, sizeof(*users));
    if (live && users) {
        at_graph_live(g, live);
        for (int id = 0; id < n; id++)
            for (int i = 0; live[id] && i < AT_ARITY; i++)
                if (at_graph_node(g, id)->in[i])
                    users[at_graph_node(g, id)->in[i]->id]++;
        for (int id = 0; id < n; id++)
            if (live[id] && at_graph_node(g, id)->op)
                fused += try_fuse(at_graph_node(g, id), users);
    }
    if (!live || !users) {
        fused = -1;
        at_fail_memory(at_graph_log(g), (size_t)n * sizeof(*users));
    }
    at_free(live);
    at_free(users);
    return fused;
}
