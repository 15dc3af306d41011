// SPDX-License-Identifier: Apache-2.0
#include "tools/adapter_option.h"

#include "core/base/alloc.h"

void at_adapter_options(struct at_options *o, struct at_adapter_choice *c)
{
    const struct at_option rows[] = {
        {"rank", 0, AT_OPTION_INT, &c->lora.rank, "N", "of the adapter", .zero = c->no_rank, .min = 1, .max = 1024},
        {"alpha", 0, AT_OPTION_FLOAT, &c->lora.alpha, "X", "of the adapter: it acts times alpha / rank",
         .zero = "the rank", .min = 1e-6, .max = 1e6},
        {"target", 0, AT_OPTION_LIST, &c->targets, "NAME", "a layer that gets an adapter, by name or end of name",
         .zero = "to_q, to_k, to_v, to_out.0"},
        {"text-encoder", 0, AT_OPTION_FLAG, &c->lora.text, NULL,
         "adapt the text encoder too (of SDXL both): q_proj, k_proj, v_proj, out_proj, or what --target names there"},
        {"text-lr", 0, AT_OPTION_REAL, &c->text_lr, "X", "learning rate of text encoders' adapters", .zero = "that of --lr",
         .min = 1e-12, .max = 10},
        {"lora", 0, AT_OPTION_TEXT, &c->lora.file, "FILE",
         "an adapter to go on training, with its layers, ranks and alphas, in place of a fresh one"},
        {0},
    };
    at_options_add(o, rows);
}

bool at_adapter_given(const struct at_adapter_choice *c)
{
    return c->text_lr > 0 || c->lora.text || c->lora.rank || c->lora.alpha != 0 || c->targets.count || c->lora.file;
}

bool at_adapter_complete(struct at_adapter_choice *c, struct at_log *log)
{
    if (c->lora.file && (c->lora.rank || c->lora.alpha != 0 || c->targets.count))
        return at_fail(log, AT_ERROR_USAGE, "--lora %s goes on with the layers, ranks and alphas of that file; leave "
                       "--rank, --alpha and --target out", c->lora.file);
    if (c->text_lr > 0 && !c->lora.text)
        return at_fail(log, AT_ERROR_USAGE, "--text-lr is the rate of text encoders' adapters: ask for them with "
                       "--text-encoder");
    if (!c->targets.count)
        return true;
    if (!(c->list = at_calloc(c->targets.count + 1, sizeof(*c->list))))
        return at_fail_memory(log, sizeof(*c->list));
    for (size_t i = 0; i < c->targets.count; i++)
        c->list[i] = c->targets.items[i];
    c->lora.targets = c->list;
    return true;
}

void at_adapter_choice_finish(struct at_adapter_choice *c)
{
    at_free(c->list);
    c->list = NULL;
}
