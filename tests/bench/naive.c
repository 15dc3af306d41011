// SPDX-License-Identifier: Apache-2.0
// Products on the Vulkan device beside kernels that make one output an invocation: naive [device].
// On a software device other work on the machine counts in the GFLOP/s; the ratio is that of processor time.
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/ops/build.h"
#include "core/vulkan/command.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/memory.h"
#include "shaders/kernels.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "spv_naive_conv2d.h"
#include "spv_naive_matmul.h"

#define RUNS 3

static const struct at_kernel matmul = {"naive_matmul", spv_naive_matmul, sizeof(spv_naive_matmul)};
static const struct at_kernel conv2d = {"naive_conv2d", spv_naive_conv2d, sizeof(spv_naive_conv2d)};

struct job {
    struct at_shape x, w, y; // (m,k) (n,k) (m,n), or (1,h,w,c) (o,3,3,c) (1,h,w,o)
};

static const struct job jobs[] = {
    {{2, {256, 256}}, {2, {256, 256}}, {2, {256, 256}}},
    {{2, {384, 384}}, {2, {384, 384}}, {2, {384, 384}}},
    {{2, {512, 512}}, {2, {512, 512}}, {2, {512, 512}}},
    {{4, {1, 16, 16, 128}}, {4, {128, 3, 3, 128}}, {4, {1, 16, 16, 128}}},
    {{4, {1, 32, 32, 128}}, {4, {128, 3, 3, 128}}, {4, {1, 32, 32, 128}}},
};

struct push {
    uint64_t x, w, y;
    uint32_t size[4];
};

struct seconds {
    double wall, processor;
    double first; // of processor time in the first run, which compiles the kernel on some devices
};

struct bench {
    struct at_device *dev;
    const struct job *job;
    float *x, *w, *y[2]; // naive, ours
    struct seconds best[2];
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void keep_best(struct seconds *best, int run, double wall, double processor)
{
    wall = now(CLOCK_MONOTONIC) - wall;
    processor = now(CLOCK_PROCESS_CPUTIME_ID) - processor;
    best->first = run ? best->first : processor;
    best->wall = run && best->wall < wall ? best->wall : wall;
    best->processor = run && best->processor < processor ? best->processor : processor;
}

static size_t bytes(struct at_shape s)
{
    return (size_t)at_shape_count(s) * sizeof(float);
}

static bool record(struct bench *b, struct at_vk_commands *c, struct at_vk_buffer *const buffer[3])
{
    const struct job *job = b->job;
    struct at_vk_device *vk = at_vulkan_device(b->dev);
    bool conv = job->x.rank == 4;
    struct push push = {
        at_vk_buffer_address(buffer[0]), at_vk_buffer_address(buffer[1]), at_vk_buffer_address(buffer[2]), {0}};
    int64_t sizes[2][4] = {{job->x.dim[0], job->w.dim[0], job->x.dim[1]},
                           {job->x.dim[1], job->x.dim[2], job->x.dim[3], job->w.dim[0]}};
    for (int i = 0; i < 4; i++)
        push.size[i] = (uint32_t)sizes[conv][i];
    uint32_t workgroup = at_vk_workgroup(vk, 64);
    struct at_vk_dispatch_params p = {.own = conv ? &conv2d : &matmul,
                                      .constants = &workgroup,
                                      .constant_count = 1,
                                      .push = &push,
                                      .push_size = sizeof(push)};
    at_vk_grid(vk, (uint64_t)at_shape_count(job->y) / workgroup + 1, p.groups);
    return at_vk_dispatch(c, &p) && at_vk_commands_end(c);
}

static bool run_naive(struct bench *b)
{
    struct at_vk_device *vk = at_vulkan_device(b->dev);
    const struct at_shape shape[3] = {b->job->x, b->job->w, b->job->y};
    struct at_vk_buffer *buffer[3] = {NULL};
    bool ok = true;
    for (int i = 0; ok && i < 3; i++)
        ok = (buffer[i] = at_vk_buffer_create(vk, &(struct at_vk_buffer_params){.size = bytes(shape[i])}));
    struct at_vk_commands *c = ok ? at_vk_commands_begin(vk, NULL) : NULL;
    ok = c && at_vk_buffer_write(buffer[0], 0, b->x, bytes(b->job->x)) &&
         at_vk_buffer_write(buffer[1], 0, b->w, bytes(b->job->w)) && record(b, c, buffer);
    for (int run = 0; ok && run < RUNS; run++) {
        double wall = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID);
        ok = at_vk_run(c);
        keep_best(&b->best[0], run, wall, processor);
    }
    ok = ok && at_vk_buffer_read(buffer[2], 0, b->y[0], bytes(b->job->y));
    at_vk_commands_destroy(&c);
    for (int i = 0; i < 3; i++)
        at_vk_buffer_destroy(&buffer[i]);
    return ok;
}

static bool run_ours(struct bench *b)
{
    struct at_graph *g = at_graph_create(b->dev->log);
    struct at_node *x = at_graph_input(g, "x", b->job->x, AT_F32), *w = at_graph_input(g, "w", b->job->w, AT_F32);
    struct at_node *y = b->job->x.rank == 4 ? at_conv2d(g, x, w, &(struct at_conv_params){1, 1, 1, 1, 1})
                                            : at_matmul(g, x, w, &(struct at_matmul_params){.tb = true});
    at_graph_output(g, y, "y");
    struct at_exec *exec = at_graph_ok(g) ? at_exec_create(b->dev, g) : NULL;
    bool ok = exec && at_exec_write(exec, x, b->x) && at_exec_write(exec, w, b->w);
    for (int run = 0; ok && run < RUNS; run++) {
        double wall = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID);
        ok = at_exec_run(exec, 0);
        keep_best(&b->best[1], run, wall, processor);
    }
    ok = ok && at_exec_read(exec, y, b->y[1]);
    at_exec_destroy(&exec);
    at_graph_destroy(&g);
    return ok;
}

// Prints a line. False if something failed, or the two results differ.
static bool compare(struct bench *b)
{
    char text[AT_SHAPE_TEXT], other[AT_SHAPE_TEXT];
    size_t n = (size_t)at_shape_count(b->job->y);
    double worst = 0, depth = (double)at_shape_count(b->job->w) / (double)b->job->w.dim[0];
    double giga = 2e-9 * depth * (double)n;
    if (!run_naive(b) || !run_ours(b))
        return false;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)b->y[0][i] - (double)b->y[1][i]));
    bool software = at_vk_device_info(at_vulkan_device(b->dev))->kind == AT_VK_KIND_CPU;
    double ratio = software ? b->best[0].processor / b->best[1].processor : b->best[0].wall / b->best[1].wall;
    printf("%-6s %-16s %-16s %8.2f %8.2f", b->job->x.rank == 4 ? "conv2d" : "matmul", at_shape_text(b->job->x, text),
           at_shape_text(b->job->w, other), giga / b->best[0].wall, giga / b->best[1].wall);
    if (software)
        printf(" %8.2f %8.2f", giga / b->best[0].processor, giga / b->best[1].processor);
    printf(" %6.1f %8.2f\n", ratio, b->best[1].first - b->best[1].processor);
    return worst < 1e-3 * sqrt(depth);
}

static bool bench_job(struct at_device *dev, const struct job *job)
{
    struct bench b = {.dev = dev, .job = job};
    size_t nx = (size_t)at_shape_count(job->x), nw = (size_t)at_shape_count(job->w);
    b.x = at_calloc(nx, sizeof(float));
    b.w = at_calloc(nw, sizeof(float));
    b.y[0] = at_calloc((size_t)at_shape_count(job->y), sizeof(float));
    b.y[1] = at_calloc((size_t)at_shape_count(job->y), sizeof(float));
    bool ok = b.x && b.w && b.y[0] && b.y[1];
    if (ok) {
        at_rng_normal(b.x, nx, 1, AT_STREAM_MAKE, 0);
        at_rng_normal(b.w, nw, 1, AT_STREAM_MAKE, 1);
        ok = compare(&b);
    }
    at_free(b.x);
    at_free(b.w);
    at_free(b.y[0]);
    at_free(b.y[1]);
    return ok;
}

static void print_error(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    if (level == AT_LEVEL_ERROR)
        fprintf(stderr, "naive: %s\n", text);
}

int main(int argc, char **argv)
{
    struct at_log log = {.write = print_error};
    struct at_device *dev = at_vulkan_open(&(struct at_vulkan_params){.select = argc > 1 ? argv[1] : NULL}, &log);
    if (!dev)
        return 77;
    bool ok = true, software = at_vk_device_info(at_vulkan_device(dev))->kind == AT_VK_KIND_CPU;
    printf("%s\n%-40s %17s%s %6s %8s\n", dev->name, "", "GFLOP/s", software ? "       a processor" : "", "", "compile");
    printf("%-40s %8s %8s%s %6s %8s\n", "", "naive", "ours", software ? "    naive     ours" : "", "ratio", "s");
    for (size_t i = 0; ok && i < sizeof(jobs) / sizeof(jobs[0]); i++)
        ok = bench_job(dev, &jobs[i]);
    if (!ok)
        printf("FAIL\n");
    at_device_close(&dev);
    return !ok;
}
