// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/tiles.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "tests/harness.h"
#include "tests/unit/capture.h"

static struct capture capture;

struct counted {
    int runs, tiles, largest;
};

// Every pixel doubled in height and width, plus one.
static bool grow(void *priv, const float *in, int n, int height, int width, float *out)
{
    struct counted *k = priv;
    k->runs++;
    k->tiles += n;
    k->largest = height > k->largest ? height : k->largest;
    k->largest = width > k->largest ? width : k->largest;
    for (int i = 0; i < n; i++)
        for (int y = 0; y < 2 * height; y++)
            for (int x = 0; x < 2 * width; x++)
                for (int c = 0; c < 3; c++)
                    out[((i * 2 * height + y) * 2 * width + x) * 3 + c] =
                        in[((i * height + y / 2) * width + x / 2) * 3 + c] + 1;
    return true;
}

// A map that looks at nothing but its own pixel gives in tiles what it gives at once, whatever the sizes.
static void a_pixelwise_map_does_not_notice(void)
{
    static float in[2 * 40 * 40 * 3], whole[8 * 40 * 40 * 3], tiled[8 * 40 * 40 * 3];
    at_rng_normal(in, sizeof(in) / sizeof(*in), 1, AT_STREAM_MAKE, 0);
    for (int height = 1; height <= 40; height += 3)
        for (int width = 1; width <= 40; width += 2) {
            struct counted k = {0}, none = {0};
            struct at_tiling t = {height, width, 3, 3, 8, 2, 2, 1};
            AT_CHECK(grow(&none, in, 2, height, width, whole));
            AT_CHECK(at_tiles_run(&t, in, 2, tiled, grow, &k, capture_start(&capture)));
            double worst = 0;
            for (int i = 0; i < 8 * height * width * 3; i++)
                worst = fmax(worst, fabs((double)tiled[i] - (double)whole[i]));
            if (!AT_CHECK(worst < 1e-6))
                printf("%dx%d: %g\n", width, height, worst);
            AT_CHECK_INT(k.tiles, 2 * ((height + 5) / 6) * ((width + 5) / 6));
            AT_CHECK(k.runs <= 9 && k.largest <= 8);
        }
}

// The mean of what it sees: tiles disagree, and fade into each other.
static bool level(void *priv, const float *in, int n, int height, int width, float *out)
{
    (void)priv;
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < height * width; k++)
            sum += in[i * height * width + k];
        for (int k = 0; k < height * width; k++)
            out[i * height * width + k] = sum / (float)(height * width);
    }
    return true;
}

static void tiles_fade(void)
{
    float in[14], out[14];
    for (int i = 0; i < 14; i++)
        in[i] = i < 6 ? 0 : 8;
    struct at_tiling t = {1, 14, 1, 1, 8, 2, 1, 1}; // means 2 (6 zeros, 2 eights), 8, 8
    AT_CHECK(at_tiles_run(&t, in, 1, out, level, NULL, capture_start(&capture)));
    const float want[14] = {2, 2, 2, 2, 2, 2, 2, 5, 8, 8, 8, 8, 8, 8};
    for (int i = 0; i < 14; i++)
        AT_CHECK_NEAR(out[i], want[i], 1e-6);
}

static bool refuse(void *priv, const float *in, int n, int height, int width, float *out)
{
    (void)priv, (void)in, (void)n, (void)height, (void)width, (void)out;
    return false;
}

static void failures_pass_through(void)
{
    float in[14] = {0}, out[14];
    struct at_tiling t = {1, 14, 1, 1, 8, 2, 1, 1};
    AT_CHECK(!at_tiles_run(&t, in, 1, out, refuse, NULL, capture_start(&capture)));
}

static bool once(void)
{
    float in[14 * 14] = {0}, out[14 * 14];
    struct at_tiling t = {14, 14, 1, 1, 8, 2, 1, 1};
    return at_tiles_run(&t, in, 1, out, level, NULL, capture_start(&capture));
}

static void no_memory(void)
{
    fail_each_allocation(once);
}

static void sides(void)
{
    struct at_vae_config sd = {.blocks = 4, .sample_size = 512}, sdxl = {.blocks = 4, .sample_size = 1024};
    struct at_vae_config micro = {.blocks = 3, .sample_size = 64};
    const int of_sd[] = {0, 768, 512, 256, 128, 128}, of_sdxl[] = {0, 2048, 1024, 512, 256, 128};
    const int of_micro[] = {0, 144, 128, 64, 64, 64};
    for (int i = 0; i < AT_TILE_LEVELS; i++) {
        AT_CHECK_INT(at_tile_side(&sd, 768, 512, AT_TILE_AUTO, i), of_sd[i]);
        AT_CHECK_INT(at_tile_side(&sdxl, 1024, 2048, AT_TILE_AUTO, i), of_sdxl[i]);
        AT_CHECK_INT(at_tile_side(&micro, 132, 40, AT_TILE_AUTO, i), of_micro[i]);
        AT_CHECK_INT(at_tile_side(&micro, 64, 64, AT_TILE_AUTO, i), i ? 64 : 0);
        AT_CHECK_INT(at_tile_side(&sd, 512, 512, AT_TILE_OFF, i), 0);
        AT_CHECK_INT(at_tile_side(&sd, 512, 512, 96, i), 96);
    }
    AT_CHECK(at_tile_check(&sd, 96, capture_start(&capture)) && at_tile_check(&sd, AT_TILE_OFF, &capture.log));
    AT_CHECK(!at_tile_check(&sd, 100, &capture.log));
    AT_CHECK_INT(capture.log.error, AT_ERROR_USAGE);
    AT_CHECK(strstr(capture.text, "multiple of 32") != NULL);
}

int main(void)
{
    AT_RUN(a_pixelwise_map_does_not_notice);
    AT_RUN(tiles_fade);
    AT_RUN(failures_pass_through);
    AT_RUN(no_memory);
    AT_RUN(sides);
    return at_test_end();
}
