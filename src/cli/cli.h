/* The program `ds4`: what its commands share. Thin by intent: options are parsed here, the work is
 * done by the library. Commands return the exit status of the program. */
#ifndef DS4_CLI_CLI_H
#define DS4_CLI_CLI_H

#include "base/options.h"
#include "ds4.h"
#include "steering/dial.h"

enum {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_BAD_MODEL = 3,
    CLI_NO_RESOURCES = 4,
    CLI_INTERRUPTED = 130,
};

enum { CLI_THINK_NONE, CLI_THINK_HIGH, CLI_THINK_MAX };
enum { CLI_COLOR_AUTO, CLI_COLOR_ALWAYS, CLI_COLOR_NEVER };
enum { CLI_SHOW_STDOUT, CLI_SHOW_STDERR, CLI_SHOW_NEVER };
enum { CLI_PARSE_AUTO, CLI_PARSE_THINK, CLI_PARSE_NOTHINK };

/* The values of all option tables of this program; each command uses some. */
typedef struct cli_settings {
    const char *model, *prompt, *prompt_file, *system;
    int64_t n_context, max_tokens, n_threads, top_k;
    uint64_t seed;
    double temperature, top_p, min_p;
    int think;         /* CLI_THINK_ */
    int kv_sim;        /* ds4_kv_sim */
    int activations;   /* ds4_activations */
    int backend;       /* ds4_backend_kind */
    int show_thinking; /* CLI_SHOW_ */
    int color;         /* CLI_COLOR_ */
    bool warm;
    ds4_dial_settings dial;
    int steer_policy;      /* ds4_steer_policy */
    ds4_steering steering; /* the dial now: what the options say, or /steer since */
    /* Diagnostics. */
    const char *tokens_file, *out_file;
    int64_t chunk; /* 0: as many as the engine takes */
    bool special, no_tools, cut_off;
    int parse_think; /* CLI_PARSE_ */
} cli_settings;

/* Prints `ds4: MESSAGE` and returns the exit status that fits. */
int cli_report(const ds4_error *error);
int cli_report_model(const ds4_error *error); /* the same for a model that could not be opened */

/* Parses for one program or sub-command. True: go on. False: leave with *exit_status, everything is
 * printed. */
bool cli_parse(const ds4_program *program, int argc, char *const *argv, cli_settings *settings,
               ds4_options_parsed *parsed, int *exit_status);

/* Checks that the file is there, then opens it. */
ds4_status cli_open_model(const cli_settings *settings, ds4_model **model, ds4_error *error);
/* Writes all of `text` and flushes; false when standard output is gone. */
bool cli_write_out(const char *text, size_t n);

extern const ds4_program cli_program; /* the chat options: also what /temp and others set */

int cli_tokenize(int argc, char *const *argv);
int cli_render(int argc, char *const *argv);
int cli_parse_output(int argc, char *const *argv);
int cli_logits(int argc, char *const *argv);

#endif
