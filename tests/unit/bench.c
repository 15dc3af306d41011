// SPDX-License-Identifier: Apache-2.0
// The sizes that operators are benched at, and what is said of their speed. Nothing is timed.
#include "pipelines/bench/bench_ops.h"

#include "tests/unit/capture.h"

static struct capture capture;

static const struct at_op *find(const char *name)
{
    for (int i = 0; i < AT_OP_COUNT; i++)
        if (strcmp(at_ops[i]->name, name) == 0)
            return at_ops[i];
    return NULL;
}

static void every_op_that_runs_has_a_size(void)
{
    for (int i = 0; i < AT_OP_COUNT; i++) {
        bool found = at_ops[i]->alias;
        for (const struct at_bench_size *s = at_bench_sizes; s->op && !found; s++)
            found = strcmp(s->op, at_ops[i]->name) == 0;
        if (!found)
            printf("%s\n", at_ops[i]->name);
        AT_CHECK(found);
    }
}

// The node of a size in a graph of its own; no memory is taken.
static struct at_node *make_node(struct at_graph *g, const struct at_bench_size *s)
{
    const struct at_op *op = find(s->op);
    struct at_node *in[AT_ARITY] = {0};
    for (int i = 0; op && i < AT_ARITY; i++)
        if (s->c.in[i].rank)
            in[i] = at_graph_input(g, "in", s->c.in[i], at_case_dtype(&s->c, i));
    return op ? at_graph_append(g, op, in, AT_ARITY, &s->c.attr, s->c.shape.rank ? &s->c.shape : NULL) : NULL;
}

static void every_size_is_accepted_and_products_agree_with_its_cost(void)
{
    int products = 0;
    for (const struct at_bench_size *s = at_bench_sizes; s->op; s++) {
        struct at_graph *g = at_graph_create(capture_start(&capture));
        struct at_node *y = make_node(g, s);
        struct at_product_shape p;
        if (AT_CHECK(y) && y->op->product && y->op->product(y, &p)) {
            AT_CHECK_NEAR(2.0 * (double)p.m * (double)p.n * (double)p.k / y->op->cost(y).flops, 1, 1e-9);
            AT_CHECK_INT(p.m * p.n, at_shape_count(y->shape));
            products++;
        }
        at_graph_destroy(&g);
    }
    AT_CHECK(products > 10);
}

static void unknown_names_are_refused_with_the_nearest(void)
{
    static const char *const good[] = {"matmul", "conv2d"}, *const bad[] = {"matmul", "layernorm"};
    AT_CHECK(at_bench_ops_check(good, 2, NULL));
    AT_CHECK(!at_bench_ops_check(bad, 2, capture_start(&capture)));
    AT_CHECK_INT(capture.log.error, AT_ERROR_USAGE);
    AT_CHECK(strstr(capture.text, "\"layernorm\"; did you mean layer_norm?"));
}

static void the_slower_roof_binds(void)
{
    static const struct at_ceilings c = {.copy = 10, .fma = 100};
    bool memory;
    AT_CHECK_NEAR(at_ceilings_seconds(&c, &(struct at_cost){.flops = 1000, .bytes = 50}, &memory), 10, 1e-12);
    AT_CHECK(!memory);
    AT_CHECK_NEAR(at_ceilings_seconds(&c, &(struct at_cost){.flops = 1000, .bytes = 200}, &memory), 20, 1e-12);
    AT_CHECK(memory);
}

int main(void)
{
    AT_RUN(every_op_that_runs_has_a_size);
    AT_RUN(every_size_is_accepted_and_products_agree_with_its_cost);
    AT_RUN(unknown_names_are_refused_with_the_nearest);
    AT_RUN(the_slower_roof_binds);
    return at_test_end();
}
