// SPDX-License-Identifier: Apache-2.0
#include "core/io/sha256.h"

#include "core/io/file.h"

#include <string.h>

// Fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

// Round i of eight; `word` is the message's and the round's constant. Instead of moving a .. h on by one, their names
// move: a is s[-i mod 8].
static inline void take_round(uint32_t s[8], int i, uint32_t word)
{
    uint32_t a = s[-i & 7], b = s[(1 - i) & 7], c = s[(2 - i) & 7];
    uint32_t e = s[(4 - i) & 7], f = s[(5 - i) & 7], g = s[(6 - i) & 7];
    uint32_t mix = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25), choose = (e & f) ^ (~e & g);
    uint32_t one = s[(7 - i) & 7] + mix + choose + word;
    uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    s[(3 - i) & 7] += one;
    s[(7 - i) & 7] = one + two;
}

static void take_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] =
            w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof(s));
    for (int i = 0; i < 64; i += 8) // by eight, so that s stays in registers
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            take_round(s, k, round_constant[i + k] + w[i + k]);
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

void at_sha256_init(struct at_sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(hash, 0, sizeof(*hash));
    memcpy(hash->state, start, sizeof(start));
}

void at_sha256_add(struct at_sha256 *hash, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        size_t at = hash->bytes % 64, n = 64 - at < size ? 64 - at : size;
        if (n == 64) {
            take_block(hash->state, p);
        } else {
            memcpy(hash->block + at, p, n);
            if (at + n == 64)
                take_block(hash->state, hash->block);
        }
        hash->bytes += n;
        p += n;
        size -= n;
    }
}

void at_sha256_finish(struct at_sha256 *hash, uint8_t digest[32])
{
    uint64_t bits = hash->bytes * 8;
    uint8_t tail[72] = {0x80};
    size_t pad = 64 - (hash->bytes + 8) % 64; // 1 .. 64, so that the whole is a multiple of 64
    for (int i = 0; i < 8; i++)
        tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    at_sha256_add(hash, tail, pad + 8);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
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
