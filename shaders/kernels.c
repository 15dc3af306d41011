// SPDX-License-Identifier: Apache-2.0
#include "shaders/kernels.h"

#include <string.h>

#include "shaders/kernel_list.h"

#define AT_KERNEL(id) {#id, spv_##id, sizeof(spv_##id)},
static const struct at_kernel kernels[] = {AT_KERNELS};

const struct at_kernel *at_kernel_at(size_t i)
{
    return i < sizeof(kernels) / sizeof(kernels[0]) ? &kernels[i] : NULL;
}

const struct at_kernel *at_kernel_find(const char *name)
{
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    return NULL;
}
