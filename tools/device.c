// SPDX-License-Identifier: Apache-2.0
#include "tools/device.h"

#include "core/base/alloc.h"
#include "core/base/suggest.h"
#include "core/cpu/cpu.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/memory.h"

#include <string.h>
#include <sys/resource.h>

void at_device_options(struct at_options *options, struct at_device_choice *choice)
{
    const struct at_option rows[] = {
        {"device", 0, AT_OPTION_TEXT, &choice->device, "NAME",
         "auto, cpu, vulkan, vulkan:N or vulkan:NAME (attune devices lists them)",
         .zero = "auto: a GPU if there is one, else the CPU"},
        {"threads", 0, AT_OPTION_INT, &choice->threads, "N", "threads of the CPU device", .zero = "one a core",
         .min = 0, .max = 1024},
        {"weights", 0, AT_OPTION_TEXT, &choice->weights, "TYPE",
         "f32, f16, bf16 or auto: what matrices that are not trained are kept as; sums are f32 (attune plan: "
         "any but auto needs no weight files)",
         .zero = "auto: as the files have them"},
        {"activations", 0, AT_OPTION_TEXT, &choice->activations, "TYPE",
         "f32 or f16: how a GPU keeps a model's values between its layers; f16 takes half the memory, and is exact to "
         "about three digits", .zero = "f32"},
        {"offload", 0, AT_OPTION_FLAG, &choice->offload, NULL,
         "keep frozen weights in the host's memory and copy each to the GPU when it is used: for models larger than "
         "its memory (slower)"},
        {"guard", 0, AT_OPTION_FLAG, &choice->guard, NULL,
         "look at every value, and stop at the first layer that makes one that is not finite, by name (slower)"},
        {0},
    };
    at_options_add(options, rows);
}

static bool check_activations(const struct at_device_choice *choice, struct at_log *log)
{
    const char *type = choice->activations;
    return !type || strcmp(type, "f16") == 0 || strcmp(type, "f32") == 0 ||
           at_fail(log, AT_ERROR_USAGE, "--activations: \"%s\" is neither f32 nor f16", type);
}

static struct at_device *open_cpu(const struct at_device_choice *choice, struct at_log *log)
{
    return at_cpu_open(&(struct at_cpu_params){.threads = choice->threads}, log);
}

static bool hardware(const struct at_vk_info *info)
{
    return !info->missing[0] && (info->kind == AT_VK_KIND_INTEGRATED || info->kind == AT_VK_KIND_DISCRETE ||
                                 info->kind == AT_VK_KIND_VIRTUAL);
}

// Whether there is a GPU that can do the work. A machine without Vulkan is no failure here.
static bool any_hardware(void)
{
    struct at_vk_info *infos = NULL;
    size_t count = 0;
    bool found = false;
    if (at_vk_enumerate(NULL, &infos, &count))
        for (size_t i = 0; i < count; i++)
            found = found || hardware(&infos[i]);
    at_free(infos);
    return found;
}

static struct at_device *open_auto(const struct at_device_choice *choice, struct at_log *log)
{
    if (any_hardware()) {
        struct at_device *dev = at_vulkan_open(&(struct at_vulkan_params){.select = "auto"}, log);
        if (dev)
            return dev;
        at_warn(log, "the GPU does not open, so the CPU is used; --device cpu chooses it without this message");
        if (log)
            log->error = AT_ERROR_NONE;
    }
    return open_cpu(choice, log);
}

static struct at_device *open_named(const struct at_device_choice *choice, struct at_log *log)
{
    const char *name = choice->device ? choice->device : "auto";
    if (strcmp(name, "auto") == 0)
        return open_auto(choice, log);
    if (strcmp(name, "cpu") == 0)
        return open_cpu(choice, log);
    if (strcmp(name, "vulkan") == 0)
        return at_vulkan_open(&(struct at_vulkan_params){0}, log);
    if (strncmp(name, "vulkan:", 7) == 0 && name[7])
        return at_vulkan_open(&(struct at_vulkan_params){.select = name + 7}, log);
    static const char *const names[] = {"auto", "cpu", "vulkan"};
    const char *near = at_suggest(name, names, 3);
    at_fail(log, AT_ERROR_USAGE, "--device: \"%s\" is none of auto, cpu, vulkan, vulkan:N, vulkan:NAME%s%s%s", name,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return NULL;
}

static bool choose_weights(const char *name, enum at_weights *weights, struct at_log *log)
{
    static const char *const names[] = {"auto", "f32", "f16", "bf16"};
    for (int i = 0; i < 4; i++)
        if (!name || strcmp(name, names[i]) == 0) {
            *weights = (enum at_weights)i;
            return true;
        }
    const char *near = at_suggest(name, names, 4);
    return at_fail(log, AT_ERROR_USAGE, "--weights: \"%s\" is none of auto, f32, f16, bf16%s%s%s", name,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

struct at_device *at_device_choose(const struct at_device_choice *choice, struct at_log *log)
{
    enum at_weights weights = AT_WEIGHTS_STORED;
    if (!choose_weights(choice->weights, &weights, log) || !check_activations(choice, log))
        return NULL;
    struct at_device *dev = open_named(choice, log);
    if (!dev)
        return NULL;
    bool gpu = strcmp(dev->kind, "vulkan") == 0, halves = choice->activations && strcmp(choice->activations, "f16") == 0;
    dev->activations = halves && gpu ? AT_F16 : AT_F32;
    if (halves && !gpu)
        at_warn(log, "--activations f16 does nothing here: the CPU computes in f32");
    dev->guard = choice->guard;
    dev->weights = weights;
    dev->offload = choice->offload && dev->own_memory;
    if (choice->offload && !dev->offload)
        at_warn(log, "--offload does nothing here: the CPU computes in the host's memory");
    return dev;
}

void at_device_put_memory(struct at_json object, const struct at_device *dev)
{
    struct at_json memory = at_json_put_object(object, "memory");
    struct rusage usage = {0};
    at_json_put_int(memory, "peak", (int64_t)dev->peak);
    if (strcmp(dev->kind, "vulkan") == 0)
        at_json_put_int(memory, "driver", (int64_t)at_vk_memory_usage(at_vulkan_device(dev)).device_peak);
    at_json_put_int(memory, "host", (int64_t)at_alloc_peak());
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        at_json_put_int(memory, "resident", (int64_t)usage.ru_maxrss * 1024);
}
