// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/measure.h"

#include "core/base/clock.h"
#include "core/vulkan/command.h"
#include "core/vulkan/memory.h"
#include "core/vulkan/timer.h"

struct copy_push {
    uint64_t src, dst;
    uint32_t n, pad;
};

struct fma_push {
    uint64_t dst;
    uint32_t n, rounds;
    float a, b;
};

_Static_assert(sizeof(struct copy_push) == 24, "as in copy.comp");
_Static_assert(sizeof(struct fma_push) == 24, "as in fma_peak.comp");

// Seconds of one run of a dispatch, by the device's clock where it has one.
static bool time_once(struct at_vk_device *dev, const struct at_vk_dispatch_params *dispatch, double *seconds)
{
    struct at_vk_timer *timer = NULL;
    if (at_vk_device_info(dev)->timestamp_bits && !(timer = at_vk_timer_create(dev, 2)))
        return false;
    struct at_vk_commands *commands = at_vk_commands_begin(dev, NULL);
    bool ok = commands && (!timer || at_vk_timestamp(commands, timer, 0)) && at_vk_dispatch(commands, dispatch) &&
              (!timer || at_vk_timestamp(commands, timer, 1)) && at_vk_commands_end(commands);
    double start = at_clock();
    ok = ok && at_vk_run(commands);
    *seconds = at_clock() - start;
    ok = ok && (!timer || at_vk_timer_read(timer, 0, 1, seconds));
    at_vk_commands_destroy(&commands);
    at_vk_timer_destroy(&timer);
    return ok;
}

static bool best_of(struct at_vk_device *dev, const struct at_vk_dispatch_params *dispatch, int runs, double *seconds)
{
    double best = 0;
    for (int i = 0; i < runs; i++) {
        double t;
        if (!time_once(dev, dispatch, &t))
            return false;
        if (i == 0 || t < best)
            best = t;
    }
    *seconds = best > 1e-9 ? best : 1e-9;
    return true;
}

static bool measure_copy(struct at_vk_device *dev, double *bytes_per_second)
{
    const struct at_vk_info *info = at_vk_device_info(dev);
    uint64_t size = info->kind == AT_VK_KIND_CPU ? (uint64_t)32 << 20 : (uint64_t)256 << 20;
    uint64_t room = (info->memory - at_vk_memory_usage(dev).device) / 4;
    size = size < info->max_buffer ? size : info->max_buffer;
    size = (size < room ? size : room) & ~(uint64_t)15;
    struct at_vk_buffer *a = NULL, *b = NULL;
    bool ok = (a = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = size, .name = "a measured copy"})) &&
              (b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = size, .name = "a measured copy"}));
    if (ok) {
        struct copy_push push = {at_vk_buffer_address(a), at_vk_buffer_address(b), (uint32_t)(size / 4), 0};
        uint32_t constants[2] = {at_vk_workgroup(dev, 256), 1};
        struct at_vk_dispatch_params dispatch = {.kernel = "copy_f32",
                                                 .constants = constants,
                                                 .constant_count = 2,
                                                 .push = &push,
                                                 .push_size = sizeof(push)};
        at_vk_grid(dev, size / 16 / constants[0] + 1, dispatch.groups);
        double seconds;
        ok = best_of(dev, &dispatch, 5, &seconds);
        *bytes_per_second = ok ? 2 * (double)size / seconds : 0;
    }
    at_vk_buffer_destroy(&a);
    at_vk_buffer_destroy(&b);
    return ok;
}

static bool measure_fma(struct at_vk_device *dev, double *flops)
{
    bool cpu = at_vk_device_info(dev)->kind == AT_VK_KIND_CPU;
    uint32_t constants[1] = {at_vk_workgroup(dev, 256)};
    uint32_t n = cpu ? 4096 : 1u << 20; // invocations: enough to fill the largest device many times
    struct at_vk_buffer *out =
        at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 4 * (uint64_t)n, .name = "a measured FMA"});
    if (!out)
        return false;
    struct fma_push push = {.dst = at_vk_buffer_address(out), .n = n, .rounds = 256, .a = 0.5f, .b = 0.5f};
    struct at_vk_dispatch_params dispatch = {.kernel = "fma_peak_f32",
                                             .constants = constants,
                                             .constant_count = 1,
                                             .push = &push,
                                             .push_size = sizeof(push)};
    at_vk_grid(dev, n / constants[0] + 1, dispatch.groups);
    // Lengthen the loop until it takes long enough to be measured, and not so long that a watchdog wakes.
    double seconds = 0;
    bool ok = best_of(dev, &dispatch, 2, &seconds);
    while (ok && seconds < 0.02 && push.rounds < 1u << 20) {
        push.rounds *= seconds < 0.005 ? 4 : 2;
        ok = best_of(dev, &dispatch, 1, &seconds);
    }
    ok = ok && best_of(dev, &dispatch, 4, &seconds);
    *flops = ok ? 32.0 * n * push.rounds / seconds : 0;
    at_vk_buffer_destroy(&out);
    return ok;
}

bool at_vk_measure(struct at_vk_device *dev, struct at_vk_ceilings *ceilings)
{
    *ceilings = (struct at_vk_ceilings){0};
    return measure_copy(dev, &ceilings->copy) && measure_fma(dev, &ceilings->fma);
}
