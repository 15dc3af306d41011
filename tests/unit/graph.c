// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/graph/fuse.h"
#include "core/graph/gradient.h"
#include "core/ops/build.h"
#include "tests/harness.h"

#include <string.h>

struct heard {
    int count;
    char text[1024];
};

static void hear(void *priv, enum at_level level, const char *text)
{
    (void)level;
    struct heard *h = priv;
    h->count++;
    snprintf(h->text, sizeof(h->text), "%s", text);
}

static struct heard heard;
static struct at_log sink = {.write = hear, .priv = &heard};
static struct at_device *cpu;

static bool said(const char *part)
{
    bool found = strstr(heard.text, part);
    if (!found)
        printf("\"%s\" is not in \"%s\"\n", part, heard.text);
    return found;
}

// --- building -------------------------------------------------------------------------------------------------------

static void a_refused_shape_is_named(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *a = at_graph_input(g, "a", AT_SHAPE(2, 3), AT_F32), *b = at_graph_input(g, "b", AT_SHAPE(3, 2), AT_F32);
    AT_CHECK(!at_concat(g, a, b) && !at_graph_ok(g));
    AT_CHECK(said("concat") && said("(2,3)") && said("(3,2)"));
    at_graph_destroy(&g);
    g = at_graph_create(&sink);
    AT_CHECK(!at_graph_input(g, "x", AT_SHAPE(2, 0), AT_F32) && said("x:"));
    at_graph_destroy(&g);
    g = at_graph_create(&sink);
    a = at_graph_input(g, "a", AT_SHAPE(2, 3), AT_F32);
    AT_CHECK(!at_slice(g, a, 2, 2) && said("slice") && said("2 .. 3"));
    at_graph_destroy(&g);
}

static void errors_stick(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(4), AT_F32);
    AT_CHECK(x && !at_slice(g, x, 0, 5));
    heard.count = 0;
    struct at_node *y = at_act(g, x, AT_ACT_SILU);
    AT_CHECK(!y && !at_mul(g, y, x) && !at_graph_output(g, y, "y"));
    struct at_node *dx = NULL;
    AT_CHECK(!at_graph_backward(g, &(struct at_gradient_params){.wrt = &x, .dx = &dx, .wrt_count = 1}));
    AT_CHECK(!at_exec_create(cpu, g) && !at_graph_ok(g));
    AT_CHECK_INT(heard.count, 0); // one mistake, one message
    at_graph_destroy(&g);
}

static void a_view_stays_inside(void)
{
    const struct {
        int64_t offset;
        struct at_shape shape;
        bool ok;
    } t[] = {{0, AT_SHAPE(12), true},    {6, AT_SHAPE(2, 3), true},          {7, AT_SHAPE(2, 3), false},
             {-1, AT_SHAPE(2), false},   {INT64_MAX / 2, AT_SHAPE(1), false}, {0, AT_SHAPE(13), false},
             {0, AT_SHAPE(0, 1), false}, {0, AT_SHAPE(INT64_MAX, 4), false}};
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct at_graph *g = at_graph_create(&sink);
        struct at_node *x = at_graph_input(g, "x", AT_SHAPE(3, 4), AT_F32);
        AT_CHECK_INT(at_view(g, x, t[i].offset, t[i].shape) != NULL, t[i].ok);
        at_graph_destroy(&g);
    }
}

// --- gradients ------------------------------------------------------------------------------------------------------

static void what_has_no_gradient_is_named(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(4), AT_F32), *dx = NULL;
    struct at_node *y = at_act_bwd(g, x, x, AT_ACT_SILU);
    struct at_seed seed = {y, at_graph_input(g, "dy", AT_SHAPE(4), AT_F32)};
    struct at_gradient_params p = {.seeds = &seed, .seed_count = 1, .wrt = &x, .dx = &dx, .wrt_count = 1};
    AT_CHECK(!at_graph_backward(g, &p) && !at_graph_ok(g) && said("act_bwd"));
    at_graph_destroy(&g);
}

// y = x x + silu(x) and z = part of x, all of one x; an unrelated input has no gradient.
static void gradients_of_a_shared_input_add_up(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(3), AT_F32), *u = at_graph_input(g, "u", AT_SHAPE(3), AT_F32);
    struct at_node *dy = at_graph_input(g, "dy", AT_SHAPE(3), AT_F32), *dz = at_graph_input(g, "dz", AT_SHAPE(1), AT_F32);
    struct at_seed seeds[] = {{at_add(g, at_mul(g, x, x), at_act(g, x, AT_ACT_SILU)), dy}, {at_slice(g, x, 1, 1), dz}};
    struct at_node *wrt[] = {x, u}, *dx[] = {NULL, x};
    AT_CHECK(at_graph_backward(
        g, &(struct at_gradient_params){.seeds = seeds, .seed_count = 2, .wrt = wrt, .dx = dx, .wrt_count = 2}));
    AT_CHECK(dx[0] && !dx[1]);
    at_graph_output(g, dx[0], "dx");
    struct at_exec *e = at_exec_create(cpu, g);
    const float xv[] = {-1.5f, 0.25f, 2}, dyv[] = {1, -2, 0.5f}, dzv[] = {10};
    float got[3] = {0};
    AT_CHECK(e && at_exec_write(e, x, xv) && at_exec_write(e, dy, dyv) && at_exec_write(e, dz, dzv) &&
             at_exec_run(e, 0) && at_exec_read(e, dx[0], got));
    for (int i = 0; i < 3; i++) {
        double v = (double)xv[i], p = 1 / (1 + exp(-v));
        double want = (double)dyv[i] * (2 * v + p * (1 + v * (1 - p))) + (i == 1 ? 10 : 0);
        AT_CHECK_NEAR(got[i], want, 1e-5);
    }
    at_exec_destroy(&e);
    at_graph_destroy(&g);
}

// --- running --------------------------------------------------------------------------------------------------------

// As at_exec_create, but every node may get memory of its own and chunks are small. It is destroyed as usual.
static struct at_exec *exec_with(struct at_device *dev, struct at_graph *g, bool no_inplace, size_t max_chunk)
{
    at_graph_fuse(g);
    struct at_exec *e = at_calloc(1, sizeof(*e));
    e->dev = dev;
    e->plan = at_plan_create(g, &(struct at_plan_params){.real_size = dev->real_size,
                                                         .max_chunk = max_chunk,
                                                         .scratch = dev->api->scratch,
                                                         .priv = dev,
                                                         .no_inplace = no_inplace});
    if (!e->plan) {
        at_free(e);
        return NULL;
    }
    e->arena = at_calloc((size_t)e->plan->chunks, sizeof(struct at_buffer *));
    for (int c = 0; c < e->plan->chunks; c++) {
        e->arena[c] = dev->api->buffer_create(dev, e->plan->chunk_bytes[c]);
        dev->allocated += e->plan->chunk_bytes[c];
        dev->used[AT_USE_TENSORS] += e->plan->chunk_bytes[c];
    }
    e->run = dev->api->compile(dev, e->plan, e->arena);
    return e;
}

enum { WIDTH = 24, ROWS = 2 * 33, BLOCKS = 3, WEIGHTS = BLOCKS * (WIDTH * WIDTH + WIDTH) };

// A residual net of blocks x + silu(x w + b), with its squared error and the gradient in a second phase.
struct net {
    struct at_graph *g;
    struct at_store *w, *dw;
    struct at_node *x, *target, *dm, *m, *dx;
};

static struct net net_create(struct at_device *dev, struct at_recompute recompute)
{
    struct net n = {.g = at_graph_create(&sink)};
    n.w = at_store_create(dev, WEIGHTS, AT_USE_WEIGHTS, &sink);
    n.dw = at_store_create(dev, WEIGHTS, AT_USE_WEIGHTS, &sink);
    if (!n.g || !n.w || !n.dw)
        return n;
    struct at_node *h = n.x = at_graph_input(n.g, "x", AT_SHAPE(2, ROWS / 2, WIDTH), AT_F32);
    for (int64_t i = 0, at = 0; i < BLOCKS; i++, at += WIDTH * WIDTH + WIDTH) {
        at_graph_segment_begin(n.g);
        struct at_node *w = at_graph_leaf(n.g, "w", AT_SHAPE(WIDTH, WIDTH), n.w, n.dw, at);
        struct at_node *b = at_graph_leaf(n.g, "b", AT_SHAPE(WIDTH), n.w, n.dw, at + WIDTH * WIDTH);
        struct at_node *y = at_bias(n.g, at_matmul(n.g, h, w, &(struct at_matmul_params){.tb = true}), b);
        h = at_add(n.g, h, at_act(n.g, y, AT_ACT_SILU));
        at_graph_segment_end(n.g);
    }
    n.target = at_graph_input(n.g, "target", AT_SHAPE(2, ROWS / 2, WIDTH), AT_F32);
    n.m = at_graph_output(n.g, at_sq_err(n.g, h, n.target, NULL), "m");
    at_graph_next_phase(n.g);
    n.dm = at_graph_input(n.g, "dm", AT_SHAPE(2), AT_F32);
    struct at_seed seed = {n.m, n.dm};
    if (at_graph_ok(n.g) && at_graph_backward(n.g, &(struct at_gradient_params){.seeds = &seed,
                                                                                .seed_count = 1,
                                                                                .wrt = &n.x,
                                                                                .dx = &n.dx,
                                                                                .wrt_count = 1,
                                                                                .recompute = recompute}))
        at_graph_output(n.g, n.dx, "dx");
    return n;
}

static void net_destroy(struct net *n)
{
    at_graph_destroy(&n->g);
    at_store_destroy(&n->w);
    at_store_destroy(&n->dw);
}

struct outcome {
    float m[2], dx[ROWS * WIDTH], dw[WEIGHTS];
    size_t bytes;
};

static bool net_run(struct at_device *dev, struct net *n, struct at_exec *e, int times, struct outcome *out)
{
    static float x[ROWS * WIDTH], target[ROWS * WIDTH], w[WEIGHTS];
    const float dm[] = {1, -0.5f};
    at_rng_normal(x, ROWS * WIDTH, 1, AT_STREAM_NOISE, 0);
    at_rng_normal(target, ROWS * WIDTH, 2, AT_STREAM_NOISE, 0);
    at_rng_normal(w, WEIGHTS, 3, AT_STREAM_NOISE, 0);
    for (int i = 0; i < WEIGHTS; i++)
        w[i] *= 0.3f;
    (void)dev;
    if (!e || !at_store_write(n->w, 0, w, WEIGHTS))
        return false;
    out->bytes = e->plan->arena_bytes;
    bool ok = true;
    for (int i = 0; ok && i < times; i++)
        ok = at_exec_write(e, n->x, x) && at_exec_write(e, n->target, target) && at_exec_run(e, 0) &&
             at_exec_read(e, n->m, out->m) && at_exec_write(e, n->dm, dm) && at_exec_run(e, 1);
    return ok && at_exec_read(e, n->dx, out->dx) && at_store_read(n->dw, 0, out->dw, WEIGHTS);
}

static struct outcome net_outcome(struct at_device *dev, struct at_recompute r, bool no_inplace, size_t max_chunk,
                                  int times)
{
    static struct outcome out;
    memset(&out, 0, sizeof(out));
    struct net n = net_create(dev, r);
    AT_CHECK(at_graph_ok(n.g));
    struct at_exec *e = exec_with(dev, n.g, no_inplace, max_chunk);
    AT_CHECK(net_run(dev, &n, e, times, &out));
    at_exec_destroy(&e);
    net_destroy(&n);
    return out;
}

static bool same_bits(const struct outcome *a, const struct outcome *b)
{
    return memcmp(a->m, b->m, sizeof(a->m)) == 0 && memcmp(a->dx, b->dx, sizeof(a->dx)) == 0 &&
           memcmp(a->dw, b->dw, sizeof(a->dw)) == 0;
}

// The largest difference relative to the largest value.
static double distance(const float *a, const float *b, int n)
{
    double worst = 0, top = 0;
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        top = fmax(top, fabs((double)b[i]));
    }
    return worst / top;
}

static void overwriting_inputs_changes_nothing(void)
{
    static struct outcome a, b;
    a = net_outcome(cpu, (struct at_recompute){0}, false, 0, 1);
    b = net_outcome(cpu, (struct at_recompute){0}, true, 0, 1);
    AT_CHECK(a.m[0] > 0.01f && a.dw[0] != 0);
    AT_CHECK(same_bits(&a, &b));
    AT_CHECK(a.bytes <= b.bytes);
}

static void small_chunks_change_nothing(void)
{
    static struct outcome a, b;
    a = net_outcome(cpu, (struct at_recompute){0}, false, 0, 1);
    b = net_outcome(cpu, (struct at_recompute){0}, false, 8192, 1);
    AT_CHECK(same_bits(&a, &b));
    struct net n = net_create(cpu, (struct at_recompute){0});
    AT_CHECK(!exec_with(cpu, n.g, false, 1024) && said("smaller batch"));
    net_destroy(&n);
}

static void recomputing_changes_nothing_but_memory(void)
{
    static struct outcome keep, again;
    const struct at_recompute r[] = {{.cheap = true}, {.segments = 1}, {.segments = BLOCKS}, {true, BLOCKS}};
    keep = net_outcome(cpu, (struct at_recompute){0}, false, 0, 1);
    for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
        again = net_outcome(cpu, r[i], false, 0, 1);
        // Fusion may differ between the two graphs, so that rounding does.
        AT_CHECK_NEAR(distance(again.dw, keep.dw, WEIGHTS), 0, 1e-6);
        AT_CHECK_NEAR(distance(again.dx, keep.dx, ROWS * WIDTH), 0, 1e-6);
        AT_CHECK(again.bytes <= keep.bytes);
    }
    AT_CHECK(again.bytes < keep.bytes);
}

static void the_oracle_agrees_and_gradients_accumulate(void)
{
    static struct outcome one, three, exact;
    struct at_device *oracle = at_cpu_open(&(struct at_cpu_params){.oracle = true, .threads = 2}, &sink);
    if (!AT_CHECK(oracle != NULL))
        return;
    one = net_outcome(cpu, (struct at_recompute){0}, false, 0, 1);
    three = net_outcome(cpu, (struct at_recompute){0}, false, 0, 3);
    exact = net_outcome(oracle, (struct at_recompute){.cheap = true}, false, 0, 1);
    AT_CHECK_NEAR(distance(one.dw, exact.dw, WEIGHTS), 0, 5e-6);
    AT_CHECK_NEAR(distance(one.dx, exact.dx, ROWS * WIDTH), 0, 5e-6);
    for (int i = 0; i < WEIGHTS; i++)
        one.dw[i] *= 3;
    AT_CHECK_NEAR(distance(three.dw, one.dw, WEIGHTS), 0, 1e-6);
    AT_CHECK_INT(oracle->allocated, 0);
    at_device_close(&oracle);
}

static void any_allocation_may_fail(void)
{
    static struct outcome out;
    bool done = false;
    for (size_t n = 1; n < 2000 && !done; n++) {
        size_t before = cpu->allocated;
        at_alloc_fail_at(n, false);
        struct net net = net_create(cpu, (struct at_recompute){.cheap = true});
        struct at_exec *e = net.g && net.w && net.dw ? at_exec_create(cpu, net.g) : NULL;
        done = !at_alloc_failed();
        at_alloc_fail_at(0, false);
        if (done)
            AT_CHECK(net_run(cpu, &net, e, 1, &out));
        at_exec_destroy(&e);
        net_destroy(&net);
        AT_CHECK_INT(cpu->allocated, before);
    }
    AT_CHECK(done);
}

// --- constants that a random case does not reach --------------------------------------------------------------------

static void an_empty_mask_gives_zero(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *y = at_graph_input(g, "y", AT_SHAPE(3, 2, 2), AT_F32), *t = at_graph_input(g, "t", AT_SHAPE(3, 2, 2), AT_F32);
    struct at_node *mask = at_graph_input(g, "mask", AT_SHAPE(3, 2), AT_F32), *dm = at_graph_input(g, "dm", AT_SHAPE(3), AT_F32);
    struct at_node *m = at_graph_output(g, at_sq_err(g, y, t, mask), "m"), *dy = NULL;
    struct at_seed seed = {m, dm};
    AT_CHECK(at_graph_backward(
        g, &(struct at_gradient_params){.seeds = &seed, .seed_count = 1, .wrt = &y, .dx = &dy, .wrt_count = 1}));
    at_graph_output(g, dy, "dy");
    struct at_exec *e = at_exec_create(cpu, g);
    const float yv[] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}, tv[12] = {0}, dmv[] = {1, 1, 1};
    const float mv[] = {1, 1, 0, 0.5f, 0, 0}, want[] = {0.5f, 1, 1.5f, 2, 0, 0, 3, 4, 0, 0, 0, 0};
    float err[3], grad[12];
    AT_CHECK(e && at_exec_write(e, y, yv) && at_exec_write(e, t, tv) && at_exec_write(e, mask, mv) &&
             at_exec_write(e, dm, dmv) && at_exec_run(e, 0) && at_exec_read(e, m, err) && at_exec_read(e, dy, grad));
    AT_CHECK_NEAR(err[0], 7.5, 1e-6);
    AT_CHECK_NEAR(err[1], 12.5, 1e-6);
    AT_CHECK_NEAR(err[2], 0, 0);
    for (int i = 0; i < 12; i++)
        AT_CHECK_NEAR(grad[i], want[i], 1e-6);
    at_exec_destroy(&e);
    at_graph_destroy(&g);
}

static void an_id_outside_is_row_zero(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *table = at_graph_input(g, "table", AT_SHAPE(2, 2), AT_F32), *ids = at_graph_input(g, "ids", AT_SHAPE(4), AT_I32);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(4, 2, 1), AT_F32);
    struct at_node *out[] = {at_embed(g, table, ids), at_embed_bwd(g, at_embed(g, table, ids), ids, 2), at_pick(g, x, ids),
                             at_pick_bwd(g, at_pick(g, x, ids), ids, 2)};
    for (int i = 0; i < 4; i++)
        at_graph_output(g, out[i], "out");
    struct at_exec *e = at_exec_create(cpu, g);
    const int32_t idv[] = {-1, 1, 2, INT32_MIN};
    const float tv[] = {1, 2, 30, 40}, xv[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const float want[4][8] = {{1, 2, 30, 40, 1, 2, 1, 2}, {3, 6, 30, 40}, {1, 4, 5, 7}, {1, 0, 0, 4, 5, 0, 7, 0}};
    const int count[] = {8, 4, 4, 8};
    AT_CHECK(e && at_exec_write(e, table, tv) && at_exec_write(e, ids, idv) && at_exec_write(e, x, xv) && at_exec_run(e, 0));
    for (int i = 0; e && i < 4; i++) {
        float got[8];
        AT_CHECK(at_exec_read(e, out[i], got));
        for (int j = 0; j < count[i]; j++)
            AT_CHECK_NEAR(got[j], want[i][j], 0);
    }
    at_exec_destroy(&e);
    at_graph_destroy(&g);
}

int main(void)
{
    cpu = at_cpu_open(&(struct at_cpu_params){.threads = 2}, &sink);
    if (!cpu) {
        printf("%s\n", heard.text);
        return 1;
    }
    AT_RUN(a_refused_shape_is_named);
    AT_RUN(errors_stick);
    AT_RUN(a_view_stays_inside);
    AT_RUN(what_has_no_gradient_is_named);
    AT_RUN(gradients_of_a_shared_input_add_up);
    AT_RUN(overwriting_inputs_changes_nothing);
    AT_RUN(small_chunks_change_nothing);
    AT_RUN(recomputing_changes_nothing_but_memory);
    AT_RUN(the_oracle_agrees_and_gradients_accumulate);
    AT_RUN(any_allocation_may_fail);
    AT_RUN(an_empty_mask_gives_zero);
    AT_RUN(an_id_outside_is_row_zero);
    at_device_close(&cpu);
    return at_test_end();
}
