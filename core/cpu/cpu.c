// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/cpu.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/cpu/kernel.h"
#include "core/graph/guard.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define AT_X86 1
#else
#define AT_X86 0
#endif

// One table of kernels a build, from the op list.
#define AT_OP(name) at_host_kernel at_host_##name##_f64, at_host_##name##_f32_base;
#include "core/ops/op_list.h"
#undef AT_OP
static at_host_kernel *const kernels_f64[AT_OP_COUNT] = {
#define AT_OP(name) at_host_##name##_f64,
#include "core/ops/op_list.h"
#undef AT_OP
};
static at_host_kernel *const kernels_base[AT_OP_COUNT] = {
#define AT_OP(name) at_host_##name##_f32_base,
#include "core/ops/op_list.h"
#undef AT_OP
};
#if AT_X86
#define AT_OP(name) at_host_kernel at_host_##name##_f32_avx2, at_host_##name##_f32_avx512;
#include "core/ops/op_list.h"
#undef AT_OP
static at_host_kernel *const kernels_avx2[AT_OP_COUNT] = {
#define AT_OP(name) at_host_##name##_f32_avx2,
#include "core/ops/op_list.h"
#undef AT_OP
};
static at_host_kernel *const kernels_avx512[AT_OP_COUNT] = {
#define AT_OP(name) at_host_##name##_f32_avx512,
#include "core/ops/op_list.h"
#undef AT_OP
};
#endif

at_host_kernel at_host_fma_f64, at_host_fma_f32_base; // fma.c
#if AT_X86
at_host_kernel at_host_fma_f32_avx2, at_host_fma_f32_avx512;
#endif

struct cpu {
    struct at_device dev;
    at_host_kernel *const *kernels;
    at_host_kernel *fma;
    const char *isa;
    int threads;
    at_cpu_report *report;
    void *report_priv;
};

struct at_buffer {
    unsigned char *data;
};

struct at_run {
    struct {
        at_host_kernel *kernel;
        struct at_kernel args;
    } *steps;
    int end[AT_PHASES];
};

static struct cpu *cpu_of(struct at_device *dev)
{
    return (struct cpu *)dev;
}

static void close_device(struct at_device *dev)
{
    at_free(dev);
}

static struct at_buffer *buffer_create(struct at_device *dev, size_t bytes)
{
    struct at_buffer *b = at_calloc(1, sizeof(*b));
    if (!b || !(b->data = at_calloc_aligned(bytes, 1))) {
        at_free(b);
        at_fail_memory(dev->log, bytes);
        return NULL;
    }
    return b;
}

static void buffer_destroy(struct at_device *dev, struct at_buffer *b)
{
    (void)dev;
    at_free(b->data);
    at_free(b);
}

static bool write_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, const void *data, int64_t n,
                         enum at_dtype dtype)
{
    if (dtype != AT_F32 || dev->real_size == 4) {
        memcpy(b->data + offset, data, (size_t)n * at_dtype_size(dtype, 4));
        return true;
    }
    double *to = (double *)(void *)(b->data + offset);
    for (int64_t i = 0; i < n; i++)
        to[i] = ((const float *)data)[i];
    return true;
}

static bool read_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, void *data, int64_t n,
                        enum at_dtype dtype)
{
    if (dtype != AT_F32 || dev->real_size == 4) {
        memcpy(data, b->data + offset, (size_t)n * at_dtype_size(dtype, 4));
        return true;
    }
    const double *from = (const double *)(const void *)(b->data + offset);
    for (int64_t i = 0; i < n; i++)
        ((float *)data)[i] = (float)from[i];
    return true;
}

static size_t scratch(const void *priv, const struct at_node *node)
{
    const struct cpu *cpu = priv;
    return node->op->scratch ? node->op->scratch(node, cpu->threads) * cpu->dev.real_size : 0;
}

static void *resolve(const struct at_place *p, struct at_buffer *const *arena)
{
    return (p->store ? p->store->buffer : arena[p->chunk])->data + p->offset;
}

static struct at_run *compile(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena)
{
    struct at_run *run = at_calloc(1, sizeof(*run));
    if (run)
        run->steps = at_calloc((size_t)plan->count, sizeof(*run->steps));
    if (!run || !run->steps) {
        at_free(run);
        at_fail_memory(dev->log, (size_t)plan->count * sizeof(*run->steps));
        return NULL;
    }
    for (int s = 0; s < plan->count; s++) {
        const struct at_step *step = &plan->steps[s];
        struct at_kernel *k = &run->steps[s].args;
        run->steps[s].kernel = step->node->op->alias ? NULL : cpu_of(dev)->kernels[step->node->op->id];
        k->node = step->node;
        k->out = resolve(&plan->place[step->node->id], arena);
        k->scratch = step->scratch_bytes ? resolve(&step->scratch, arena) : NULL;
        for (int i = 0; i < AT_ARITY; i++)
            if (step->node->in[i])
                k->in[i] = resolve(&plan->place[step->node->in[i]->id], arena);
    }
    memcpy(run->end, plan->phase_end, sizeof(run->end));
    return run;
}

static void report_step(const struct cpu *cpu, const struct at_node *node, double *last)
{
    double now = at_clock();
    cpu->report(cpu->report_priv, node, now - *last);
    *last = now;
}

// Whether a thread's share of what a step has put out is finite. By bits: the compiler may take all reals for finite.
static bool share_is_finite(const struct at_kernel *k, size_t real_size)
{
    int64_t n = at_shape_count(k->node->shape);
    int64_t begin = n * k->thread / k->threads, end = n * (k->thread + 1) / k->threads;
    bool finite = true;
    if (real_size == 8)
        for (int64_t i = begin; i < end; i++)
            finite &= (((const uint64_t *)k->out)[i] & 0x7ff0000000000000u) != 0x7ff0000000000000u;
    else
        for (int64_t i = begin; i < end; i++)
            finite &= (((const uint32_t *)k->out)[i] & 0x7f800000u) != 0x7f800000u;
    return finite;
}

static bool run_phase(struct at_device *dev, struct at_run *run, int phase)
{
    const struct cpu *cpu = cpu_of(dev);
    int begin = phase ? run->end[phase - 1] : 0, end = run->end[phase];
    const struct at_node *bad = NULL; // of the guard
    double last = at_clock();
#pragma omp parallel num_threads(cpu->threads)
    {
#if AT_X86
        // Subnormals as zero: they carry nothing here and cost a hundred cycles each.
        unsigned mode = _mm_getcsr();
        if (dev->real_size == 4)
            _mm_setcsr(mode | 0x8040);
#endif
        for (int s = begin; s < end && !bad; s++) {
            if (!run->steps[s].kernel)
                continue;
            struct at_kernel k = run->steps[s].args;
            k.thread = omp_get_thread_num();
            k.threads = omp_get_num_threads();
            run->steps[s].kernel(&k);
#pragma omp barrier
            if (cpu->report && k.thread == 0)
                report_step(cpu, k.node, &last);
            if (!dev->guard || !at_guard_watches(k.node))
                continue;
            if (!share_is_finite(&k, dev->real_size)) {
#pragma omp atomic write
                bad = k.node;
            }
#pragma omp barrier
        }
#if AT_X86
        _mm_setcsr(mode);
#endif
    }
    return !bad || at_guard_fail(dev->log, bad);
}

static void release_run(struct at_device *dev, struct at_run *run)
{
    (void)dev;
    at_free(run->steps);
    at_free(run);
}

static const struct at_device_api api = {
    .close = close_device,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .write = write_buffer,
    .read = read_buffer,
    .scratch = scratch,
    .compile = compile,
    .run = run_phase,
    .release = release_run,
};

static int available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return CPU_COUNT(&set);
    return 1;
}

#if AT_X86
// clang 14 cannot ask for it by name.
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

static bool choose_isa(struct cpu *cpu, const char *wanted)
{
    struct {
        const char *name;
        at_host_kernel *const *kernels, *fma;
        bool have;
    } table[] = {
#if AT_X86
        {"avx512", kernels_avx512, at_host_fma_f32_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")},
        {"avx2", kernels_avx2, at_host_fma_f32_avx2,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()},
#endif
        {"base", kernels_base, at_host_fma_f32_base, true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!table[i].have || (wanted && strcmp(wanted, table[i].name) != 0))
            continue;
        cpu->kernels = table[i].kernels;
        cpu->fma = table[i].fma;
        cpu->isa = table[i].name;
        return true;
    }
    return at_fail(cpu->dev.log, AT_ERROR_DEVICE, "this processor has no instruction set '%s' (of base, avx2, avx512)",
                   wanted);
}

static void processor_name(char name[128])
{
    snprintf(name, 128, "CPU");
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "model name : %127[^\n]", name) == 1)
            break;
    if (f)
        fclose(f);
}

struct at_device *at_cpu_open(const struct at_cpu_params *p, struct at_log *log)
{
    struct cpu *cpu = at_calloc(1, sizeof(*cpu));
    if (!cpu) {
        at_fail_memory(log, sizeof(*cpu));
        return NULL;
    }
    cpu->dev = (struct at_device){
        .api = &api, .log = log, .kind = p->oracle ? "oracle" : "cpu", .real_size = p->oracle ? 8 : 4};
    cpu->threads = p->threads > 0 ? p->threads : available_cores();
    cpu->dev.workers = cpu->threads; // a plan run inside an OpenMP team has one thread: nested teams are off
    processor_name(cpu->dev.name);
    if (p->oracle) {
        cpu->kernels = kernels_f64;
        cpu->fma = at_host_fma_f64;
        cpu->isa = "base";
    } else if (!choose_isa(cpu, p->isa)) {
        at_free(cpu);
        return NULL;
    }
    return &cpu->dev;
}

int at_cpu_threads(const struct at_device *dev)
{
    return ((const struct cpu *)dev)->threads;
}

const char *at_cpu_isa(const struct at_device *dev)
{
    return ((const struct cpu *)dev)->isa;
}

double at_cpu_fma(const struct at_device *dev)
{
    double flops;
    ((const struct cpu *)dev)->fma(&(struct at_kernel){.out = &flops, .threads = 1});
    return flops;
}

void at_cpu_profile(struct at_device *dev, at_cpu_report *report, void *priv)
{
    cpu_of(dev)->report_priv = priv;
    cpu_of(dev)->report = report;
}

void *at_cpu_memory(struct at_buffer *buffer)
{
    return buffer->data;
}
