// SPDX-License-Identifier: Apache-2.0
// What a device can do at most, measured: what benches are compared with.
#ifndef PIPELINES_CEILINGS_H
#define PIPELINES_CEILINGS_H

#include "core/graph/device.h"

struct at_ceilings {
    double copy;    // bytes a second, read plus written, of a large copy
    double product; // f32 FLOPs a second of a 1024 x 1024 x 1024 product by all threads; 0: not measured
    double fma;     // f32 FLOPs a second in registers; 0: not measured
};

// About a second. CPU: copy and product; Vulkan: copy and fma.
AT_NODISCARD bool at_ceilings_measure(struct at_device *dev, struct at_ceilings *out);

#endif
