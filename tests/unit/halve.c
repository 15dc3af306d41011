// SPDX-License-Identifier: Apache-2.0
// Which nodes of a graph come to lie in halves, and what a plan makes of it. No device is needed.
#include "core/graph/device.h"
#include "core/graph/gradient.h"
#include "core/graph/halve.h"
#include "core/graph/plan.h"
#include "core/ops/build.h"
#include "tests/harness.h"

static struct at_log sink = {.level = AT_LEVEL_ERROR};
static struct at_store store = {.count = 1 << 16};

static struct at_node *leaf(struct at_graph *g, struct at_shape shape, int64_t offset)
{
    return at_graph_leaf(g, "w", shape, &store, NULL, offset);
}

static struct at_node *image(struct at_graph *g)
{
    return at_graph_input(g, "x", AT_SHAPE(2, 8, 8, 16), AT_F32);
}

static struct at_node *conv(struct at_graph *g, struct at_node *x, int64_t out)
{
    struct at_conv_params p = {.top = 1, .left = 1, .bottom = 1, .right = 1};
    return at_conv2d(g, x, leaf(g, AT_SHAPE(out, 3, 3, at_shape_last(x->shape)), 0), &p);
}

// Between two convolutions lie halves, views of them too; what goes in and comes out is f32.
static void what_lies_between_is_halved(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = image(g), *a = conv(g, x, 12), *flat = at_view(g, a, 0, AT_SHAPE(2, 64, 12));
    struct at_node *back = at_view(g, flat, 0, a->shape), *b = conv(g, back, 3), *y = at_graph_output(g, b, "y");
    AT_CHECK_INT(at_graph_halve(g), 1);
    AT_CHECK(a->dtype == AT_F16 && flat->dtype == AT_F16 && back->dtype == AT_F16);
    AT_CHECK(x->dtype == AT_F32 && y->dtype == AT_F32);
    AT_CHECK_INT(at_graph_halve(g), 0); // once is enough
    struct at_plan *plan = at_plan_create(g, &(struct at_plan_params){0});
    AT_CHECK(plan && plan->arena_bytes == 2 * 64 * (16 * 4 + 12 * 2)); // x and a
    at_plan_destroy(&plan);
    at_graph_destroy(&g);
}

// Each of these users, or the shape, keeps a value in f32.
static void what_cannot_is_not(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = image(g);
    struct at_node *odd = conv(g, x, 6), *shown = conv(g, x, 8), *part = conv(g, x, 8), *lost = conv(g, x, 8);
    struct at_node *sliced = conv(g, x, 8), *row = at_matmul(g, leaf(g, AT_SHAPE(2, 16), 0), leaf(g, AT_SHAPE(16, 16), 0),
                                                             &(struct at_matmul_params){0});
    at_graph_output(g, conv(g, odd, 4), "1");
    at_graph_output(g, at_view(g, shown, 0, AT_SHAPE(2, 512)), "2");
    at_graph_output(g, conv(g, at_view(g, part, 2, AT_SHAPE(1, 8, 8, 8)), 4), "3");
    at_graph_output(g, at_sq_err(g, lost, at_graph_input(g, "t", lost->shape, AT_F32), NULL), "4");
    at_graph_output(g, at_slice(g, sliced, 2, 4), "5");
    at_graph_output(g, at_act(g, row, AT_ACT_SILU), "6");
    at_graph_exact(g, true);
    struct at_node *exact = conv(g, x, 8);
    at_graph_output(g, conv(g, exact, 4), "7");
    at_graph_exact(g, false);
    struct at_node *norm = at_group_norm(g, conv(g, x, 8), leaf(g, AT_SHAPE(8), 2), leaf(g, AT_SHAPE(8), 64), &(struct at_norm_params){.groups = 2, .eps = 1e-5f});
    at_graph_output(g, conv(g, norm, 4), "8"); // gamma begins at an odd place
    AT_CHECK(at_graph_ok(g));
    AT_CHECK_INT(at_graph_halve(g), 0);
    at_graph_destroy(&g);
}

// A gradient stays f32, and reads the halves that were kept; what is computed again is halves as before.
static void gradients_stay_whole(void)
{
    for (int again = 0; again < 2; again++) {
        struct at_graph *g = at_graph_create(&sink);
        struct at_node *x = image(g), *a = conv(g, x, 16), *h = at_act(g, a, AT_ACT_SILU), *dx;
        struct at_node *y = conv(g, at_act(g, h, AT_ACT_RELU), 4);
        at_graph_output(g, y, "y");
        at_graph_next_phase(g);
        int forward = at_graph_count(g);
        struct at_seed seed = {y, at_graph_input(g, "dy", y->shape, AT_F32)};
        AT_CHECK(at_graph_backward(g, &(struct at_gradient_params){.seeds = &seed, .seed_count = 1, .wrt = &x, .dx = &dx,
                                                                   .wrt_count = 1, .recompute = {.cheap = again}}));
        at_graph_output(g, dx, "dx");
        AT_CHECK_INT(at_graph_halve(g), 3 + again);
        AT_CHECK(a->dtype == AT_F16 && h->dtype == AT_F16);
        int halves = 0;
        for (int id = forward; id < at_graph_count(g); id++)
            halves += at_graph_node(g, id)->dtype == AT_F16;
        AT_CHECK_INT(halves, again);
        at_graph_destroy(&g);
    }
}

// An op may overwrite an input only where both have one size.
static void memory_is_shared_by_size(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = image(g), *a = at_scale(g, x, 2, 0), *b = at_scale(g, a, 3, 0);
    at_graph_output(g, conv(g, b, 4), "y");
    AT_CHECK_INT(at_graph_halve(g), 2);
    struct at_plan *plan = at_plan_create(g, &(struct at_plan_params){0});
    AT_CHECK(plan && plan->place[a->id].offset == plan->place[b->id].offset);
    AT_CHECK(plan && plan->place[a->id].offset != plan->place[x->id].offset);
    at_plan_destroy(&plan);
    at_graph_destroy(&g);
}

int main(void)
{
    AT_RUN(what_lies_between_is_halved);
    AT_RUN(what_cannot_is_not);
    AT_RUN(gradients_stay_whole);
    AT_RUN(memory_is_shared_by_size);
    return at_test_end();
}
