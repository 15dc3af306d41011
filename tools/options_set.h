// SPDX-License-Identifier: Apache-2.0
// The inside of options.h: one option's value.
#ifndef TOOLS_OPTIONS_SET_H
#define TOOLS_OPTIONS_SET_H

#include "tools/options.h"

// From the command line. `text` NULL: a flag without a value.
AT_NODISCARD bool at_option_from_text(struct at_options *o, const struct at_option *option, const char *text,
                                      bool negated);
AT_NODISCARD bool at_option_from_json(struct at_options *o, const struct at_option *option, struct at_json value);
// Whether the target holds 0, no text, or an empty list.
bool at_option_is_zero(const struct at_option *option);

#endif
