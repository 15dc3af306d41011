// SPDX-License-Identifier: Apache-2.0
// Sampling with SDXL's two text encoders in less and less memory: first one picture at once, then without the weights of
// text encoders and autoencoder where they rest, then without any that rest, then prompt and negative prompt one after the
// other. The pictures stay what they are.
#include "core/vulkan/executor.h"
#include "pipelines/sample/invert.h"
#include "tests/pipeline/pipes.h"

#include <string.h>

enum { SIDE = 64, N = 2 * SIDE * SIDE * 3, TRIES = 24 };

static struct capture capture;
static struct at_device *dev;
static float whole[N], pixels[N], again[N];

static int side;
static double cfg;

// Two pictures, in tiles, so that the autoencoder is not what needs most.
static bool draw(struct at_model *m, size_t limit, float *out)
{
    static const struct at_sample_item items[] = {{"a red kite", "blue", 1}, {"a boat", "", 2}};
    struct at_sample_params p = {.items = items, .count = 2, .steps = 2, .cfg = cfg, .width = side, .height = side,
                                 .memory_limit = limit, .vae_tile = side / 2};
    capture.text[0] = 0;
    dev->peak = dev->allocated;
    return m && at_sample(m, &p, out, NULL);
}

// In the order of what they cost.
enum way { ALL, GUESTS, EACH, APART, WAYS };

static enum way way_of(const struct at_model *m)
{
    bool guests = strstr(capture.text, "come when they work"), each = strstr(capture.text, "come when their part works");
    bool apart = strstr(capture.text, "negative prompt run one");
    unsigned parts = AT_PART_TEXT | AT_PART_VAE;
    AT_CHECK_INT(m->resting, each ? parts | AT_PART_UNET : guests ? parts : 0);
    return apart ? APART : each ? EACH : guests ? GUESTS : ALL;
}

static struct at_model *open_model(void)
{
    capture_start(&capture);
    capture.log.level = AT_LEVEL_INFO;
    return at_model_open(dev, &(struct at_model_params){.path = pipes_path("xl")}, &capture.log);
}

// `ways`: which of them must occur, bit by bit.
static void less_and_less(unsigned ways)
{
    struct at_model *m = open_model();
    AT_CHECK(draw(m, 0, whole));
    size_t peak = dev->peak, least[WAYS] = {0};
    double most[WAYS] = {0};
    enum way last = ALL;
    for (int i = TRIES; i > 0; i--) {
        size_t limit = peak * (size_t)i / TRIES;
        at_model_destroy(&m);
        m = open_model();
        size_t opened = dev->allocated; // all weights: more than what follows may take
        if (!draw(m, limit, pixels))
            break;
        enum way way = way_of(m);
        AT_CHECK(dev->peak <= (limit > opened ? limit : opened) && way >= last);
        least[way] = dev->peak;
        most[way] = fmax(most[way], tiny_distance(whole, pixels, N));
        // Weights that have left come back for the next call.
        if (way != last)
            AT_CHECK(draw(m, limit, again) && memcmp(pixels, again, sizeof(again)) == 0 && dev->peak <= limit);
        last = way;
    }
    for (int i = 0; i < WAYS; i++) {
        printf("side %d, way %d: down to %zu bytes of %zu, pixels differ by %.1e\n", side, i, least[i], peak, most[i]);
        AT_CHECK(!!least[i] == (ways >> i & 1));
        AT_CHECK(most[i] <= 1e-6); // other batches
    }
    AT_CHECK_INT(capture.log.error, AT_ERROR_DEVICE);
    at_model_destroy(&m);
}

static void large_pictures(void)
{
    side = SIDE;
    cfg = 3;
    less_and_less(1 << ALL | 1 << GUESTS | 1 << APART);
}

// Weights are the most: none of the denoiser's wait while texts are encoded.
static void small_pictures(void)
{
    side = SIDE / 4;
    cfg = 1;
    less_and_less(1 << ALL | 1 << GUESTS | 1 << EACH);
}

// The noise of a picture, with guidance: prompt and negative prompt in turn give the same.
static void inversion(void)
{
    static const struct at_sample_item item = {"a red kite", "blue", 1};
    static float image[SIDE * SIDE * 3];
    struct at_invert_params p = {.sample = {.items = &item, .count = 1, .steps = 2, .cfg = 3, .width = SIDE, .height = SIDE,
                                            .vae_tile = SIDE / 2}, .pixels = image};
    struct at_inverted all, some;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        image[i] = (float)(i % 97) / 97;
    struct at_model *m = open_model();
    dev->peak = dev->allocated;
    AT_CHECK(m && at_invert(m, &p, &all));
    size_t peak = dev->peak;
    bool apart = false;
    for (int i = TRIES; i > 0 && !apart; i--) {
        p.sample.memory_limit = peak * (size_t)i / TRIES;
        at_model_destroy(&m);
        m = open_model();
        dev->peak = dev->allocated;
        if (!AT_CHECK(m && at_invert(m, &p, &some)))
            break;
        AT_CHECK(dev->peak <= p.sample.memory_limit);
        apart = strstr(capture.text, "negative prompt run one");
        double d = tiny_distance(all.noise, some.noise, (size_t)some.h * (size_t)some.w * (size_t)some.channels);
        AT_CHECK(d <= 1e-6);
        if (apart)
            printf("inversion in %zu of %zu bytes: the noise differs by %.1e\n", dev->peak, peak, d);
        at_inverted_finish(&some);
    }
    AT_CHECK(apart);
    at_inverted_finish(&all);
    at_model_destroy(&m);
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    capture_start(&capture);
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, &capture.log) : tiny_device(&capture.log, 2);
    if (!dev)
        return AT_SKIP;
    AT_RUN(large_pictures);
    AT_RUN(small_pictures);
    AT_RUN(inversion);
    at_device_close(&dev);
    return at_test_end();
}
