// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/fixed_point.h"

#include "core/base/alloc.h"

#include <math.h>
#include <string.h>

bool at_fixed_point_init(struct at_fixed_point *f, size_t count, double tolerance, struct at_log *log)
{
    *f = (struct at_fixed_point){.count = count, .tolerance = tolerance};
    f->target = at_calloc(count, sizeof(float));
    f->best = at_calloc(count, sizeof(float));
    f->gap = at_calloc(2 * count, sizeof(float));
    return (f->target && f->best && f->gap) || at_fail_memory(log, count * sizeof(float));
}

void at_fixed_point_finish(struct at_fixed_point *f)
{
    at_free(f->target);
    at_free(f->best);
    at_free(f->gap);
    *f = (struct at_fixed_point){0};
}

void at_fixed_point_begin(struct at_fixed_point *f, const float *target)
{
    memcpy(f->target, target, f->count * sizeof(float));
    f->weight = 1;
    f->rounds = 0;
    f->first = f->least = INFINITY;
}

bool at_fixed_point_update(struct at_fixed_point *f, const struct at_ddim *step, float *x, const float *y)
{
    float *gap = f->gap + f->count;
    double residual = at_ddim_gap(step, x, y, f->target, gap, f->count);
    if (f->rounds++ == 0)
        f->first = residual;
    if (residual < f->least) {
        f->least = residual;
        memcpy(f->best, x, f->count * sizeof(float));
        memcpy(f->gap, gap, f->count * sizeof(float));
    } else {
        f->weight /= 2;
    }
    if (!isfinite(f->least) || f->least <= f->tolerance) {
        if (isfinite(f->least))
            memcpy(x, f->best, f->count * sizeof(float));
        return false;
    }
    for (size_t i = 0; i < f->count; i++)
        x[i] = (float)(f->best[i] + f->weight * f->gap[i]);
    return true;
}
