// SPDX-License-Identifier: Apache-2.0
// The devices that the op tests run on: the one place that opens them.
#ifndef TESTS_OPS_DEVICE_H
#define TESTS_OPS_DEVICE_H

#include "core/graph/device.h"

#define OPS_TARGETS 8

struct ops_target {
    char name[64]; // "cpu avx2 x2"
    struct at_device *dev;
    struct at_device *serial; // the same with one thread; NULL: results need not be compared
};

// Opens every variant of a device kind ("cpu": each instruction set of this processor, with two threads;
// "vulkan": the best one). Returns their number; 0: the device is absent; -1: failed, logged.
int ops_targets_open(const char *kind, struct ops_target targets[OPS_TARGETS], struct at_log *log);
// Whether a device broke a rule that its results do not show: an error of the Vulkan validation layer.
bool ops_target_faulty(const struct ops_target *target);
void ops_targets_close(struct ops_target targets[OPS_TARGETS], int n);

#endif
