// SPDX-License-Identifier: Apache-2.0
// What Mesa's RADV driver makes of the product kernels, for a GPU that need not be there:
//
//     RADV_FORCE_FAMILY=navi21 VK_ICD_FILENAMES=.../radeon_icd.x86_64.json radv_table [-s | -c] [part of a line]
//
// One line for each pipeline that core/ops/product.c can ask for, but for activations: registers, spills, shared
// memory, subgroups that fit on a SIMD, instructions, and, of the loop with the fused multiply-adds, how many of its
// vector instructions are such. -s prints that loop as well. -c is a test: it fails on a spill, and on a large tile of
// wide operands whose loop has less than 0.8; 77: no device. Any driver with VK_KHR_pipeline_executable_properties will
// do; statistics it lacks are shown as "-".
#include "core/ops/product_tile.h"
#include "shaders/kernels.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <volk.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

// Flags of lib/product.glsl: 1 A wide, 2 B wide, 4 y wide, 8 A along k, 16 B along k, 32 taps backwards, 64 k even, 128,
// 256, 512 A, y and the residual of halves, which go by fours.
#define WIDE_A 1u
#define WIDE_B 2u
#define WIDE_Y 4u
#define EVEN 64u
#define HALVES 896u

// How an op reads its operands, whatever their sizes.
struct layout {
    const char *kernel, *what;
    uint32_t flags;
};

static const struct layout layouts[] = {
    {"matmul_f32", "x w^T", 24},   {"matmul_f32", "dy w", 8},     {"matmul_f32", "dy^T x", 0},
    {"matmul_f32", "x^T w^T", 16}, {"conv2d_f32", "forward", 24}, {"conv2d_f32", "dx", 40},
    {"conv2d_dw_f32", "dw", 0},
    {"matmul_wf16", "x w^T", 24},  {"matmul_wf16", "dy w", 8},     {"conv2d_wf16", "forward", 24},
    {"conv2d_wf16", "dx", 40},
    {"matmul_wbf16", "x w^T", 24}, {"matmul_wbf16", "dy w", 8},    {"conv2d_wbf16", "forward", 24},
    {"conv2d_wbf16", "dx", 40},
    {"matmul_f32", "halves: x w^T", 24 | HALVES}, {"conv2d_f32", "halves: forward", 24 | HALVES},
    {"matmul_wf16", "halves: x w^T", 24 | HALVES}, {"conv2d_wf16", "halves: forward", 24 | HALVES},
    {"matmul_wf16", "halves: x w", 8 | HALVES},    {"conv2d_dw_wf16", "dw", 0},
};
// What product.c takes where none of its tiles fits.
static const struct at_product_tile lean = {.bm = 64, .bn = 32, .tm = 8, .tn = 4};

struct variant {
    const struct layout *layout;
    const struct at_product_tile *tile;
    uint32_t flags; // the layout's, and those of the sizes
};

struct bench {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkPipelineLayout layout;
    bool show, check;
    int bad; // pipelines that failed the check
};

static int fail(const char *what)
{
    fprintf(stderr, "radv_table: %s\n", what);
    return 1;
}

static bool has_extension(VkPhysicalDevice physical, const char *name)
{
    VkExtensionProperties list[512];
    uint32_t count = ARRAY(list);
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &count, list) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return true;
    return false;
}

static int open_device(struct bench *b)
{
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    const char *extension = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    uint32_t one = 1;
    if (volkInitialize() || vkCreateInstance(&instance, NULL, &b->instance))
        return fail("no Vulkan");
    volkLoadInstance(b->instance);
    if (vkEnumeratePhysicalDevices(b->instance, &one, &b->physical) < 0 || !one)
        return fail("no device; is RADV_FORCE_FAMILY set?");
    if (!has_extension(b->physical, extension))
        return fail("the driver has no VK_KHR_pipeline_executable_properties");
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(b->physical, &properties);
    printf("%s\n", properties.deviceName);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    VkPhysicalDeviceVulkan12Features v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &executable,
                                            .bufferDeviceAddress = VK_TRUE};
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo device = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                 .pNext = &v12,
                                 .queueCreateInfoCount = 1,
                                 .pQueueCreateInfos = &queue,
                                 .enabledExtensionCount = 1,
                                 .ppEnabledExtensionNames = &extension};
    if (vkCreateDevice(b->physical, &device, NULL, &b->device))
        return fail("the device cannot be opened");
    volkLoadDevice(b->device);
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = 128};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    return vkCreatePipelineLayout(b->device, &layout, NULL, &b->layout) ? fail("no pipeline layout") : 0;
}

static VkPipeline create(struct bench *b, const struct at_kernel *kernel, const uint32_t *constants, uint32_t count)
{
    VkSpecializationMapEntry entries[8];
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo specialization = {count, entries, 4 * count, constants};
    VkShaderModuleCreateInfo code = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = kernel->bytes, .pCode = kernel->words};
    VkShaderModule module = VK_NULL_HANDLE;
    if (vkCreateShaderModule(b->device, &code, NULL, &module))
        return VK_NULL_HANDLE;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags =
            VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR | VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = b->layout,
    };
    VkPipeline pipeline = VK_NULL_HANDLE;
    if (vkCreateComputePipelines(b->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline))
        pipeline = VK_NULL_HANDLE;
    vkDestroyShaderModule(b->device, module, NULL);
    return pipeline;
}

// Prints them; returns the number of spilled registers.
static uint64_t print_statistics(struct bench *b, const VkPipelineExecutableInfoKHR *which)
{
    static const char *const names[] = {
        "VGPRs",        "Spilled VGPRs",     "Spilled SGPRs", "LDS size", "Subgroups per SIMD",
        "Instructions", "Inverse Throughput"};
    static const int widths[] = {5, 6, 6, 6, 5, 6, 8};
    VkPipelineExecutableStatisticKHR list[64];
    memset(list, 0, sizeof(list));
    for (size_t i = 0; i < ARRAY(list); i++)
        list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    uint32_t count = ARRAY(list);
    if (vkGetPipelineExecutableStatisticsKHR(b->device, which, &count, list) < 0)
        count = 0;
    uint64_t spilled = 0;
    for (size_t n = 0; n < ARRAY(names); n++) {
        uint32_t i = 0;
        while (i < count && strcmp(list[i].name, names[n]) != 0)
            i++;
        if (i < count && strncmp(names[n], "Spilled", 7) == 0)
            spilled += list[i].value.u64;
        if (i < count)
            printf(" %*llu", widths[n], (unsigned long long)list[i].value.u64);
        else
            printf(" %*s", widths[n], "-");
    }
    return spilled;
}

// Counts a line of a basic block's assembly. A dual instruction counts as two.
static void count_line(const char *line, size_t length, int *fma, int *vector)
{
    for (const char *at = line; at && at < line + length;) {
        while (*at == ' ' || *at == '\t')
            at++;
        if (strncmp(at, "v_", 2) == 0 && strncmp(at, "v_nop", 5) != 0) {
            ++*vector;
            *fma += strncmp(at, "v_fma", 5) == 0 || strncmp(at, "v_dual_fma", 10) == 0;
        }
        at = memchr(at, ':', (size_t)(line + length - at)); // "::" joins the halves of a dual instruction
        at = at && at[1] == ':' ? at + 2 : NULL;
    }
}

struct range {
    const char *begin, *end;
    int fma, vector;
};

static void count(struct range *r)
{
    r->fma = r->vector = 0;
    for (const char *line = r->begin; line < r->end;) {
        const char *end = memchr(line, '\n', (size_t)(r->end - line));
        end = end ? end : r->end;
        count_line(line, (size_t)(end - line), &r->fma, &r->vector);
        line = end + 1;
    }
}

// The smallest range from a label "BB7:" to a jump back to it that has more than half of all FMAs.
static struct range find_loop(const char *text)
{
    struct range all = {text, text + strlen(text), 0, 0}, best = {text, text, 0, 0};
    count(&all);
    for (const char *jump = text; (jump = strstr(jump, "branch")); jump++) {
        const char *name = strstr(jump, "BB"), *end = strchr(jump, '\n');
        if (!end || !name || name > end)
            continue;
        char label[16] = "\n";
        snprintf(label + 1, sizeof(label) - 1, "BB%ld:", strtol(name + 2, NULL, 10));
        const char *begin = strstr(text, label);
        struct range r = {begin, end, 0, 0};
        if (!begin || begin > jump || (best.fma && end - begin >= best.end - best.begin))
            continue;
        count(&r);
        if (2 * r.fma > all.fma)
            best = r;
    }
    return best;
}

// Returns the part of the loop's vector instructions that are FMAs; 1 if no loop is found.
static double print_loop(const char *text, bool show)
{
    struct range r = find_loop(text);
    if (r.fma)
        printf(" %6d %5d %5.2f\n", r.fma, r.vector, (double)r.fma / r.vector);
    else
        printf(" %6s %5s %5s\n", "-", "-", "-");
    if (show)
        printf("%.*s\n", (int)(r.end - r.begin), r.begin);
    return r.fma ? (double)r.fma / r.vector : 1;
}

static double print_assembly(struct bench *b, const VkPipelineExecutableInfoKHR *which)
{
    VkPipelineExecutableInternalRepresentationKHR list[16];
    memset(list, 0, sizeof(list));
    for (size_t i = 0; i < ARRAY(list); i++)
        list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
    uint32_t count = ARRAY(list);
    if (vkGetPipelineExecutableInternalRepresentationsKHR(b->device, which, &count, list) < 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++)
        list[i].pData = list[i].isText ? calloc(1, list[i].dataSize + 1) : NULL;
    if (count && vkGetPipelineExecutableInternalRepresentationsKHR(b->device, which, &count, list) < 0)
        count = 0;
    const char *text = "";
    for (uint32_t i = 0; i < count; i++)
        if (strstr(list[i].name, "ssembly") && list[i].pData)
            text = list[i].pData;
    double ratio = print_loop(text, b->show);
    for (uint32_t i = 0; i < count; i++)
        free(list[i].pData);
    return ratio;
}

static void name_of(const struct variant *v, char *name, size_t size)
{
    snprintf(name, size, "%-13s %-7s %s%s%s%-5s %3ux%-3u %ux%u", v->layout->kernel, v->layout->what,
             v->flags & WIDE_A ? "A" : "-", v->flags & WIDE_B ? "B" : "-", v->flags & WIDE_Y ? "y" : "-",
             v->flags & EVEN ? " even" : "", v->tile->bm, v->tile->bn, v->tile->tm, v->tile->tn);
}

static int report(struct bench *b, const struct variant *v, const char *name)
{
    const struct at_product_tile *t = v->tile;
    const struct at_kernel *kernel = at_kernel_find(v->layout->kernel);
    uint32_t constants[] = {at_product_tile_threads(t), t->bm, t->bn, t->tm | t->tn << 8, t->bk, v->flags, 0};
    VkPipeline pipeline = kernel ? create(b, kernel, constants, ARRAY(constants)) : VK_NULL_HANDLE;
    if (!pipeline)
        return fail(name);
    VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    printf("%s", name);
    bool large = t->bm >= 64 && t->bn >= 64 && (v->flags & WIDE_A) && (v->flags & WIDE_B);
    uint64_t spilled = print_statistics(b, &which);
    double ratio = print_assembly(b, &which);
    b->bad += spilled > 0 || (large && ratio < 0.8);
    vkDestroyPipeline(b->device, pipeline, NULL);
    return 0;
}

// All variants of a layout and a tile whose names have `only` in them; a check takes the best and the worst sizes.
static int report_sizes(struct bench *b, const struct layout *layout, const struct at_product_tile *tile,
                        const char *only)
{
    static const uint32_t sizes[] = {WIDE_A | WIDE_B, WIDE_A, WIDE_B, 0};
    int bad = 0;
    for (uint32_t i = 0; i < 16 && !bad; i++) {
        uint32_t size = sizes[i / 4] | (i & 1 ? 0 : WIDE_Y) | (i & 2 ? 0 : EVEN);
        struct variant v = {layout, tile, layout->flags | size};
        char name[96];
        name_of(&v, name, sizeof(name));
        bool fours = (size & WIDE_A) && (size & WIDE_Y);
        if (((layout->flags & HALVES) == 0 || fours) && at_product_tile_takes(tile, size & WIDE_A, size & WIDE_B) && (tile->bk || size == EVEN) &&
            !(b->check && (i % 4 == 1 || i % 4 == 2)) && strstr(name, only))
            bad = report(b, &v, name);
    }
    return bad;
}

// RADV aborts on a family that it does not know.
static void unknown_family(int number)
{
    (void)number;
    _Exit(77);
}

int main(int argc, char **argv)
{
    struct bench b = {.show = argc > 1 && strcmp(argv[1], "-s") == 0, .check = argc > 1 && strcmp(argv[1], "-c") == 0};
    signal(SIGABRT, b.check ? unknown_family : SIG_DFL);
    int options = b.show || b.check, bad = open_device(&b);
    signal(SIGABRT, SIG_DFL);
    const char *only = argc > 1 + options ? argv[1 + options] : "";
    if (bad && b.check)
        return 77;
    if (!bad)
        printf("%-13s %-16s %-11s %5s %6s %6s %6s %5s %6s %8s %6s %5s %5s\n", "kernel", "operands", "tile", "VGPRs",
               "spillV", "spillS", "LDS", "waves", "instr", "inv.thr.", "FMAs", "VALU", "ratio");
    for (size_t i = 0; !bad && i < ARRAY(layouts); i++) {
        for (size_t t = 0; !bad && t < AT_PRODUCT_TILES; t++)
            bad = report_sizes(&b, &layouts[i], &at_product_tiles[t], only);
        if (!bad)
            bad = report_sizes(&b, &layouts[i], &lean, only);
    }
    if (b.device) {
        vkDestroyPipelineLayout(b.device, b.layout, NULL);
        vkDestroyDevice(b.device, NULL);
    }
    if (b.instance)
        vkDestroyInstance(b.instance, NULL);
    if (b.check && b.bad)
        printf("%d pipelines spill, or have too few FMAs in their loop\n", b.bad);
    return bad || (b.check && b.bad);
}
