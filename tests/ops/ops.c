// SPDX-License-Identifier: Apache-2.0
// One driver over the op table:
//     ops --ref DEVICE [op]     the device against the double-precision oracle
//     ops --grad [op]           the oracle's gradients against differences
//     ops --support             what each op can do
//     ops --selftest            broken ops must be found
#include "tests/ops/ops.h"

#include "core/cpu/cpu.h"
#include "tests/harness.h"
#include "tests/ops/check.h"
#include "tests/ops/device.h"

#include <stdio.h>
#include <string.h>

const struct at_op *ops_find(const char *name)
{
    for (int i = 0; i < AT_OP_COUNT; i++)
        if (strcmp(at_ops[i]->name, name) == 0)
            return at_ops[i];
    return NULL;
}

static int run_ref(const char *kind, const char *only, struct at_log *log)
{
    struct ops_target targets[OPS_TARGETS];
    int n = ops_targets_open(kind, targets, log), failed = 0, cases = 0;
    if (n <= 0)
        return n ? 1 : AT_SKIP;
    const struct at_op *op = only ? ops_find(only) : NULL;
    if (op && !op->vulkan && !op->alias && strcmp(kind, "vulkan") == 0) {
        printf("%s runs on the CPU only\n", only);
        ops_targets_close(targets, n);
        return AT_SKIP;
    }
    struct at_device *oracle = at_cpu_open(&(struct at_cpu_params){.oracle = true, .threads = 1}, log);
    for (int i = 0; oracle && i < AT_OP_COUNT; i++) {
        op = at_ops[i];
        for (int k = 0; k < op->case_count && (!only || strcmp(only, op->name) == 0); k++) {
            char text[OPS_NAME], why[256];
            ops_case_text(op, &op->cases[k], (uint64_t)k + 1, text);
            for (int t = 0; t < n; t++) {
                double worst;
                bool ok = ops_check_ref(targets[t].dev, targets[t].serial, oracle, op, &op->cases[k], (uint64_t)k + 1,
                                        &worst, why, sizeof(why));
                printf("%s %s: %s: error %.2g%s%s\n", ok ? "ok  " : "FAIL", targets[t].name, text, worst,
                       ok ? "" : ": ", why);
                failed += !ok;
                cases++;
            }
        }
    }
    for (int t = 0; t < n; t++)
        if (ops_target_faulty(&targets[t])) {
            printf("FAIL %s: the validation layer found errors\n", targets[t].name);
            failed++;
        }
    at_device_close(&oracle);
    ops_targets_close(targets, n);
    printf("%d of %d failed\n", failed, cases);
    return failed > 0 || cases == 0;
}

static bool grad_case(struct at_device *oracle, const struct at_op *op, const struct at_op_case *c, uint64_t seed)
{
    char text[OPS_NAME], why[256];
    ops_case_text(op, c, seed, text);
    if (!op->backward) {
        bool ok = ops_check_refusal(op, c);
        printf("%s %s: %s\n", ok ? "ok  " : "FAIL", text,
               ok ? "has no gradient, and says so" : "must be refused, by name");
        return ok;
    }
    if (!ops_case_differentiable(op, c)) {
        printf("ok   %s: forward only\n", text);
        return true;
    }
    double worst;
    bool ok = ops_check_grad(oracle, op, c, seed, NULL, &worst, why, sizeof(why));
    printf("%s %s: error %.2g%s%s\n", ok ? "ok  " : "FAIL", text, worst, ok ? "" : ": ", ok ? "" : why);
    return ok;
}

static int run_grad(const char *only, struct at_log *log)
{
    struct at_device *oracle = at_cpu_open(&(struct at_cpu_params){.oracle = true, .threads = 1}, log);
    int failed = 0, cases = 0;
    for (int i = 0; oracle && i < AT_OP_COUNT; i++)
        for (int k = 0; k < at_ops[i]->case_count && (!only || strcmp(only, at_ops[i]->name) == 0); k++, cases++)
            failed += !grad_case(oracle, at_ops[i], &at_ops[i]->cases[k], (uint64_t)k + 1);
    at_device_close(&oracle);
    printf("%d of %d failed\n", failed, cases);
    return failed > 0 || cases == 0;
}

static int run_support(void)
{
    printf("%-20s %5s %8s %4s %6s\n", "op", "cases", "gradient", "cpu", "vulkan");
    for (int i = 0; i < AT_OP_COUNT; i++) {
        const struct at_op *op = at_ops[i];
        printf("%-20s %5d %8s %4s %6s\n", op->name, op->case_count, op->backward ? "yes" : "-", "yes",
               op->vulkan || op->alias ? "yes" : "-");
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct at_log log = {.level = AT_LEVEL_WARN};
    const char *mode = argc > 1 ? argv[1] : "", *a = argc > 2 ? argv[2] : NULL, *b = argc > 3 ? argv[3] : NULL;
    if (strcmp(mode, "--ref") == 0 && a)
        return run_ref(a, b, &log);
    if (strcmp(mode, "--grad") == 0)
        return run_grad(a, &log);
    if (strcmp(mode, "--support") == 0)
        return run_support();
    if (strcmp(mode, "--selftest") == 0)
        return ops_selftest(&log);
    fprintf(stderr, "usage: ops --ref DEVICE [op] | --grad [op] | --support | --selftest\n");
    return 2;
}
