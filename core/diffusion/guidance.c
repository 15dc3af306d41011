// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/guidance.h"

#include <math.h>

static double deviation(const float *x, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i];
    for (size_t i = 0; i < count; i++)
        squares += ((double)x[i] - sum / (double)count) * ((double)x[i] - sum / (double)count);
    return sqrt(squares);
}

void at_guide(const struct at_guidance *g, const float *negative, const float *prompt, float *y, size_t count)
{
    float scale = (float)g->scale;
    double wanted = g->rescale > 0 ? deviation(prompt, count) : 0;
    for (size_t i = 0; i < count; i++)
        y[i] = negative[i] + scale * (prompt[i] - negative[i]);
    double is = g->rescale > 0 ? deviation(y, count) : 0;
    if (is == 0)
        return;
    float factor = (float)(g->rescale * wanted / is + 1 - g->rescale);
    for (size_t i = 0; i < count; i++)
        y[i] *= factor;
}
