// SPDX-License-Identifier: Apache-2.0
// attune bench: speed against the device's own measured ceilings.
#include "core/cpu/cpu.h"
#include "tools/bench_command.h"

#include <string.h>

void at_bench_head(const struct at_device *dev, const struct at_ceilings *c, struct at_json into, bool quiet)
{
    bool cpu = strcmp(dev->kind, "cpu") == 0;
    at_json_put_str(into, "device", dev->name);
    at_json_put_str(into, "kind", dev->kind);
    if (cpu)
        at_json_put_str(into, "instructions", at_cpu_isa(dev));
    if (cpu)
        at_json_put_int(into, "threads", at_cpu_threads(dev));
    struct at_json ceilings = at_json_put_object(into, "ceilings");
    at_json_put_num(ceilings, "copy_gb_s", c->copy * 1e-9);
    at_json_put_num(ceilings, "fma_gflop_s", c->fma * 1e-9);
    if (c->product > 0)
        at_json_put_num(ceilings, "sgemm_gflop_s", c->product * 1e-9);
    if (quiet)
        return;
    printf("%s: %s", dev->kind, dev->name);
    if (cpu)
        printf(", %d thread%s, %s", at_cpu_threads(dev), at_cpu_threads(dev) == 1 ? "" : "s", at_cpu_isa(dev));
    printf("\nceilings: copy %.1f GB/s, multiply-add %.1f GFLOP/s", c->copy * 1e-9, c->fma * 1e-9);
    if (c->product > 0)
        printf(", OpenBLAS's product %.1f GFLOP/s", c->product * 1e-9);
    printf("\n\n");
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command *const commands[] = {&at_command_bench_ops, &at_command_bench_model, NULL};
    static const struct at_command_group group = {
        .name = "attune bench",
        .about = "Measures speed, beside what the device can do at most: a large copy, and multiply-adds in registers. "
                 "Let nothing else run meanwhile.",
        .commands = commands,
    };
    return at_group_run(cli, &group, argc, argv);
}

const struct at_command at_command_bench = {"bench", "speed against the device's own measured ceilings", run};
