// SPDX-License-Identifier: Apache-2.0
#include "core/io/sha256.h"

#include "core/io/file.h"

void at_sha256_init(struct at_sha256 *hash)
{
    sha256_init(&hash->state);
}

void at_sha256_add(struct at_sha256 *hash, const void *data, size_t size)
{
    sha256_update(&hash->state, size, data);
}

void at_sha256_finish(struct at_sha256 *hash, uint8_t digest[32])
{
    sha256_digest(&hash->state, SHA256_DIGEST_SIZE, digest);
}

void at_sha256_hex(const uint8_t digest[32], char text[65])
{
    for (int i = 0; i < 64; i++)
        text[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    text[64] = '\0';
}

void at_sha256_text(const void *data, size_t size, char text[65])
{
    struct at_sha256 hash;
    uint8_t digest[32];
    at_sha256_init(&hash);
    at_sha256_add(&hash, data, size);
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, text);
}

bool at_sha256_file(struct at_log *log, const char *path, char text[65])
{
    struct at_map map;
    if (!at_file_map(log, path, &map))
        return false;
    at_sha256_text(map.data, map.size, text);
    at_file_unmap(&map);
    return true;
}
