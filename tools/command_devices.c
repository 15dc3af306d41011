// SPDX-License-Identifier: Apache-2.0
// attune devices: what the machine has, what it lacks, and how fast it is.
#include "core/base/alloc.h"
#include "core/cpu/cpu.h"
#include "core/vulkan/device.h"
#include "pipelines/bench/ceilings.h"
#include "tools/cli.h"
#include "tools/device.h"

#include <inttypes.h>

struct job {
    struct at_cli *cli;
    bool measure, json;
    struct at_json_doc *doc;
};

static void print_number(bool show, const char *what, double value, const char *unit)
{
    if (show)
        printf("    %-22s %.4g %s\n", what, value, unit);
}

// Measured speed, as JSON and, unless that is wanted, as text.
static bool measure(const struct job *j, const char *select, struct at_json into)
{
    struct at_ceilings c;
    struct at_device *dev = at_device_choose(&(struct at_device_choice){.device = select}, &j->cli->log);
    bool ok = dev && at_ceilings_measure(dev, &c);
    if (ok) {
        at_json_put_num(into, "copy_gb_s", c.copy * 1e-9);
        at_json_put_num(into, "fma_gflop_s", c.fma * 1e-9);
        if (c.product > 0)
            at_json_put_num(into, "sgemm_gflop_s", c.product * 1e-9);
        print_number(!j->json, "copy", c.copy * 1e-9, "GB/s, read plus write");
        print_number(!j->json && c.product > 0, "matrix product", c.product * 1e-9, "GFLOP/s, f32, by OpenBLAS");
        print_number(!j->json, "fused multiply-add", c.fma * 1e-9, "GFLOP/s, f32, in registers");
    }
    at_device_close(&dev);
    return ok;
}

static bool list_cpu(const struct job *j, struct at_json list)
{
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){0}, &j->cli->log);
    if (!dev)
        return false;
    struct at_json out = at_json_put_object(list, NULL);
    at_json_put_str(out, "select", "cpu");
    at_json_put_str(out, "name", dev->name);
    at_json_put_str(out, "instructions", at_cpu_isa(dev));
    at_json_put_int(out, "threads", at_cpu_threads(dev));
    if (!j->json)
        printf("cpu         %s\n    %d threads, %s\n", dev->name, at_cpu_threads(dev), at_cpu_isa(dev));
    at_device_close(&dev);
    return !j->measure || measure(j, "cpu", out);
}

static void print_vulkan(const struct at_vk_info *v, const char *select)
{
    printf("%-11s %s\n    %s, %s %s, Vulkan %u.%u\n", select, v->name, at_vk_kind_name(v->kind), v->driver,
           v->driver_info, v->api_version >> 22, (v->api_version >> 12) & 0x3ff);
    printf("    memory %" PRIu64 " MiB, largest buffer %" PRIu64 " MiB, shared %u KiB\n", v->memory >> 20,
           v->max_buffer >> 20, v->shared_memory >> 10);
    printf("    workgroup %u, subgroup %u%s\n", v->max_workgroup, v->subgroup,
           v->coop_matrix ? ", cooperative matrices" : "");
    if (v->missing[0])
        printf("    cannot be used: it lacks %s\n", v->missing);
}

static bool list_vulkan(const struct job *j, const struct at_vk_info *v, size_t index, struct at_json list)
{
    struct at_json out = at_json_put_object(list, NULL);
    char select[32];
    snprintf(select, sizeof(select), "vulkan:%zu", index);
    at_json_put_str(out, "select", select);
    at_json_put_str(out, "name", v->name);
    at_json_put_str(out, "kind", at_vk_kind_name(v->kind));
    at_json_put_str(out, "driver", v->driver);
    at_json_put_str(out, "driver_info", v->driver_info);
    at_json_put_str(out, "missing", v->missing);
    at_json_put_bool(out, "usable", !v->missing[0]);
    at_json_put_int(out, "memory", (int64_t)v->memory);
    at_json_put_int(out, "max_buffer", (int64_t)v->max_buffer);
    at_json_put_int(out, "max_workgroup", v->max_workgroup);
    at_json_put_int(out, "shared_memory", v->shared_memory);
    at_json_put_int(out, "subgroup", v->subgroup);
    at_json_put_bool(out, "coop_matrix", v->coop_matrix);
    if (!j->json)
        print_vulkan(v, select);
    return !j->measure || v->missing[0] || measure(j, select, out);
}

static void as_news(void *priv, enum at_level level, const char *text)
{
    struct at_cli *cli = priv;
    (void)level;
    at_info(&cli->log, "%s", text);
}

static bool work(struct job *j)
{
    struct at_vk_info *infos = NULL;
    size_t count = 0;
    j->doc = at_json_create(&j->cli->log, false);
    struct at_json list = j->doc ? at_json_put_array(at_json_root(j->doc), "devices") : (struct at_json){0};
    bool ok = j->doc && list_cpu(j, list);
    struct at_log news = {.level = AT_LEVEL_ERROR, .write = as_news, .priv = j->cli};
    if (ok && at_vk_enumerate(j->json ? NULL : &news, &infos, &count)) // no Vulkan is news, not a failure
        for (size_t i = 0; ok && i < count; i++)
            ok = list_vulkan(j, &infos[i], i, list);
    at_free(infos);
    return ok && (!j->json || at_cli_print_json(j->cli, j->doc));
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune devices",
        .summary = "what can compute here",
        .synopsis = "[--measure] [--json]",
        .about = "The word in front is what --device takes. --device auto takes a hardware GPU if there is one, else "
                 "the CPU; software drivers such as lavapipe are for tests.",
        .example = "  attune devices --measure\n",
    };
    struct job j = {.cli = cli};
    const struct at_option rows[] = {
        {"measure", 0, AT_OPTION_FLAG, &j.measure, NULL, "measure the speed of each, a second or two", .here = true},
        {"json", 0, AT_OPTION_FLAG, &j.json, NULL, "print it as JSON", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    at_json_destroy(&j.doc);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_devices = {"devices", "what can compute here, with limits and speed", run};
