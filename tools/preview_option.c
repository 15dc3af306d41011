// SPDX-License-Identifier: Apache-2.0
#include "tools/preview_option.h"

#include "core/base/alloc.h"
#include "core/io/file.h"

#include <inttypes.h>
#include <string.h>

void at_preview_options(struct at_options *o, struct at_preview_choice *c)
{
    const struct at_option rows[] = {
        {"preview", 0, AT_OPTION_INT, &c->every, "N",
         "show every N steps what the pictures will be, in preview.png beside them (NAME.preview.png for one picture)",
         .zero = "no previews", .min = 0, .max = 1000},
        {"preview-vae", 0, AT_OPTION_TEXT, &c->vae, "DIR",
         "folder of an autoencoder for this family of models that previews are decoded with, such as taesd; none: a rough "
         "colour for each latent", .zero = "the model's own if that is cheap, else none"},
        {"preview-keep", 0, AT_OPTION_FLAG, &c->keep, NULL, "keep every preview, in the folder previews"},
        {0},
    };
    at_options_add(o, rows);
}

static bool show(void *priv, const struct at_preview_sheet *sheet)
{
    struct at_preview_choice *c = priv;
    if (!c->said)
        at_info(c->log, "previews in %s, by %s", c->path, at_preview_words(c->preview));
    c->said = true;
    if (!at_png_write(c->log, c->path, &sheet->image, NULL, 0))
        return false;
    if (!c->keep)
        return true;
    char *name = c->number ? at_strf("%05" PRId64 "-step-%03d.png", *c->number + sheet->first, sheet->step)
                           : at_strf("step-%03d.png", sheet->step);
    char *path = name ? at_path_join(c->folder, name) : NULL;
    bool ok = path && at_dir_make(c->log, c->folder) && at_png_write(c->log, path, &sheet->image, NULL, 0);
    at_free(name);
    at_free(path);
    return ok;
}

// x.png to x.preview.png.
static char *beside(const char *file)
{
    return at_strf("%.*s.preview.png", (int)(strlen(file) - 4), file);
}

bool at_preview_check(const struct at_preview_choice *c, struct at_log *log)
{
    return c->every || (!c->vae && !c->keep) ||
           at_fail(log, AT_ERROR_USAGE, "--preview-%s is of use only with --preview N", c->vae ? "vae" : "keep");
}

bool at_preview_choose(struct at_preview_choice *c, struct at_model *m, const char *out, bool file,
                       const int64_t *number)
{
    if (!c->every)
        return true;
    char *dir = file ? at_path_dir(out) : at_strdup(out);
    c->log = m->log;
    c->number = file ? NULL : number;
    c->path = file ? beside(out) : at_path_join(out, "preview.png");
    c->folder = dir ? at_path_join(dir, "previews") : NULL;
    at_free(dir);
    bool none = c->vae && strcmp(c->vae, "none") == 0;
    struct at_preview_params p = {.every = c->every, .vae = none ? NULL : c->vae, .colours = none, .show = show,
                                  .priv = c};
    return ((c->path && c->folder) || at_fail_memory(m->log, strlen(out))) && (c->preview = at_preview_open(m, &p));
}

void at_preview_finish(struct at_preview_choice *c, bool done)
{
    if (done && c->path && c->said && !at_path_remove(c->log, c->path))
        at_warn(c->log, "%s: cannot be taken away", c->path);
    at_preview_close(&c->preview);
    at_free(c->path);
    at_free(c->folder);
    c->path = c->folder = NULL;
}
