// SPDX-License-Identifier: Apache-2.0
// The CPU device and the oracle.
#ifndef CORE_CPU_CPU_H
#define CORE_CPU_CPU_H

#include "core/graph/device.h"

struct at_cpu_params {
    int threads;      // 0: as many as the process may run on
    const char *isa;  // "base", "avx2", "avx512"; NULL: the best this processor has
    bool oracle;      // double precision, portable kernels
};

// NULL if an instruction set is asked for that the processor lacks.
struct at_device *at_cpu_open(const struct at_cpu_params *params, struct at_log *log);
int at_cpu_threads(const struct at_device *dev);
const char *at_cpu_isa(const struct at_device *dev);
// Multiply-adds in registers on the calling thread, for a few milliseconds; returns how many FLOPs that were.
double at_cpu_fma(const struct at_device *dev);
// After each operator of a run, one thread calls `report` with the seconds it took; runs at the same time do so at the
// same time. NULL: no more.
typedef void at_cpu_report(void *priv, const struct at_node *node, double seconds);
void at_cpu_profile(struct at_device *dev, at_cpu_report *report, void *priv);
// The memory of a buffer: float or, in the oracle, double. For tests that must set doubles.
void *at_cpu_memory(struct at_buffer *buffer);

#endif
