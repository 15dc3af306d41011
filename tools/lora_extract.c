// SPDX-License-Identifier: Apache-2.0
// attune lora extract: an adapter from two models.
#include "pipelines/lora/lora_extract.h"

#include "tools/lora_command.h"
#include "tools/models.h"

static const char *const dtype_words[] = {"f32", "f16", "bf16", NULL};
static const enum at_st_dtype dtypes[] = {AT_ST_F32, AT_ST_F16, AT_ST_BF16};

struct job {
    struct at_cli *cli;
    const char *model, *out;
    struct at_source_options reading;
    int rank, dtype;
    bool linear, quiet, force;
};

static bool progress(void *priv, double done)
{
    struct at_cli *cli = priv;
    at_progress_update(&cli->progress, done, 1, NULL);
    return !at_interrupted();
}

static void report(const struct job *j, const struct at_lora_extracted *x)
{
    at_info(&j->cli->log, "%s: %d layers, rank %d; what is lost of their differences: %.3g of their norm", j->out,
            x->layers, j->rank, x->adaptable > 0 ? x->lost / x->adaptable : 0);
    double other = 1 - x->adaptable / x->all * (x->adaptable / x->all);
    if (other > 1e-12)
        at_info(&j->cli->log, "%.3g of the squared difference of all weights is in others (norms, biases, embeddings%s), "
                "which the adapter does not hold", other, j->linear ? ", convolutions" : "");
}

static bool extract(struct job *j, const char *tuned)
{
    struct at_log *log = &j->cli->log;
    struct at_model_params open = {.path = at_model_word(j->model), .reading = &j->reading, .check = true,
                                   .wordless = true};
    struct at_model *base = at_model_open(NULL, &open, log), *other = NULL;
    struct at_lora_extracted x;
    open.path = at_model_word(tuned);
    bool ok = base && (other = at_model_open(NULL, &open, log)) && at_lora_may_write(log, j->out, j->force);
    if (ok) {
        struct at_lora_extract_params p = {.base = base, .tuned = other, .out = j->out, .rank = j->rank,
                                           .linear = j->linear, .dtype = dtypes[j->dtype], .progress = progress,
                                           .priv = j->cli};
        at_progress_begin(&j->cli->progress, "extracting", NULL, j->quiet);
        ok = at_lora_extract(&p, &x);
        at_progress_end(&j->cli->progress);
    }
    if (ok && !j->quiet)
        report(j, &x);
    at_model_destroy(&base);
    at_model_destroy(&other);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora extract",
        .summary = "an adapter from two models",
        .synopsis = "TUNED -m BASE -o FILE [--rank N]",
        .about = "Of every layer of the denoiser and the text encoders whose weights differ, the difference at a low rank: "
                 "the largest singular values, found by subspace iteration. BASE with the adapter is then TUNED but for "
                 "what that loses, which is told, and for norms, biases and embeddings, which no adapter holds. FILE has "
                 "diffusers' names; attune lora convert makes others of it.",
        .example = "  attune train dpo --full -d pairs -o runs/full\n"
                   "  attune lora extract runs/full -m embedded -o full.safetensors --rank 16\n",
        .arguments = 1,
    };
    struct job j = {.cli = cli, .rank = 32};
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j.model, "BASE", "the model that TUNED was made from: a folder or a file",
         .zero = "the embedded model"},
        {"out", 'o', AT_OPTION_TEXT, &j.out, "FILE", "where the adapter goes", .required = true},
        {"rank", 0, AT_OPTION_INT, &j.rank, "N", "of every layer, if it is not smaller", .min = 1, .max = 1024},
        {"dtype", 0, AT_OPTION_CHOICE, &j.dtype, "TYPE", "of the values", .choices = dtype_words},
        {"linear", 0, AT_OPTION_FLAG, &j.linear, NULL, "leave out convolutions larger than 1x1"},
        {"force", 0, AT_OPTION_FLAG, &j.force, NULL, "replace FILE if it is there", .here = true},
        {"quiet", 'q', AT_OPTION_FLAG, &j.quiet, NULL, "no progress, no measures", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_reading_options(o, &j.reading);
    }
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count != 1)
        ok = at_fail(&cli->log, AT_ERROR_USAGE, "attune lora extract needs the model that differs from the one of -m");
    ok = ok && extract(&j, o->arguments.items[0]);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_extract = {"extract", "an adapter from two models", run};
