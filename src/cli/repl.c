/* The interactive chat: lines in, answers or commands out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "cli/chat.h"
#include "cli/line_reader.h"

enum { MAX_READ_BYTES = 1 << 28 };

typedef enum next { GO_ON, LEAVE } next;

typedef struct command {
    const char *name, *argument, *help;
    next (*run)(cli_chat_state *chat, char *argument);
} command;

static void complain(const char *message) {
    fprintf(stderr, "ds4: %s\n", message);
}

static void reply(cli_chat_state *chat) {
    ds4_error error = {0};
    bool interrupted = false;
    if (cli_chat_reply(chat, &interrupted, &error) != DS4_OK) complain(error.message);
}

static void ask(cli_chat_state *chat, ds4_text text) {
    ds4_error error = {0};
    if (cli_conversation_add(&chat->conversation, DS4_ROLE_USER, text, DS4_TEXT(""), &error) !=
        DS4_OK)
        complain(error.message);
    else
        reply(chat);
}

/* ---- commands ---- */

static next run_think(cli_chat_state *chat, char *argument) {
    (void)argument;
    chat->settings->think = CLI_THINK_HIGH;
    puts("Thinking mode: high.");
    return GO_ON;
}

static next run_think_max(cli_chat_state *chat, char *argument) {
    (void)argument;
    chat->settings->think = CLI_THINK_MAX;
    puts(cli_think_warning(chat->settings) == NULL ? "Thinking mode: max."
                                                   : "Thinking mode: high (ctx below 393216).");
    return GO_ON;
}

static next run_nothink(cli_chat_state *chat, char *argument) {
    (void)argument;
    chat->settings->think = CLI_THINK_NONE;
    puts("Thinking mode: none.");
    return GO_ON;
}

/* The number of tokens that the conversation would need now. */
static ds4_status measure(cli_chat_state *chat, size_t *n, ds4_error *error) {
    ds4_tokens ids = {0};
    ds4_think_mode mode;
    ds4_status status = cli_conversation_render(&chat->conversation, chat->settings,
                                                chat->tokenizer, &ids, &mode, error);
    *n = ids.n;
    ds4_tokens_free(&ids);
    return status;
}

/* The old engine is given up only when the new one stands, so a refusal costs nothing. */
static next run_ctx(cli_chat_state *chat, char *argument) {
    cli_settings wanted = *chat->settings;
    ds4_sched *sched = NULL;
    ds4_error error = {0};
    size_t n_used = 0;
    ds4_status status = measure(chat, &n_used, &error);
    if (status == DS4_OK && argument[0] == '\0') {
        printf("Context: %zu of %lld tokens used.\n", n_used, (long long)wanted.n_context);
        return GO_ON;
    }
    if (status == DS4_OK)
        status = ds4_options_set(&cli_program, "--ctx", argument, &wanted, &error);
    if (status == DS4_OK && (int64_t)n_used + 1 >= wanted.n_context)
        status =
            ds4_fail(&error, DS4_CONTEXT_FULL,
                     "the conversation has %zu tokens already; /undo some of it first", n_used);
    if (status == DS4_OK) status = cli_engine_open(&wanted, chat->model, &sched, &error);
    if (status != DS4_OK) {
        complain(error.message);
        return GO_ON;
    }
    ds4_sched_destroy(chat->sched);
    chat->sched = sched;
    *chat->settings = wanted;
    printf("Context: %lld tokens.\n", (long long)wanted.n_context);
    return GO_ON;
}

static next run_read(cli_chat_state *chat, char *argument) {
    ds4_strbuf text = {0};
    ds4_error error = {0};
    if (argument[0] == '\0')
        complain("/read needs a file");
    else if (ds4_file_read(argument, MAX_READ_BYTES, &text, &error) != DS4_OK)
        complain(error.message);
    else if (text.n == 0)
        fprintf(stderr, "ds4: %s is empty\n", argument);
    else
        ask(chat, (ds4_text){text.data, text.n});
    ds4_strbuf_free(&text);
    return GO_ON;
}

/* Index of the last user's turn, or the length when there is none. */
static size_t last_user_turn(const cli_conversation *conversation) {
    for (size_t i = conversation->n; i-- > 0;)
        if (conversation->messages[i].role == DS4_ROLE_USER) return i;
    return conversation->n;
}

static next run_undo(cli_chat_state *chat, char *argument) {
    (void)argument;
    if (chat->conversation.n == 0) complain("nothing has been said yet");
    cli_conversation_cut(&chat->conversation, last_user_turn(&chat->conversation));
    return GO_ON;
}

static next run_retry(cli_chat_state *chat, char *argument) {
    (void)argument;
    if (chat->conversation.n == 0) {
        complain("nothing has been said yet");
        return GO_ON;
    }
    cli_conversation_cut(&chat->conversation, last_user_turn(&chat->conversation) + 1);
    reply(chat);
    return GO_ON;
}

static void show_dial(const ds4_steering *dial) {
    printf("Steering: ffn %g, attn %g, mode %s.\n", (double)dial->ffn, (double)dial->attn,
           ds4_steer_mode_name(dial->mode));
}

/* "/steer" shows the dial. "/steer N" turns what is steered: attention where only that is, else
 * the feed-forward halves. "/steer FFN ATTN" sets both. */
static next run_steer(cli_chat_state *chat, char *argument) {
    ds4_steering *dial = &chat->settings->steering;
    if (dial->direction == NULL) {
        complain("there is no direction; start with --dir-steering-file FILE");
        return GO_ON;
    }
    if (argument[0] == '\0') {
        show_dial(dial);
        return GO_ON;
    }
    char *end = argument;
    double scale[2];
    int n = 0;
    while (n < 2 && *end != '\0') {
        scale[n] = strtod(argument, &end);
        if (end == argument || (*end != '\0' && *end != ' ') || !(fabs(scale[n]) <= 100)) break;
        argument = end + strspn(end, " ");
        end = argument;
        n++;
    }
    if (n == 0 || *end != '\0') {
        complain("/steer needs a scale from -100 to 100, or two: for ffn and for attn");
    } else {
        bool attention_only = chat->steers_attention;
        if (n == 2 || !attention_only) dial->ffn = (float)scale[0];
        if (n == 2 || attention_only) dial->attn = (float)scale[n - 1];
        show_dial(dial);
    }
    return GO_ON;
}

static next run_stats(cli_chat_state *chat, char *argument) {
    (void)argument;
    printf("Last answer: %u prompt tokens evaluated in %.2f s, %u tokens generated in %.2f s, %u "
           "of them steered.\n",
           chat->last.n_evaluated, chat->last.prefill_seconds, chat->last.n_generated,
           chat->last.decode_seconds, chat->last.n_steered);
    return run_ctx(chat, (char[]){""});
}

static next run_quit(cli_chat_state *chat, char *argument) {
    (void)chat;
    (void)argument;
    return LEAVE;
}

static next run_help(cli_chat_state *chat, char *argument);

static const command commands[] = {
    {"/help", "", "show this list", run_help},
    {"/think", "", "think before answering", run_think},
    {"/think-max", "", "think with the greatest effort (needs a context of 393216)", run_think_max},
    {"/nothink", "", "answer without thinking", run_nothink},
    {"/ctx", "[N]", "show or change the context size", run_ctx},
    {"/read", "FILE", "say what is in a file", run_read},
    {"/steer", "[N]", "show or turn the steering dial; two numbers: ffn and attn", run_steer},
    {"/undo", "", "take back the last question and its answer", run_undo},
    {"/retry", "", "answer the last question again", run_retry},
    {"/stats", "", "numbers of the last answer", run_stats},
    {"/quit", "", "leave; also /exit and Ctrl-D", run_quit},
    {"/exit", NULL, NULL, run_quit},
};

/* Commands that are options: "/temp 0.5" is --temp 0.5 from now on. */
static const char *const option_commands[] = {"/temp", "/top-k",  "/top-p",        "/min-p",
                                              "/seed", "/tokens", "/show-thinking"};
enum { N_OPTION_COMMANDS = sizeof option_commands / sizeof option_commands[0] };

static next run_help(cli_chat_state *chat, char *argument) {
    (void)chat;
    (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (commands[i].help != NULL)
            printf("  %-10s %-5s %s\n", commands[i].name, commands[i].argument, commands[i].help);
    fputs(" ", stdout);
    for (size_t i = 0; i < N_OPTION_COMMANDS; i++) printf(" %s", option_commands[i]);
    puts(" VALUE\n                   as the option of the same name");
    return GO_ON;
}

static bool run_option_command(cli_chat_state *chat, const char *name, const char *value) {
    for (size_t i = 0; i < N_OPTION_COMMANDS; i++) {
        if (strcmp(name, option_commands[i]) != 0) continue;
        char option[32];
        ds4_error error = {0};
        snprintf(option, sizeof option, "--%s", name + 1);
        /* Only values that are copied may come from a line that will be overwritten. */
        if (value[0] == '\0')
            fprintf(stderr, "ds4: missing value for %s\n", name);
        else if (ds4_options_set(&cli_program, option, value, chat->settings, &error) != DS4_OK)
            complain(error.message);
        return true;
    }
    return false;
}

static next run_command(cli_chat_state *chat, char *line) {
    char *argument = line + strcspn(line, " \t");
    if (*argument != '\0') *argument++ = '\0';
    argument += strspn(argument, " \t");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(line, commands[i].name) == 0) return commands[i].run(chat, argument);
    if (!run_option_command(chat, line, argument))
        fprintf(stderr, "ds4: unknown command: %s\nds4: type /help for commands\n", line);
    return GO_ON;
}

static char *trim(char *line) {
    line += strspn(line, " \t\r");
    size_t n = strlen(line);
    while (n > 0 && strchr(" \t\r", line[n - 1]) != NULL) n--;
    line[n] = '\0';
    return line;
}

int cli_repl_run(cli_chat_state *chat) {
    cli_line_reader *reader = NULL;
    ds4_error error = {0};
    char *line = NULL;
    if (cli_line_reader_open("ds4> ", &reader, &error) != DS4_OK) return cli_report(&error);
    for (next what = GO_ON; what == GO_ON;) {
        cli_line got = cli_line_reader_next(reader, &line);
        if (got == CLI_LINE_END) break;
        if (got == CLI_LINE_CLEARED) continue;
        line = trim(line);
        if (line[0] == '/')
            what = run_command(chat, line);
        else if (line[0] != '\0')
            ask(chat, (ds4_text){line, strlen(line)});
        fflush(stdout);
    }
    cli_line_reader_close(reader);
    return CLI_OK;
}
