// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/device.h"

#include "core/cpu/cpu.h"

#include <stdio.h>
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

int ops_targets_open(const char *kind, struct ops_target targets[OPS_TARGETS], struct at_log *log)
{
    memset(targets, 0, OPS_TARGETS * sizeof(*targets));
    if (strcmp(kind, "cpu") == 0)
        return open_cpus(targets, log);
    at_fail(log, AT_ERROR_USAGE, "the op tests know no device '%s' (of: cpu)", kind);
    return -1;
}

void ops_targets_close(struct ops_target targets[OPS_TARGETS], int n)
{
    for (int i = 0; i < n; i++) {
        at_device_close(&targets[i].dev);
        at_device_close(&targets[i].serial);
    }
}

struct at_device *ops_device_open(const char *kind, struct at_log *log)
{
    if (strcmp(kind, "cpu") == 0)
        return at_cpu_open(&(struct at_cpu_params){0}, log);
    at_fail(log, AT_ERROR_USAGE, "the op benches know no device '%s' (of: cpu)", kind);
    return NULL;
}
