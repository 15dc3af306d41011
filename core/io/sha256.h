// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4): content hashes for cache keys and provenance, by nettle.
#ifndef CORE_IO_SHA256_H
#define CORE_IO_SHA256_H

#include "core/base/log.h"

#include <nettle/sha2.h>
#include <stdint.h>

struct at_sha256 {
    struct sha256_ctx state;
};

void at_sha256_init(struct at_sha256 *hash);
void at_sha256_add(struct at_sha256 *hash, const void *data, size_t size);
void at_sha256_finish(struct at_sha256 *hash, uint8_t digest[32]);
// 64 lower-case digits and a NUL.
void at_sha256_hex(const uint8_t digest[32], char text[65]);
// Of one block of memory.
void at_sha256_text(const void *data, size_t size, char text[65]);
// Of a file's content.
AT_NODISCARD bool at_sha256_file(struct at_log *log, const char *path, char text[65]);

#endif
