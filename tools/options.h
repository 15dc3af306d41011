// SPDX-License-Identifier: Apache-2.0
// Options of the command line and of JSON config files, from one table.
//
//     int steps = 25;
//     struct at_options *o = at_options_create(&usage, log);
//     at_options_add(o, (const struct at_option[]){
//         {"steps", 's', AT_OPTION_INT, &steps, "N", "sampling steps", .min = 1, .max = 1000}, {0}});
//     switch (at_options_parse(o, argc, argv)) ...
//
// What the targets hold when parsing begins are the defaults, and are shown as such by --help. Accepted: --steps 30,
// --steps=30, -s 30, -s30; flags as --flip, --no-flip or --flip=false; a list may be given several times. Every option
// may stand in the file of --config, by its name with - or _; the command line wins.
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "core/io/json.h"

#include <stdio.h>

enum at_option_type {
    AT_OPTION_FLAG,   // bool
    AT_OPTION_INT,    // int
    AT_OPTION_I64,    // int64_t
    AT_OPTION_SEED,   // uint64_t, 0 .. 2^53
    AT_OPTION_REAL,   // double
    AT_OPTION_FLOAT,  // float
    AT_OPTION_SIZE,   // size_t: bytes, given as 8GiB, 512M or 1000000; K, M, G are powers of 1024
    AT_OPTION_TEXT,   // const char *
    AT_OPTION_CHOICE, // int: an index into choices
    AT_OPTION_LIST,   // struct at_texts
};

// Strings that belong to the command line or the config.
struct at_texts {
    const char **items;
    size_t count, capacity;
};

struct at_option {
    const char *name; // NULL ends a table
    char letter;      // 0: none
    enum at_option_type type;
    void *target;
    const char *value; // what the help calls it: "FILE"; NULL for flags
    const char *help;           // NULL: not shown
    const char *zero;           // what 0 or nothing stands for, in the help: "the model's own"; then 0 is no setting
    double min, max;            // of numbers, if max > min
    const char *const *choices; // NULL at the end
    bool required;              // a text or list that must be given
    bool blank;                 // a text that may be empty, which is another thing than not given
    bool here;                  // of this call alone: not taken from a config, not written to one
};

struct at_usage {
    const char *name;     // "attune sample"
    const char *summary;  // one line
    const char *synopsis; // "-p PROMPT [options]"
    const char *about;    // NULL: nothing more to say
    const char *example;  // worked, lines end in \n
    size_t arguments;     // how many words without an option are taken
};

enum at_parse {
    AT_PARSE_OK,
    AT_PARSE_HELP, // asked for, and printed on stdout
    AT_PARSE_BAD,  // logged: AT_ERROR_USAGE, or AT_ERROR_INPUT for what is in a config file
};

#define AT_OPTIONS 64

struct at_options {
    const struct at_usage *usage;
    struct at_log *log;
    struct at_option list[AT_OPTIONS];
    bool given[AT_OPTIONS]; // on the command line or in the config
    size_t count;
    const char *config_path;    // of --config
    bool help;
    struct at_json_doc *config; // owns the strings that came from it
    struct at_texts arguments;  // words without an option
};

// NULL: no memory. --config and --help are in it. `usage` must outlive it.
struct at_options *at_options_create(const struct at_usage *usage, struct at_log *log);
// Frees it and the lists. Strings taken from a config file end here.
void at_options_destroy(struct at_options **options);
// Copies the rows; the last one is {0}.
void at_options_add(struct at_options *options, const struct at_option *rows);
// argv[0] is passed over.
enum at_parse at_options_parse(struct at_options *options, int argc, char **argv);
// Whether the option was set by the command line or the config.
bool at_options_given(const struct at_options *options, const char *name);
// All settings in force as a document that --config reads back; the caller destroys it. NULL: no memory.
struct at_json_doc *at_options_json(const struct at_options *options);
void at_options_help(const struct at_options *options, FILE *out);
// A paragraph of such a text, broken into lines.
void at_options_wrap(FILE *out, const char *text);

AT_NODISCARD bool at_texts_add(struct at_texts *texts, const char *text);

// Strict numbers: the whole text, in range. False without a message.
AT_NODISCARD bool at_text_int(const char *text, int64_t *value);
AT_NODISCARD bool at_text_real(const char *text, double *value); // finite
AT_NODISCARD bool at_text_size(const char *text, size_t *bytes); // "8GiB", "1.5G", "512M", "64KB", "1000000"

#endif
