// SPDX-License-Identifier: Apache-2.0
// The compute kernels inside the program: SPIR-V of every kernel and storage type that shaders/meson.build lists.
#ifndef SHADERS_KERNELS_H
#define SHADERS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

struct at_kernel {
    const char *name; // kernel_dtype, e.g. "copy_f32"
    const uint32_t *words;
    size_t bytes;
};

// NULL if there is none of that name.
const struct at_kernel *at_kernel_find(const char *name);
// The i-th kernel, or NULL past the last.
const struct at_kernel *at_kernel_at(size_t i);

#endif
