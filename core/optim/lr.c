// SPDX-License-Identifier: Apache-2.0
#include "core/optim/lr.h"

#include <math.h>
#include <string.h>

double at_lr_factor(const struct at_lr *lr, int64_t step)
{
    if (lr->kind == AT_LR_CONSTANT)
        return 1;
    if (step < lr->warmup)
        return (double)step / (double)lr->warmup;
    if (lr->kind == AT_LR_CONSTANT_WITH_WARMUP)
        return 1;
    double span = lr->total > lr->warmup ? (double)(lr->total - lr->warmup) : 1;
    double done = fmin((double)(step - lr->warmup) / span, 1);
    double left = lr->kind == AT_LR_LINEAR ? 1 - done : 0.5 * (1 + cos(M_PI * done));
    return lr->floor + (1 - lr->floor) * left;
}

bool at_lr_kind_parse(const char *name, enum at_lr_kind *kind, struct at_log *log)
{
    static const char *const names[] = {"constant", "constant_with_warmup", "linear", "cosine"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (enum at_lr_kind)i;
            return true;
        }
    }
    return at_fail(
        log, AT_ERROR_USAGE,
        "learning-rate schedule \"%.40s\" is unknown; choose constant, constant_with_warmup, linear or cosine", name);
}

bool at_lr_validate(const struct at_lr *lr, struct at_log *log)
{
    bool decays = lr->kind == AT_LR_LINEAR || lr->kind == AT_LR_COSINE;
    if (lr->warmup < 0)
        return at_fail(log, AT_ERROR_USAGE, "learning-rate warm-up is %lld steps; it must be 0 or more",
                       (long long)lr->warmup);
    if (!(lr->floor >= 0 && lr->floor <= 1))
        return at_fail(log, AT_ERROR_USAGE, "learning-rate floor is %g; it must be 0 to 1", lr->floor);
    if (decays && lr->total <= lr->warmup)
        return at_fail(log, AT_ERROR_USAGE, "learning rate warms up for %lld of %lld steps and would never decay; "
                       "give --warmup fewer or --steps more", (long long)lr->warmup, (long long)lr->total);
    return true;
}
