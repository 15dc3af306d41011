// SPDX-License-Identifier: Apache-2.0
// The cache of what a model encoded, and the driver's pipelines: whatever such a file holds, it serves or is made anew.
#include "core/cpu/cpu.h"
#include "core/vulkan/vk.h"
#include "pipelines/train/cache.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

#define FLOATS 4

static struct at_cache *cache;
static char *row_file, *pipeline_file; // their names

static bool compute(void *priv, const void *in, int n, float *out)
{
    (void)priv, (void)in;
    for (int i = 0; i < n * FLOATS; i++)
        out[i] = 7;
    return true;
}

static void read_row(float out[FLOATS])
{
    struct at_cache_rows rows = {.in = "key", .bytes = 3, .n = 1, .out = out, .floats = FLOATS, .compute = compute};
    if (!at_cache_rows(cache, &rows))
        abort();
}

static void set_up(void)
{
    float row[FLOATS];
    char **names, zeros[33] = {0};
    size_t count;
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, NULL);
    struct at_params *weights = at_params_create(NULL);
    char *rows = at_path_join(fuzz_folder(), "rows");
    if (!rows || !dev || !weights || !at_params_allocate(weights, dev, 0) ||
        !(cache = at_cache_open(&weights, 1, "moments", rows)))
        abort();
    read_row(row); // tells the file's name
    if (!at_dir_list(NULL, rows, &names, &count) || count != 1 || !(row_file = at_path_join("rows", names[0])))
        abort();
    at_names_free(&names, count);
    memset(zeros, '0', sizeof(zeros) - 1);
    if (!(pipeline_file = at_strf("attune/pipelines-%s-%08x.bin", zeros, 0)) ||
        setenv("XDG_CACHE_HOME", fuzz_folder(), 1) != 0)
        abort();
    at_free(rows);
    at_params_destroy(&weights);
    at_device_close(&dev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct at_vk_device none; // of no vendor, and with no name
    float first[FLOATS], again[FLOATS];
    size_t bytes;
    if (!cache)
        set_up();
    fuzz_file(row_file, data, size);
    read_row(first);
    read_row(again);
    if (memcmp(first, again, sizeof(first)) != 0)
        abort();
    fuzz_file(pipeline_file, data, size);
    void *pipelines = at_vk_cache_load(&none, &bytes);
    if (!pipelines != !bytes || bytes > size)
        abort();
    at_free(pipelines);
    return 0;
}
