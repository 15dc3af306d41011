// SPDX-License-Identifier: Apache-2.0
// A device that computes nothing: it counts what another one would allocate and work. A job that runs on it takes the
// way it takes otherwise, so that a forecast of its memory is the sum of the same allocations.
//
//     struct at_device *dry = at_dry_open(dev, log);
//     ... run the job on it: what is written is dropped, what is read is 0 ...
//     dry->peak, dry->peak_used[AT_USE_WEIGHTS], at_dry_flops(dry)
#ifndef CORE_GRAPH_DRY_H
#define CORE_GRAPH_DRY_H

#include "core/graph/device.h"

// `like` lends its limits and its scratch sizes, and must outlive the dry device.
struct at_device *at_dry_open(const struct at_device *like, struct at_log *log);
bool at_is_dry(const struct at_device *dev); // false for NULL
// From now on what is allocated here counts as the host's memory too (at_alloc_peak), where a real device would take it
// from there: of the CPU all, of others what is offloaded.
void at_dry_count_host(struct at_device *dev);
// Floating-point operations of all runs so far, by what the operators declare.
double at_dry_flops(const struct at_device *dev);

#endif
