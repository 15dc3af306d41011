// SPDX-License-Identifier: Apache-2.0
// A run that goes on from its checkpoint: state.json, metrics.jsonl, run.json, state.safetensors, divided by the byte
// 0x1e. What is trained is one vector.
#include "core/cpu/cpu.h"
#include "pipelines/eval/curves.h"
#include "pipelines/train/train.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

#include <math.h>

#define STEP 2
#define WEIGHTS 64 // what offsets are aligned to

static struct at_device *dev;
static struct at_params *weights;
static struct at_json_doc *config;

static void set_up(void)
{
    static const char settings[] = "{\"lr\": 0.001, \"model\": \"m\", \"tags\": [1, {}], \"flip\": true}";
    config = at_json_parse(NULL, "config", settings, strlen(settings), NULL);
    dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, NULL);
    weights = at_params_create(NULL);
    if (!config || !dev || !weights ||
        !at_params_declare(weights, "w", AT_SHAPE(WEIGHTS), AT_LAYOUT_PLAIN, (struct at_init){0}) ||
        !at_params_allocate(weights, dev, 1))
        abort();
}

static bool save(void *priv, const char *dir, float *const *values)
{
    (void)priv, (void)dir;
    for (int i = 0; i < WEIGHTS; i++)
        if (!isfinite(values[0][i]))
            abort(); // accepted, and no number
    return true;
}

static void go_on(const char *run)
{
    struct at_log log = {.write = at_log_drop};
    struct at_train_method method = {.name = "dpo", .rate = "rate", .sets = {weights}, .set_names = {"lora"},
                                     .set_count = 1, .save = save};
    struct at_train_params p = {.run = run, .steps = STEP, .batch = 1, .lr = 1e-3, .resume = true,
                                .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .ema = 0.9},
                                .config = at_json_root(config)};
    if (at_train(&method, &p, &log) != (log.error == AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
}

static void draw_curves(const char *run)
{
    struct at_log log = {.write = at_log_drop};
    struct at_curves curves;
    struct at_curve smooth;
    if (at_curves_read(&log, run, &curves) != (log.error == AT_ERROR_NONE))
        abort();
    for (size_t i = 0; i < curves.count; i++)
        if (at_curve_smooth(NULL, &curves.list[i], 3, &smooth))
            at_curve_finish(&smooth);
    at_curves_finish(&curves);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"checkpoint-000002/state.json", "metrics.jsonl", "run.json",
                                        "checkpoint-000002/state.safetensors"};
    if (!dev)
        set_up();
    fuzz_files(data, size, names, 4);
    draw_curves(fuzz_folder());
    go_on(fuzz_folder());
    draw_curves(fuzz_folder()); // without the lines after the checkpoint
    return 0;
}
