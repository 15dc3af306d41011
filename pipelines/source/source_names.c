// SPDX-License-Identifier: Apache-2.0
// Facts: diffusers src/diffusers/models/modeling_utils.py (deprecated attention blocks), transformers' CLIPModel.
#include "pipelines/source/source_names.h"

#include <stdio.h>
#include <string.h>

static bool begins(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

static bool text_ignored(const char *name, bool projected)
{
    static const char *const exact[] = {"text_model.embeddings.position_ids", "embeddings.position_ids", "logit_scale"};
    for (size_t i = 0; i < sizeof(exact) / sizeof(*exact); i++)
        if (strcmp(name, exact[i]) == 0)
            return true;
    // A whole CLIP of which the text encoder is one half.
    return begins(name, "vision_model.") || begins(name, "visual_projection.") ||
           (!projected && strcmp(name, "text_projection.weight") == 0);
}

static enum at_name_kind vae_attention(const struct at_st_tensor *t, struct at_st_name *out)
{
    static const struct {
        const char *old, *name;
    } map[] = {{"query.", "to_q."}, {"key.", "to_k."}, {"value.", "to_v."}, {"proj_attn.", "to_out.0."}};
    const char *at = strstr(t->name, ".attentions.0.");
    at = at ? at + 14 : NULL;
    for (size_t i = 0; at && i < sizeof(map) / sizeof(*map); i++) {
        if (!begins(at, map[i].old))
            continue;
        const char *rest = at + strlen(map[i].old);
        snprintf(out->text, sizeof(out->text), "%.*s%s%s", (int)(at - t->name), t->name, map[i].name, rest);
        out->rank = strcmp(rest, "weight") == 0 ? 2 : 0;
        return AT_NAME_RENAMED;
    }
    return AT_NAME_KEPT;
}

enum at_name_kind at_names_tidy(const char *component, bool projected, const struct at_st_tensor *t,
                                struct at_st_name *name)
{
    if (begins(component, "text_encoder"))
        return text_ignored(t->name, projected) ? AT_NAME_IGNORED : AT_NAME_KEPT;
    if (strcmp(component, "vae") == 0)
        return vae_attention(t, name);
    return AT_NAME_KEPT;
}
