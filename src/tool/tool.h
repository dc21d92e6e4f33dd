/* What the command-line tools with sub-commands do alike: dispatch, parse, complain, say sizes,
 * render a request. For programs only: these functions print. */
#ifndef DS4_TOOL_TOOL_H
#define DS4_TOOL_TOOL_H

#include "base/options.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* A command and what runs it: takes the words after its name, returns the exit status. */
typedef struct ds4_tool_command {
    ds4_command words;
    int (*run)(int argc, char **argv);
} ds4_tool_command;

enum { DS4_TOOL_COMMANDS_MAX = 24 };

/* Runs the command that argv[1] names; without one, or for --help, speaks for `program`, which says
 * nothing of commands itself. */
int ds4_tool_dispatch(const ds4_program *program, const ds4_tool_command *commands, size_t n,
                      int argc, char **argv);

/* From now on, touching pages of a mapped file that was cut short meanwhile ends the process with a
 * sentence and EXIT_FAILED instead of SIGBUS. ds4_tool_dispatch calls it. */
void ds4_tool_watch_mapped_files(void);

/* Parses argv[1..] by the program's table. True when the command shall run; otherwise *exit_status
 * says how to end (a document or a message was printed). Call ds4_options_free in both cases. */
bool ds4_tool_parse(const ds4_program *program, int argc, char **argv, void *values,
                    ds4_options_parsed *parsed, int *exit_status);
/* Prints "NAME: MESSAGE" and returns EXIT_USAGE, or EXIT_FAILED. */
int ds4_tool_misused(const ds4_program *program, const char *message);
int ds4_tool_failed(const ds4_program *program, const ds4_error *error);

/* INVALID_ARGUMENT when `path` exists and may not be replaced. */
ds4_status ds4_tool_check_output(const char *path, bool force, ds4_error *error);

/* "1234567 bytes (1.2 MB)", into a caller's buffer. */
const char *ds4_tool_size(uint64_t n_bytes, char text[64]);

/* A chat-completions body as the server would see it. */
typedef struct ds4_tool_prompt {
    ds4_tokens ids;
    bool thinking, tools_active;
} ds4_tool_prompt;

/* Renders and tokenises a body. Free `prompt->ids`, also after a failure. FORMAT naming the field
 * that is wrong. */
ds4_status ds4_tool_render(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                           uint32_t n_context, ds4_tool_prompt *prompt, ds4_error *error);

#endif
