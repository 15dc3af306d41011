// SPDX-License-Identifier: Apache-2.0
// How far two adapters are apart, layer by layer, by what they add to a weight: alpha / rank * up down.
#ifndef PIPELINES_LORA_LORA_DIFF_H
#define PIPELINES_LORA_LORA_DIFF_H

#include "pipelines/lora/lora_data.h"

// Frobenius norms, from products of rank x rank matrices: <U V, W X> = <U^T W, V X^T>, so that no weight is formed.
struct at_lora_distance {
    double a, b;       // of what each adds
    double difference; // of the difference; good to about 1e-8 of the larger one
    double relative;   // to the larger one; 0 if both are 0
};

// Two layers of the same in, out and kernel.
AT_NODISCARD bool at_lora_layer_distance(const struct at_lora_data *a, const struct at_lora_layer *la,
                                         const struct at_lora_data *b, const struct at_lora_layer *lb,
                                         struct at_lora_distance *out);

#endif
