/* Options of the programs: one table per program, from which everything else follows.
 *
 * The table generates the command-line parser, the environment variables, the keys of the
 * configuration file, --help, the man page, the Markdown reference and the words for shell
 * completion, so that none of them can disagree. Precedence: command line > environment >
 * configuration file > default. Accepted forms: `--ctx 4096`, `--ctx=4096` and `-c 4096`; the last
 * occurrence wins; `--` ends the options.
 *
 * Values are written into a struct of the caller by offset. Strings are borrowed from argv, the
 * environment, the table or the parsed configuration file, and live as long as those
 * (ds4_options_free releases the file). Nothing here prints or exits: on failure the program prints
 * `NAME: MESSAGE` and exits with status 2. This is the only file under src/ that reads environment
 * variables. Threads: call from one thread, at start.
 *
 * A program looks like this:
 *
 *     typedef struct settings { const char *model; int64_t ctx; int think; bool warm; } settings;
 *     static const ds4_option options[] = {
 *         {.group = "Model", .names = "--model -m", .kind = DS4_OPTION_STRING, .argument = "FILE",
 *          .default_text = "ds4flash.gguf", .environment = "DS4_MODEL", .config_key = "model",
 *          .offset = offsetof(settings, model), .help = "model to load"},
 *         {.names = "--ctx -c", .kind = DS4_OPTION_INT, .argument = "N", .min = 1, .max =
 * INT32_MAX, .default_text = "32768", .offset = offsetof(settings, ctx), .help = "context size in
 * tokens"},
 *         {.names = "--nothink", .kind = DS4_OPTION_SET, .set_value = THINK_NONE,
 *          .offset = offsetof(settings, think), .help = "answer without thinking first"},
 *         {.names = "--mtp", .argument = "FILE", .later = true, .help = "draft model"},
 *     };
 *     static const ds4_program program = {.name = "ds4-x", .summary = "...",
 * DS4_PROGRAM_OPTIONS(options)};
 *
 *     settings values = {0};
 *     ds4_options_parsed parsed;
 *     if (ds4_options_parse(&program, argc, argv, &values, &parsed, &error) != DS4_OK) -> print,
 * return 2 if (parsed.action != DS4_OPTIONS_RUN) -> ds4_options_document(&program, parsed.action,
 * 0, &text), print, return 0
 */
#ifndef DS4_BASE_OPTIONS_H
#define DS4_BASE_OPTIONS_H

#include "base/strbuf.h"
#include "ds4.h"

typedef enum ds4_option_kind {
    /* No value; writes `bool` true. Environment and file say 1/0, true/false, yes/no or on/off. */
    DS4_OPTION_FLAG,
    DS4_OPTION_SET,    /* no value; writes `int` set_value: several of these may share one field */
    DS4_OPTION_INT,    /* `int64_t`, base 10, min..max inclusive */
    DS4_OPTION_UINT64, /* `uint64_t`, base 10, the whole range */
    DS4_OPTION_FLOAT,  /* `double`, finite, min..max inclusive */
    DS4_OPTION_STRING, /* `const char *` */
    DS4_OPTION_CHOICE, /* `int`: index in `choices` */
    DS4_OPTION_LIST,   /* `ds4_option_list`: each occurrence adds one string */
} ds4_option_kind;

enum { DS4_OPTION_LIST_MAX = 64 };

typedef struct ds4_option_list {
    const char *items[DS4_OPTION_LIST_MAX];
    size_t n;
} ds4_option_list;

typedef struct ds4_option {
    const char *group; /* heading in --help; NULL: the same as the option before */
    /* "--tokens -n": the canonical name first, then aliases, separated by one space. */
    const char *names;
    ds4_option_kind kind;
    /* How documents call the value: "FILE", "N"; NULL for FLAG and SET. */
    const char *argument;
    double min, max; /* INT (exact up to 2^53) and FLOAT; min == max == 0: no limit */
    /* CHOICE: "auto|on|off"; synonyms with '=': "final-answer=final|off=none". */
    const char *choices;
    /* Parsed like a value and written first; NULL: the field is left as it is. */
    const char *default_text;
    const char *environment; /* variable that sets it, or NULL; an empty variable counts as unset */
    const char *config_key;  /* key in the configuration file, or NULL */
    size_t offset;           /* of the field in the caller's struct */
    int set_value;           /* SET */
    bool later;              /* known, but its feature does not exist yet: refused */
    const char *help;        /* no full stop; the range and the default are added by themselves */
} ds4_option;

typedef struct ds4_command {
    const char *name, *summary;
} ds4_command;

typedef struct ds4_program {
    const char *name; /* "ds4-server", "ds4 logits"; also the [section] of the configuration file */
    /* One line, lower case, no full stop: "chat with a DeepSeek V4 Flash model". */
    const char *summary;
    const char *operands; /* shown after [options], e.g. "HF_DIR"; NULL when there are none */
    /* Paragraphs separated by one empty line, for the man page and docs; may be NULL. */
    const char *description;
    const ds4_option *options;
    size_t n_options;
    /* Sub-commands, only documented here: the program dispatches on argv[1]. */
    const ds4_command *commands;
    size_t n_commands;
    size_t min_operands, max_operands;
    bool reads_config; /* the user's configuration file applies (ds4_options_config_path) */
} ds4_program;

#define DS4_PROGRAM_OPTIONS(array)                                                                 \
    .options = (array), .n_options = sizeof(array) / sizeof((array)[0])
#define DS4_PROGRAM_COMMANDS(array)                                                                \
    .commands = (array), .n_commands = sizeof(array) / sizeof((array)[0])

/* Where to compute, for option tables: an `int` at the offset `at`, a ds4_backend_kind. `key` is
 * the name in the configuration file, or NULL. The second with the short forms --cpu and --cuda. */
#define DS4_OPTION_BACKEND(at, key)                                                                \
    {                                                                                              \
        .names = "--backend", .kind = DS4_OPTION_CHOICE, .argument = "NAME",                       \
        .choices = "cpu|cuda|auto", .default_text = "auto", .config_key = (key), .offset = (at),   \
        .help =                                                                                    \
            "where to compute; auto takes the GPU when this build, the machine and the memory "    \
            "plan allow it"                                                                        \
    }
#define DS4_OPTIONS_BACKEND(at, key)                                                               \
    DS4_OPTION_BACKEND(at, key),                                                                   \
        {.names = "--cpu",                                                                         \
         .kind = DS4_OPTION_SET,                                                                   \
         .set_value = DS4_BACKEND_CPU,                                                             \
         .offset = (at),                                                                           \
         .help = "the same as --backend cpu"},                                                     \
    {                                                                                              \
        .names = "--cuda", .kind = DS4_OPTION_SET, .set_value = DS4_BACKEND_CUDA, .offset = (at),  \
        .help = "the same as --backend cuda"                                                       \
    }

/* What the command line asks for: to run, or to print a document and leave with status 0. */
typedef enum ds4_options_action {
    DS4_OPTIONS_RUN,
    DS4_OPTIONS_HELP,       /* -h, --help */
    DS4_OPTIONS_MAN,        /* --help=man: roff */
    DS4_OPTIONS_MARKDOWN,   /* --help=markdown: a page for docs/ */
    DS4_OPTIONS_COMPLETION, /* --help=completion: one "NAME" or "NAME=" (takes a value) per line */
    DS4_OPTIONS_VERSION,    /* --version */
} ds4_options_action;

typedef enum ds4_option_origin {
    DS4_ORIGIN_NONE, /* nothing was written */
    DS4_ORIGIN_DEFAULT,
    DS4_ORIGIN_CONFIG,
    DS4_ORIGIN_ENVIRONMENT,
    DS4_ORIGIN_COMMAND_LINE,
} ds4_option_origin;

enum { DS4_OPTIONS_MAX = 96, DS4_OPERANDS_MAX = 16 };

typedef struct ds4_options_parsed {
    ds4_options_action action;
    ds4_option_origin origins[DS4_OPTIONS_MAX]; /* by index in the table */
    const char *operands[DS4_OPERANDS_MAX];     /* borrowed from argv */
    size_t n_operands;
    char *
        config; /* owned: the text of the configuration file that strings may point into, or NULL */
} ds4_options_parsed;

/* Parses argv[1..argc-1]. INVALID_ARGUMENT with a message such as
 *     unknown option: --temperatur (did you mean --temp?)
 *     missing value for -m
 *     invalid value for --ctx: 4k (an integer from 1 to 2147483647)
 *     --mtp: not in this version of ds4-server (draft model)
 * When action is not RUN, `values` holds defaults only and must not be used. Call ds4_options_free
 * afterwards in every case, also after a failure. */
ds4_status ds4_options_parse(const ds4_program *program, int argc, char *const *argv, void *values,
                             ds4_options_parsed *parsed, ds4_error *error);
void ds4_options_free(ds4_options_parsed *parsed);

/* Where the value of the option came from; NONE for a name that the table lacks. */
ds4_option_origin ds4_options_origin(const ds4_program *program, const ds4_options_parsed *parsed,
                                     const char *name);

/* Parses one value as the option `name` would ("/temp 0.5" in a chat). Strings stay borrowed. */
ds4_status ds4_options_set(const ds4_program *program, const char *name, const char *text,
                           void *values, ds4_error *error);

/* Appends what the option accepts: "an integer from 1 to 65535", "full, fp4 or none". */
void ds4_options_describe_values(const ds4_option *option, ds4_strbuf *text);

/* The choice's first spelling ("final-answer"), as a malloc'ed string; NULL when out of range or
 * out of memory. */
char *ds4_options_choice_name(const ds4_option *option, int index);

/* Appends the document of `action` (not RUN) to `text`. `columns`: width of --help, 0 for 80. */
void ds4_options_document(const ds4_program *program, ds4_options_action action, unsigned columns,
                          ds4_strbuf *text);

/* The value of an environment variable, NULL when unset or empty. */
const char *ds4_environment(const char *name);

/* Appends $DS4_CONFIG, or $XDG_CONFIG_HOME/ds4/config, or $HOME/.config/ds4/config; nothing when
 * none is set. The file: `key = value` lines, `#` comments. Keys before the first [section] are for
 * every program and must be known to it, so keys of one program belong below its [name]; sections
 * of other programs are skipped. */
void ds4_options_config_path(ds4_strbuf *path);

#endif
