// SPDX-License-Identifier: Apache-2.0
// The tiny model of tests/data/tiny (tests/golden/make_tiny.py), its pairs and pictures, and short jobs with them.
#ifndef TESTS_PIPELINE_TINY_H
#define TESTS_PIPELINE_TINY_H

#include "core/cpu/cpu.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"
#include "pipelines/sample/sample.h"
#include "pipelines/train/train_methods.h"
#include "tests/unit/capture.h"

#define TINY_SIDE 32   // of the pictures
#define TINY_LATENT 16 // of the latents
#define TINY_CHANNELS 4

static inline const char *tiny_path(const char *tail)
{
    static char path[4][512];
    static int turn;
    const char *dir = getenv("AT_TEST_DATA");
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/tiny/%s", dir ? dir : "tests/data", tail);
    return path[turn];
}

static inline struct at_device *tiny_device(struct at_log *log, int threads)
{
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){.threads = threads}, log);
    if (!dev) {
        printf("the CPU device does not open\n");
        exit(1);
    }
    return dev;
}

// Closes a device under whose work the validation layer, where it is on, found nothing.
static inline void tiny_close(struct at_device **dev)
{
    if (*dev && strcmp((*dev)->kind, "vulkan") == 0)
        AT_CHECK_INT(at_vk_validation_errors(at_vulkan_device(*dev), NULL), 0);
    at_device_close(dev);
}

static inline struct at_train_params tiny_train(const char *run, int64_t steps)
{
    return (struct at_train_params){
        .run = run, .steps = steps, .batch = 2, .lr = 1e-3, .seed = 5,
        .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2, .clip = 1}};
}

// Diffusion-DPO on the tiny pairs: LoRA of rank 2, two pairs a batch, everything random that there is.
static inline struct at_train_dpo_params tiny_dpo(const char *run, int64_t steps)
{
    return (struct at_train_dpo_params){.train = tiny_train(run, steps), .model = tiny_path("model"),
                                        .pairs = tiny_path("pairs/pairs.jsonl"), .lora = {.rank = 2},
                                        .caption_dropout = 0.3, .flip = true, .sample_posterior = true};
}

// The whole file as text, freed by the caller; NULL if it does not read.
static inline char *tiny_text(const char *path, size_t *size)
{
    uint8_t *data = NULL;
    return at_file_read(NULL, path, (size_t)1 << 30, &data, size) ? (char *)data : NULL;
}

static inline bool tiny_same_files(const char *a, const char *b)
{
    size_t n[2] = {0};
    char *text[2] = {tiny_text(a, &n[0]), tiny_text(b, &n[1])};
    bool same = text[0] && text[1] && n[0] == n[1] && memcmp(text[0], text[1], n[0]) == 0;
    at_free(text[0]);
    at_free(text[1]);
    return same;
}

// The value of a metric in line `step` (from 1) of a run's metrics.jsonl; NaN if it is not there.
static inline double tiny_metric(const char *run, int step, const char *name)
{
    char path[512], key[64];
    size_t size;
    snprintf(path, sizeof(path), "%s/metrics.jsonl", run);
    snprintf(key, sizeof(key), "\"%s\":", name);
    char *text = tiny_text(path, &size), *line = text, *found = NULL;
    for (int i = 1; line && i < step; i++)
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    char *end = line ? strchr(line, '\n') : NULL;
    found = end ? strstr(line, key) : NULL;
    double value = found && found < end ? strtod(found + strlen(key), NULL) : NAN;
    at_free(text);
    return value;
}

// Blanks what two equal runs differ in: the time a step took.
static inline char *tiny_metrics(const char *run)
{
    char path[512];
    size_t size;
    snprintf(path, sizeof(path), "%s/metrics.jsonl", run);
    char *text = tiny_text(path, &size);
    for (char *at = text; at && (at = strstr(at, ",\"seconds\":"));)
        for (; *at && *at != '}'; at++)
            *at = ' ';
    return text;
}

static inline bool tiny_same_metrics(const char *a, const char *b)
{
    char *x = tiny_metrics(a), *y = tiny_metrics(b), *px = x, *py = y;
    bool same = x && y && strlen(x) > 0;
    while (same && (*px || *py)) {
        while (*px == ' ')
            px++;
        while (*py == ' ')
            py++;
        same = *px == *py;
        px += *px != 0;
        py += *py != 0;
    }
    at_free(x);
    at_free(y);
    return same;
}

// Names in a folder and below that end in .tmp.
static inline int tiny_left_over(const char *dir)
{
    char **names = NULL, path[512];
    size_t count = 0;
    int found = 0;
    if (!at_dir_exists(dir) || !at_dir_list(NULL, dir, &names, &count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(names[i]);
        if (snprintf(path, sizeof(path), "%s/%s", dir, names[i]) >= (int)sizeof(path))
            found++;
        found += (n > 4 && strcmp(names[i] + n - 4, ".tmp") == 0) + tiny_left_over(path);
    }
    at_names_free(&names, count);
    return found;
}

// Largest difference of n values; infinite where one is not a number.
static inline double tiny_distance(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = d <= worst ? worst : isnan(d) ? (double)INFINITY : d;
    }
    return worst;
}

#endif
