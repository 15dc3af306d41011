// SPDX-License-Identifier: Apache-2.0
// Names of one kind of trouble, for one message: as many as fit.
//
//     struct at_listing missing = {0};
//     at_listing_add(&missing, "conv_in.weight");
//     ok = at_listing_report(&missing, log, AT_ERROR_INPUT, "weights: %d tensors are missing", missing.count);
#ifndef CORE_BASE_LISTING_H
#define CORE_BASE_LISTING_H

#include "core/base/log.h"

struct at_listing {
    char text[1600];
    size_t used;
    int count;
};

void at_listing_add(struct at_listing *listing, const char *name);
// The same with what is wrong with it, right after the name.
AT_PRINTF(3, 4) void at_listing_tell(struct at_listing *listing, const char *name, const char *detail, ...);
// True if nothing is listed; else the message, ":" and the names, as an error.
AT_PRINTF(4, 5) bool at_listing_report(const struct at_listing *listing, struct at_log *log, enum at_error kind,
                                       const char *fmt, ...);
// The same as a warning.
AT_PRINTF(3, 4) void at_listing_warn(const struct at_listing *listing, struct at_log *log, const char *fmt, ...);

#endif
