// SPDX-License-Identifier: Apache-2.0
// The autoencoder in tiles, on the embedded model: what fits that did not, and how far the pictures are from whole ones.
#include "core/graph/dry.h"
#include "tests/harness.h"
#include "tests/pipeline/tiny.h"
#include "tests/unit/capture.h"

#include "pipelines/sample/sample.h"

#include <math.h>
#include <string.h>

static struct at_log quiet = {.level = AT_LEVEL_ERROR};
static struct at_device *dev;

// Largest and mean difference of n values.
static void distance(const char *what, const float *a, const float *b, size_t n, double mean_limit)
{
    double worst = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        sum += fabs((double)a[i] - (double)b[i]);
    }
    printf("%s: at most %.3g, %.3g on average\n", what, worst, sum / (double)n);
    AT_CHECK(sum / (double)n <= mean_limit);
}

// A picture of four of the shipped ones, encoded and decoded whole and in tiles; values in -1 .. 1 of pixels.
static void tiles_are_near_the_whole(void)
{
    enum { SIDE = 128, LATENT = SIDE / 4, N = SIDE * SIDE * 3, Z = LATENT * LATENT * 4 };
    static float image[N], moments[2][2 * Z], z[Z], pixels[2][N];
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.parts = AT_PART_VAE}, &quiet);
    struct at_pictures *p = at_pictures_open(&(struct at_picture_source){.size = 64, .seed = 3}, &quiet);
    static float part[64 * 64 * 3];
    for (int k = 0; p && k < 4; k++) {
        AT_CHECK(at_pictures_draw(p, (uint64_t)(7 * k), part, NULL) != NULL);
        for (int y = 0; y < 64; y++)
            memcpy(image + ((k / 2 * 64 + y) * SIDE + k % 2 * 64) * 3, part + y * 64 * 3, sizeof(float) * 64 * 3);
    }
    for (int tiled = 0; m && tiled < 2; tiled++) {
        m->vae_tile = tiled ? 64 : 0;
        AT_CHECK(at_model_encode(m, image, 1, SIDE, SIDE, moments[tiled]));
        at_model_latent(m, moments[0], NULL, LATENT * LATENT, z);
        AT_CHECK(at_model_decode(m, z, 1, LATENT, LATENT, pixels[tiled]));
    }
    if (m) {
        distance("moments in tiles of 64", moments[0], moments[1], 2 * Z, 0.2);
        distance("pixels in tiles of 64", pixels[0], pixels[1], N, 0.06);
        distance("decoded whole, from the picture", pixels[0], image, N, 0.15);
        distance("decoded in tiles, from the picture", pixels[1], image, N, 0.15);
    }
    at_pictures_close(&p);
    at_model_destroy(&m);
}

// A picture so large that the autoencoder's activations are the most, in less and less memory: first the same picture,
// then, where weights stay, one in tiles; with tiles forbidden it is refused where they were needed. Returns the percent
// of the whole need at which it is refused; *tile: the last tiles before.
static int fall_back(bool resident, int *tile)
{
    enum { SIDE = 128, N = SIDE * SIDE * 3 };
    static const struct at_sample_item item = {"a", NULL, 1};
    static float whole[N], pixels[N];
    struct at_model *m = at_model_open(dev, &(struct at_model_params){0}, &quiet);
    struct at_sample_params p = {.items = &item, .count = 1, .steps = 1, .cfg = 1, .width = SIDE, .height = SIDE,
                                 .resident = resident};
    size_t weights = dev->peak = dev->allocated;
    AT_CHECK(m && at_sample(m, &p, whole, NULL));
    size_t need = dev->peak - weights;
    int refused = 0;
    *tile = 0;
    for (int percent = 95; m && percent > 0 && !refused; percent -= 5) {
        at_model_destroy(&m);
        m = at_model_open(dev, &(struct at_model_params){.lazy = !resident}, &quiet);
        p.memory_limit = (weights + need) * (size_t)percent / 100;
        p.vae_tile = AT_TILE_AUTO;
        dev->peak = dev->allocated;
        if (!m || !at_sample(m, &p, pixels, NULL)) {
            refused = percent;
            break;
        }
        AT_CHECK(dev->peak <= p.memory_limit);
        AT_CHECK(m->vae_tile > 0 && (*tile == 0 || m->vae_tile <= *tile));
        if (m->vae_tile >= SIDE)
            AT_CHECK_NEAR(tiny_distance(whole, pixels, N), 0, 1e-5);
        *tile = m->vae_tile;
        p.vae_tile = AT_TILE_OFF;
        quiet.error = AT_ERROR_NONE;
        if (*tile < SIDE)
            AT_CHECK(!at_sample(m, &p, pixels, NULL) && quiet.error == AT_ERROR_DEVICE);
    }
    printf("tiles of %d at last, refused at %d%% of %zu\n", *tile, refused, weights + need);
    AT_CHECK_INT(quiet.error, AT_ERROR_DEVICE);
    quiet.error = AT_ERROR_NONE;
    at_model_destroy(&m);
    return refused;
}

static void sampling_falls_back_to_tiles(void)
{
    int tile, stays = fall_back(true, &tile);
    AT_CHECK(tile > 0 && tile < 128 && stays > 0);
    int leaves = fall_back(false, &tile); // where weights leave, the denoiser alone is the most, and no tiles help
    AT_CHECK(tile > 0 && leaves > 0 && leaves < stays);
}

int main(void)
{
    quiet.write = at_log_drop;
    dev = tiny_device(&quiet, 2);
    scratch_make();
    AT_RUN(tiles_are_near_the_whole);
    AT_RUN(sampling_falls_back_to_tiles);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
