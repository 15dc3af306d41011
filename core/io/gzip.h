// SPDX-License-Identifier: Apache-2.0
// Files packed with gzip.
#ifndef CORE_IO_GZIP_H
#define CORE_IO_GZIP_H

#include "core/base/log.h"

#include <stdint.h>

bool at_gzip_is(const void *bytes, size_t size); // by the first bytes

// Unpacks the one stream that `bytes` hold into fresh memory; a NUL that *out_size does not count follows it. `name`
// stands in messages; more than `limit` bytes are an error. The caller frees *out with at_free.
AT_NODISCARD bool at_gzip_unpack(struct at_log *log, const char *name, const void *bytes, size_t size, size_t limit,
                                 uint8_t **out, size_t *out_size);

#endif
