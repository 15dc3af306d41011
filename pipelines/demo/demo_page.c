// SPDX-License-Identifier: Apache-2.0
// report.html: what was done, what came out, how to read it, and what it does not show.
#include "pipelines/demo/demo_run.h"

#include "core/base/alloc.h"
#include "core/io/image.h"
#include "pipelines/eval/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL 64
#define SHOWN 8 // pictures in the lists of most and least gain

static void put_verdict(const struct at_demo_run *run, struct at_report *page)
{
    const struct at_demo_result *r = run->result;
    at_report_heading(page, "Result");
    at_report_paragraph(page,
                        "On %zu names that no training pair has, with %zu fresh seed%s each, the tuned model's picture "
                        "beats the base model's under the rule in %.1f%% of comparisons (95%% interval %.1f%% to %.1f%%; "
                        "%zu wins, %zu losses, %zu ties). The control, trained alike on the same pairs with labels drawn "
                        "by coin, reaches %.1f%% (%.1f%% to %.1f%%).",
                        r->prompts, r->seeds, r->seeds == 1 ? "" : "s", 100 * r->win_rate, 100 * r->ci_low,
                        100 * r->ci_high, r->wins, r->losses, r->ties, 100 * r->control_win_rate,
                        100 * r->control_ci_low, 100 * r->control_ci_high);
    at_report_paragraph(page, "%s",
                        r->clear ? "The tuned model's interval lies above 50% and above the control's: the preference "
                                   "labels did this, not training as such."
                                 : "This is not a clear result: the tuned model's interval does not lie above both 50% "
                                   "and the control's. Another seed, more steps or more prompts may tell.");
}

static void put_what(const struct at_demo_run *run, struct at_report *page)
{
    const struct at_demo_params *p = &run->p;
    at_report_heading(page, "What was done");
    at_report_paragraph(page,
                        "The base model drew pictures of emoji names, several for each name. A rule, computed by code, "
                        "said which of two pictures of a name is better. The rule is \"%s\": %s. From %zu such pairs the "
                        "tuned model learned by Diffusion-DPO, which raises what the better pictures have and lowers "
                        "what the worse ones have, relative to the base model. Only a small adapter (LoRA of rank %d) "
                        "was trained.",
                        run->rewards[AT_DEMO_RULE]->name, run->rewards[AT_DEMO_RULE]->about, run->pair_count, p->rank);
    at_report_paragraph(page,
                        "Half of all names are held out of the pairs; all pictures below are of those. Base, tuned and "
                        "control draw each picture from the same noise, so that the only difference is the training.");
}

// Text of one cell.
typedef char cell[CELL];

static void put_cells(struct at_report *page, const char *caption, const char *const *headings, size_t columns,
                      cell *cells, size_t rows)
{
    const char *list[12 * 8];
    for (size_t i = 0; i < rows * columns; i++)
        list[i] = cells[i];
    at_report_table(page, caption, headings, columns, list, rows);
}

static void put_wins(const struct at_demo_run *run, struct at_report *page)
{
    static const char *const headings[] = {"against the base", "scored by", "wins", "losses", "ties", "win rate",
                                           "95% interval"};
    cell cells[(2 * AT_DEMO_REWARDS) * 7];
    size_t n = 0;
    for (int m = AT_DEMO_TUNED; m < AT_DEMO_MODELS; m++)
        for (int r = 0; r < AT_DEMO_REWARDS; r++) {
            const struct at_comparison *c = &run->sides[m].versus_base[r];
            snprintf(cells[n++], CELL, "%s", at_demo_names[m]);
            snprintf(cells[n++], CELL, "%s%s", run->rewards[r]->name, r == AT_DEMO_RULE ? " (the rule)" : "");
            snprintf(cells[n++], CELL, "%zu", c->wins);
            snprintf(cells[n++], CELL, "%zu", c->losses);
            snprintf(cells[n++], CELL, "%zu", c->ties);
            snprintf(cells[n++], CELL, "%.3f", c->win_rate.value);
            snprintf(cells[n++], CELL, "%.3f to %.3f", c->win_rate.low, c->win_rate.high);
        }
    put_cells(page, "Wins over the base model, picture by picture", headings, 7, cells, 2 * AT_DEMO_REWARDS);
}

static void put_means(const struct at_demo_run *run, struct at_report *page)
{
    static const char *const headings[] = {"model", "fidelity", "saturation", "nearest name right", "among nearest 5",
                                           "held-out implicit accuracy"};
    cell cells[AT_DEMO_MODELS * 6];
    size_t n = 0, images = run->p.prompts * run->p.seeds;
    for (int m = 0; m < AT_DEMO_MODELS; m++) {
        const struct at_demo_side *side = &run->sides[m];
        snprintf(cells[n++], CELL, "%s", at_demo_names[m]);
        for (int r = AT_DEMO_FIDELITY; r <= AT_DEMO_SATURATION; r++)
            snprintf(cells[n++], CELL, "%.4f", at_mean(at_drawings_scores(&side->drawings, (size_t)r), images));
        snprintf(cells[n++], CELL, "%.3f", side->top1);
        snprintf(cells[n++], CELL, "%.3f", side->top5);
        if (isfinite(side->held_out_accuracy))
            snprintf(cells[n++], CELL, "%.3f", side->held_out_accuracy);
        else
            snprintf(cells[n++], CELL, "-");
    }
    put_cells(page, "Means over all pictures", headings, 6, cells, AT_DEMO_MODELS);
}

static void put_reading(struct at_report *page)
{
    at_report_heading(page, "How to read the numbers");
    at_report_paragraph(page, "Fidelity is minus the mean squared error to the emoji's true picture (16x16 pixels, values "
                              "-1 to 1): 0 would be perfect, and higher is better. Saturation is the mean difference "
                              "between the strongest and the weakest of red, green and blue, over what is not paper: "
                              "higher is more vivid.");
    at_report_paragraph(page, "\"Nearest name right\" says how often the true picture of the prompt is nearer to the "
                              "drawing than the true picture of any other name. It should not fall: a model that pleases "
                              "the rule by drawing something else would be worse.");
    at_report_paragraph(page, "The win rate counts a tie as half a win. The interval is Wilson's, with prompts, not "
                              "pictures, as the independent units. The control matters: training on anything moves a "
                              "model, so 50%% is not what no effect would give.");
    at_report_paragraph(page, "Implicit accuracy is the share of pairs for which the tuned denoiser prefers the better "
                              "picture more than the base does. On the pairs it trained on it rises even with labels by "
                              "coin, because few pairs are soon memorised; on held-out pairs it is a noisy hint. Samples "
                              "are the evidence.");
}

static int by_gain(const void *a, const void *b)
{
    const double *x = a, *y = b; // gain, image
    return x[0] < y[0] ? 1 : x[0] > y[0] ? -1 : (x[1] > y[1]) - (x[1] < y[1]);
}

static bool put_strip(struct at_demo_run *run, struct at_report *page, const size_t *images, size_t count,
                      const char *caption)
{
    struct at_image picture = {0};
    if (!at_demo_strip(run, images, count, &picture))
        return false;
    at_report_image(page, &picture, caption, 0);
    at_image_finish(&picture);
    return true;
}

// A fixed choice, then the pictures that changed most, for better and for worse.
static bool put_pictures(struct at_demo_run *run, struct at_report *page)
{
    size_t n = run->p.prompts * run->p.seeds, shown = n < SHOWN ? n : SHOWN, images[2 * SHOWN];
    const double *base = at_drawings_scores(&run->sides[AT_DEMO_BASE].drawings, AT_DEMO_RULE);
    const double *tuned = at_drawings_scores(&run->sides[AT_DEMO_TUNED].drawings, AT_DEMO_RULE);
    double(*gains)[2] = at_calloc(n, sizeof(*gains));
    if (!gains)
        return at_fail_memory(run->log, n * sizeof(*gains));
    for (size_t i = 0; i < n; i++) {
        gains[i][0] = tuned[i] - base[i];
        gains[i][1] = (double)i;
    }
    qsort(gains, n, sizeof(*gains), by_gain);
    at_report_heading(page, "Pictures");
    size_t even = n < 2 * SHOWN ? n : 2 * SHOWN;
    for (size_t i = 0; i < even; i++)
        images[i] = i * n / even;
    bool ok = put_strip(run, page, images, even, "Evenly spread over all held-out names; nobody chose them.");
    for (size_t i = 0; i < shown; i++)
        images[i] = (size_t)gains[i][1];
    ok = ok && put_strip(run, page, images, shown, "Chosen: the largest gains under the rule.");
    for (size_t i = 0; i < shown; i++)
        images[i] = (size_t)gains[n - 1 - i][1];
    ok = ok && put_strip(run, page, images, shown, "Chosen: the largest losses under the rule.");
    at_free(gains);
    return ok;
}

// One chart with the same metric of both trainings.
static bool put_chart(struct at_demo_run *run, struct at_report *page, const char *metric, const char *caption)
{
    struct at_series series[2];
    struct at_curve smooth[2] = {{0}, {0}};
    size_t count = 0;
    bool ok = true;
    for (int m = AT_DEMO_TUNED; ok && m < AT_DEMO_MODELS; m++) {
        const struct at_curve *curve = at_curves_find(&run->sides[m].curves, metric);
        if (!curve)
            continue;
        ok = at_curve_smooth(run->log, curve, curve->count >= 50 ? 5 : 1, &smooth[count]);
        series[count] = (struct at_series){at_demo_names[m], smooth[count].steps, smooth[count].values,
                                           smooth[count].count};
        count++;
    }
    if (ok && count)
        at_report_chart(page, caption, "step", series, count);
    at_curve_finish(&smooth[0]);
    at_curve_finish(&smooth[1]);
    return ok;
}

static bool put_training(struct at_demo_run *run, struct at_report *page)
{
    const struct at_demo_params *p = &run->p;
    at_report_heading(page, "Training");
    at_report_paragraph(page,
                        "%lld steps of %d pairs, learning rate %g, beta %g (the convention with the factor 1/2), seed "
                        "%llu; %.0f and %.0f seconds. Both trainings differ in their labels alone. Curves are means of "
                        "a few steps.",
                        (long long)p->steps, p->batch, p->lr, p->beta, (unsigned long long)p->seed,
                        run->sides[AT_DEMO_TUNED].train_seconds, run->sides[AT_DEMO_CONTROL].train_seconds);
    return put_chart(run, page, "loss", "Loss; it begins at ln 2 = 0.693, where the model is still the base") &&
           put_chart(run, page, "accuracy", "Implicit accuracy on the pairs in training");
}

static void put_limits(const struct at_demo_run *run, struct at_report *page)
{
    at_report_heading(page, "Limits");
    at_report_paragraph(page, "The base model learned every name shown here, so this is no claim about new words: held "
                              "out are the names of the preference pairs only. The model is tiny and its pictures are "
                              "small. The rule is a formula, not a person. This is one training seed; another one moves "
                              "the win rate by some points.");
    at_report_paragraph(page, "All of it took %.0f seconds. Every score is in scores.csv, every number of this page in "
                              "report.json; the adapters are in run-pairs and run-control.",
                        run->seconds);
}

bool at_demo_page(struct at_demo_run *run)
{
    char *path = at_demo_path(run, "report.html");
    struct at_report *page = path ? at_report_begin(run->log, path, "attune demo") : NULL;
    at_free(path);
    if (!page)
        return false;
    put_verdict(run, page);
    put_what(run, page);
    put_wins(run, page);
    put_means(run, page);
    bool ok = put_pictures(run, page);
    put_reading(page);
    ok = ok && put_training(run, page);
    put_limits(run, page);
    if (!ok) {
        at_report_cancel(&page);
        return false;
    }
    return at_report_end(&page);
}
