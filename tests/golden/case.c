// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/case.h"

#include "core/base/alloc.h"
#include "core/cpu/cpu.h"
#include "core/io/safetensors.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void at_case_must(struct at_case *c, bool ok, const char *what)
{
    if (ok)
        return;
    printf("FAIL %s: %s\n", c->name, what);
    exit(1);
}

// Of activations in halves, each rounded by up to 2^-11; gradients, f32 themselves, read them.
#define HALVES_TOLERANCE 1e-2

// The best Vulkan device, or the one that ATTUNE_TEST_DEVICE selects. Other kernels, other order of summation.
static struct at_device *open_vulkan(struct at_case *c)
{
    struct at_vk_info *infos;
    size_t count;
    if (!at_vk_enumerate(&c->log, &infos, &count))
        exit(77);
    at_free(infos);
    c->tolerance = 1e-3;
    c->loose = 1e-2;
    return at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, &c->log);
}

static struct at_device *open_device(struct at_case *c, const char *name)
{
    if (strcmp(name, "cpu") == 0)
        return at_cpu_open(&(struct at_cpu_params){0}, &c->log);
    if (strcmp(name, "oracle") == 0)
        return at_cpu_open(&(struct at_cpu_params){.oracle = true}, &c->log);
    bool halves = strcmp(name, "vulkan-f16") == 0;
    at_case_must(c, halves || strcmp(name, "vulkan") == 0, "the devices are cpu, oracle, vulkan and vulkan-f16");
    struct at_device *dev = open_vulkan(c);
    if (dev && halves) {
        dev->activations = AT_F16;
        c->tolerance = HALVES_TOLERANCE;
    }
    return dev;
}

void at_case_open(struct at_case *c, int argc, char **argv, const char *name)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    *c = (struct at_case){
        .name = name, .log.level = AT_LEVEL_WARN, .arena = at_arena_create(), .tolerance = 1e-5, .loose = 1e-3};
    at_case_must(c, c->arena != NULL, "no memory");
    c->dev = open_device(c, device);
    at_case_must(c, c->dev != NULL, "the device does not open");
    c->io = at_safetensors_open(&c->log, at_case_path(c, NULL, "io.safetensors"));
    at_case_must(c, c->io != NULL, "io.safetensors does not open");
}

void at_case_finish(struct at_case *c)
{
    for (int i = 0; i < c->config_count; i++)
        at_json_destroy(&c->configs[i]);
    at_safetensors_destroy(&c->io);
    at_case_must(c, strcmp(c->dev->kind, "vulkan") != 0 || !at_vk_validation_errors(at_vulkan_device(c->dev), NULL),
                 "the validation layer found errors");
    at_device_close(&c->dev);
    at_arena_destroy(&c->arena);
}

const char *at_case_path(struct at_case *c, const char *name, const char *tail)
{
    const char *dir = getenv("AT_TEST_GOLDEN");
    const char *path =
        at_arena_strf(c->arena, "%s/models/%s/%s", dir ? dir : "tests/golden/data", name ? name : c->name, tail);
    at_case_must(c, path != NULL, "no memory");
    return path;
}

struct at_json at_case_config(struct at_case *c, const char *name, const char *folder)
{
    const char *path = at_case_path(c, name, at_arena_strf(c->arena, "%s/config.json", folder));
    at_case_must(c, c->config_count < (int)(sizeof(c->configs) / sizeof(c->configs[0])), "too many configs");
    struct at_json_doc *doc = at_json_load(&c->log, path);
    at_case_must(c, doc != NULL, path);
    c->configs[c->config_count++] = doc;
    return at_json_root(doc);
}

float *at_case_floats(struct at_case *c, int64_t n)
{
    float *values = at_arena_alloc(c->arena, (size_t)n * sizeof(*values));
    at_case_must(c, values != NULL, "no memory");
    return values;
}

bool at_case_has(const struct at_case *c, const char *name)
{
    return at_safetensors_find(c->io, name) != NULL;
}

// The values as they lie in the file; a scalar has one dimension of one.
static struct at_tensor read_plain(struct at_case *c, const char *name)
{
    const struct at_st_tensor *t = at_safetensors_find(c->io, name);
    at_case_must(c, t && t->rank <= AT_RANK && t->elements, name);
    struct at_tensor out = {at_case_floats(c, (int64_t)t->elements), AT_SHAPE(1)};
    if (t->rank)
        out.shape.rank = t->rank;
    for (int i = 0; i < t->rank; i++)
        out.shape.dim[i] = (int64_t)t->shape[i];
    at_case_must(c, at_safetensors_to_f32(c->io, t, out.values), name);
    return out;
}

struct at_tensor at_case_tensor(struct at_case *c, const char *name)
{
    struct at_tensor t = read_plain(c, name);
    if (t.shape.rank != 4)
        return t;
    int64_t n = t.shape.dim[0], channels = t.shape.dim[1], pixels = t.shape.dim[2] * t.shape.dim[3];
    float *values = at_case_floats(c, at_shape_count(t.shape));
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < channels; k++)
            for (int64_t p = 0; p < pixels; p++)
                values[(i * pixels + p) * channels + k] = t.values[(i * channels + k) * pixels + p];
    return (struct at_tensor){values, AT_SHAPE(n, t.shape.dim[2], t.shape.dim[3], channels)};
}

const int32_t *at_case_ints(struct at_case *c, const char *name, int *count)
{
    const struct at_st_tensor *t = at_safetensors_find(c->io, name);
    at_case_must(c, t && t->dtype == AT_ST_I32, name);
    int32_t *values = at_arena_alloc(c->arena, (size_t)t->bytes);
    at_case_must(c, values != NULL, "no memory");
    memcpy(values, t->data, (size_t)t->bytes);
    *count = (int)t->elements;
    return values;
}

void at_case_load(struct at_case *c, struct at_params *params, const struct at_case_weights *w)
{
    const char *dir = at_case_path(c, w->of, w->folder ? w->folder : "");
    struct at_safetensors *file = at_weights_open(&c->log, dir, w->base, NULL);
    if (file && !w->trainable)
        at_params_choose_types(params, w->weights, file, w->prefix ? w->prefix : "");
    at_case_must(c, file && at_params_allocate(params, c->dev, w->trainable), dir);
    at_case_must(c, at_params_load(params, file, w->prefix ? w->prefix : "", w->ignored), dir);
    at_safetensors_destroy(&file);
}

// Relative error of n values, printed; infinite if one is not a number.
static bool judge(struct at_case *c, const char *name, const float *got, const float *want, int64_t n, double limit)
{
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        difference = d <= difference ? difference : isnan(d) ? (double)INFINITY : d;
        largest = fmax(largest, fabs((double)want[i]));
    }
    double error = difference == 0 ? 0 : difference / largest;
    printf("%s %s: error %.1e of %.3g (limit %.0e)%s\n", c->name, name, error, largest, limit,
           error <= limit ? "" : "  FAIL");
    return error <= limit;
}

bool at_case_close_to(struct at_case *c, const char *expected, const float *got, double limit)
{
    struct at_tensor want = at_case_tensor(c, expected);
    return judge(c, expected, got, want.values, at_shape_count(want.shape), limit);
}

bool at_case_close_to_doubles(struct at_case *c, const char *expected, const double *got, double limit)
{
    struct at_tensor want = at_case_tensor(c, expected);
    int64_t n = at_shape_count(want.shape);
    float *values = at_case_floats(c, n);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)got[i];
    return judge(c, expected, values, want.values, n, limit);
}

static bool all_close(struct at_case *c, const struct at_params *params, bool gradients, const char *prefix,
                      double limit)
{
    bool ok = true;
    size_t skip = strlen(prefix);
    for (size_t i = 0; i < at_safetensors_count(c->io); i++) {
        const char *name = at_safetensors_at(c->io, i)->name;
        if (strncmp(name, prefix, skip) != 0)
            continue;
        const struct at_param *p = at_params_find(params, name + skip);
        struct at_tensor want = read_plain(c, name);
        int64_t n = at_shape_count(want.shape);
        at_case_must(c, p && at_shape_count(p->shape) == n, name);
        float *memory = at_case_floats(c, n), *file = at_case_floats(c, n);
        at_case_must(c, gradients ? at_param_read_gradient(params, p, 0, memory) : at_param_read(params, p, memory),
                     name);
        at_param_to_file(p, memory, file);
        ok = judge(c, name, file, want.values, n, limit) && ok;
    }
    return ok;
}

bool at_case_params_close(struct at_case *c, const struct at_params *params, const char *prefix, double limit)
{
    return all_close(c, params, false, prefix, limit);
}

bool at_case_gradients_close(struct at_case *c, const struct at_params *params, const char *prefix, double limit)
{
    return all_close(c, params, true, prefix, limit);
}

struct at_exec *at_case_exec(struct at_case *c, struct at_graph *g)
{
    at_case_must(c, at_graph_ok(g), "the graph is not sound");
    struct at_exec *exec = at_exec_create(c->dev, g);
    at_case_must(c, exec != NULL, "the plan cannot be made");
    return exec;
}
