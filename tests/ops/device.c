// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/device.h"

#include "core/base/alloc.h"
#include "core/cpu/cpu.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool processor_has(const char *isa)
{
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (strcmp(isa, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#endif
    return strcmp(isa, "base") == 0;
}

static int open_cpus(struct ops_target targets[OPS_TARGETS], struct at_log *log)
{
    static const char *const isas[] = {"base", "avx2", "avx512"};
    int n = 0;
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
        if (!processor_has(isas[i]))
            continue;
        struct ops_target *t = &targets[n++];
        snprintf(t->name, sizeof(t->name), "cpu %s x2", isas[i]);
        t->dev = at_cpu_open(&(struct at_cpu_params){.threads = 2, .isa = isas[i]}, log);
        t->serial = at_cpu_open(&(struct at_cpu_params){.threads = 1, .isa = isas[i]}, log);
        if (!t->dev || !t->serial) {
            ops_targets_close(targets, n);
            return -1;
        }
    }
    return n;
}

// The best Vulkan device, or the one that ATTUNE_TEST_DEVICE selects.
static int open_vulkan(struct ops_target targets[OPS_TARGETS], struct at_log *log)
{
    struct at_vk_info *infos;
    size_t count;
    if (!at_vk_enumerate(log, &infos, &count))
        return 0;
    at_free(infos);
    struct ops_target *t = &targets[0];
    t->dev = at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, log);
    if (!t->dev)
        return -1;
    snprintf(t->name, sizeof(t->name), "vulkan");
    return 1;
}

int ops_targets_open(const char *kind, struct ops_target targets[OPS_TARGETS], struct at_log *log)
{
    memset(targets, 0, OPS_TARGETS * sizeof(*targets));
    if (strcmp(kind, "cpu") == 0)
        return open_cpus(targets, log);
    if (strcmp(kind, "vulkan") == 0)
        return open_vulkan(targets, log);
    at_fail(log, AT_ERROR_USAGE, "the op tests know no device '%s' (of: cpu, vulkan)", kind);
    return -1;
}

bool ops_target_faulty(const struct ops_target *target)
{
    return strcmp(target->dev->kind, "vulkan") == 0 && at_vk_validation_errors(at_vulkan_device(target->dev), NULL) > 0;
}

void ops_targets_close(struct ops_target targets[OPS_TARGETS], int n)
{
    for (int i = 0; i < n; i++) {
        at_device_close(&targets[i].dev);
        at_device_close(&targets[i].serial);
    }
}
