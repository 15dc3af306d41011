// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/half.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "tests/harness.h"

#include <stdint.h>
#include <string.h>

// Known answers of Philox4x32-10 (Random123's kat_vectors).
static void philox_known_answers(void)
{
    uint32_t r[4];
    at_philox(0, 0, 0, r);
    AT_CHECK_INT(r[0], 0x6627e8d5);
    AT_CHECK_INT(r[1], 0xe169c58d);
    AT_CHECK_INT(r[2], 0xbc57ac4c);
    AT_CHECK_INT(r[3], 0x9b00dbd8);
    at_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, r);
    AT_CHECK_INT(r[0], 0x408f276d);
    AT_CHECK_INT(r[1], 0x41c83b0e);
    AT_CHECK_INT(r[2], 0xa20bc7c6);
    AT_CHECK_INT(r[3], 0x6d5451fd);
}

static void normals_have_moments_and_do_not_depend_on_length(void)
{
    static float x[100000], y[11];
    at_rng_normal(x, 100000, 7, AT_STREAM_NOISE, 3);
    at_rng_normal(y, 11, 7, AT_STREAM_NOISE, 3);
    double mean = 0, var = 0;
    for (int i = 0; i < 100000; i++) {
        mean += x[i] / 100000.0;
        var += (double)x[i] * x[i] / 100000.0;
    }
    AT_CHECK_NEAR(mean, 0, 0.016); // 5 standard errors
    AT_CHECK_NEAR(var, 1, 0.023);
    AT_CHECK(memcmp(x, y, sizeof(y)) == 0);
}

static void shuffle_is_a_permutation(void)
{
    uint32_t p[97], seen[97] = {0}, moved = 0;
    at_rng_shuffle(p, 97, 1, AT_STREAM_DATA, 0);
    for (uint32_t i = 0; i < 97; i++) {
        seen[p[i]]++;
        moved += p[i] != i;
    }
    for (int i = 0; i < 97; i++)
        AT_CHECK_INT(seen[i], 1);
    AT_CHECK(moved > 80);
}

static void every_half_survives_the_round_trip(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7c00) != 0x7c00 || !(h & 0x3ff))
            AT_CHECK_INT(at_f16_from_f32(at_f32_from_f16((uint16_t)h)), h);
        if ((h & 0x7f80) != 0x7f80 || !(h & 0x7f))
            AT_CHECK_INT(at_bf16_from_f32(at_f32_from_bf16((uint16_t)h)), h);
    }
    AT_CHECK(isnan(at_f32_from_f16(at_f16_from_f32(NAN))));
    AT_CHECK_INT(at_f16_from_f32(65519.0f), 0x7bff);
    AT_CHECK_INT(at_f16_from_f32(65520.0f), 0x7c00);
    AT_CHECK_INT(at_f16_from_f32(0x1p-25f), 0); // ties to even
    AT_CHECK_INT(at_f16_from_f32(0x1.8p-25f), 1);
    AT_CHECK_INT(at_f16_from_f32(1.0f + 0x1p-11f), 0x3c00);
    AT_CHECK_INT(at_f16_from_f32(1.0f + 0x1.8p-10f), 0x3c02);
    // A hair above a tie of halves: to the nearest float it is the tie, which goes to the even half below.
    AT_CHECK_INT(at_f16_from_f32((float)(1 + 0x1p-11 + 0x1p-40)), 0x3c00);
    AT_CHECK_INT(at_f16_from_f32(at_f32_odd_from_f64(1 + 0x1p-11 + 0x1p-40)), 0x3c01);
    AT_CHECK_INT(at_f16_from_f32(at_f32_odd_from_f64(-(1 + 0x1.8p-10 - 0x1p-40))), 0xbc01);
    AT_CHECK_INT(at_bf16_from_f32(at_f32_odd_from_f64(1 + 0x1p-8 + 0x1p-40)), 0x3f81);
    AT_CHECK(at_f32_odd_from_f64(-0.5) == -0.5f && at_f32_odd_from_f64(0) == 0 && isnan(at_f32_odd_from_f64(NAN)));
    AT_CHECK_INT(at_f16_from_f32(at_f32_odd_from_f64(0x1p-25 + 0x1p-60)), 1);
    AT_CHECK(isinf(at_f32_odd_from_f64(INFINITY)));
}

static void allocation_faults_happen_once_or_for_ever(void)
{
    at_alloc_fail_at(2, false);
    void *a = at_calloc(1, 8), *b = at_calloc(1, 8), *c = at_calloc(1, 8);
    AT_CHECK(a && !b && c && at_alloc_failed());
    at_alloc_fail_at(1, true);
    AT_CHECK(!at_calloc(1, 8) && !at_strdup("x"));
    at_alloc_fail_at(0, false);
    AT_CHECK(!at_calloc(SIZE_MAX, 2) && !at_calloc_aligned(SIZE_MAX, 2) && !at_realloc(NULL, SIZE_MAX, 2));
    at_free(a);
    at_free(c);
}

static void arena_memory_is_zeroed_and_aligned(void)
{
    struct at_arena *arena = at_arena_create();
    for (size_t n = 1; n < 100000; n = n * 3 + 1) {
        unsigned char *p = at_arena_alloc(arena, n);
        AT_CHECK(p && (uintptr_t)p % 16 == 0 && p[0] == 0 && p[n - 1] == 0);
        memset(p, 255, n);
    }
    AT_CHECK_STR(at_arena_strf(arena, "%d-%s", 7, "x"), "7-x");
    at_arena_destroy(&arena);
    AT_CHECK(!arena);
    at_arena_destroy(&arena);
}

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)level;
    snprintf(priv, 64, "%s", text);
}

static void the_first_failure_names_the_kind(void)
{
    char text[64] = "";
    struct at_log log = {.write = quiet, .priv = text};
    AT_CHECK(!at_fail(&log, AT_ERROR_INPUT, "line %d", 3));
    AT_CHECK(!at_fail(&log, AT_ERROR_DEVICE, "later"));
    AT_CHECK_INT(log.error, AT_ERROR_INPUT);
    AT_CHECK_STR(text, "later");
    AT_CHECK(!at_fail(NULL, AT_ERROR_INPUT, "silent"));
}

int main(void)
{
    AT_RUN(philox_known_answers);
    AT_RUN(normals_have_moments_and_do_not_depend_on_length);
    AT_RUN(shuffle_is_a_permutation);
    AT_RUN(every_half_survives_the_round_trip);
    AT_RUN(allocation_faults_happen_once_or_for_ever);
    AT_RUN(arena_memory_is_zeroed_and_aligned);
    AT_RUN(the_first_failure_names_the_kind);
    return at_test_end();
}
