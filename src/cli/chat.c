#include "cli/chat.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "cli/options_shared.h"
#include "tokenizer/tokenizer.h"

enum { MAX_PROMPT_FILE = 1 << 28 };

#define LATER(option_names, value, text)                                                           \
    { .names = option_names, .argument = value, .later = true, .help = text }

static const ds4_option chat_options[] = {
    CLI_OPTION_MODEL,
    CLI_OPTION_CONTEXT,
    {.names = "--warm-weights",
     .kind = DS4_OPTION_FLAG,
     .config_key = "warm-weights",
     CLI_FIELD(warm),
     .help = "read all weights before the first prompt"},
    {.group = "Prompt",
     .names = "--prompt -p",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     CLI_FIELD(prompt),
     .help = "answer this and leave; without it the chat is interactive"},
    {.names = "--prompt-file",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     CLI_FIELD(prompt_file),
     .help = "answer the text of this file (- is standard input) and leave"},
    {.names = "--system -sys",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     .default_text = "You are a helpful assistant",
     .config_key = "system",
     CLI_FIELD(system),
     .help = "system message; empty for none"},
    {.group = "Answer",
     .names = "--tokens -n",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = INT32_MAX,
     .default_text = "50000",
     .config_key = "tokens",
     CLI_FIELD(max_tokens),
     .help = "most tokens of one answer"},
    {.names = "--think",
     .kind = DS4_OPTION_SET,
     .set_value = CLI_THINK_HIGH,
     .default_text = "yes",
     CLI_FIELD(think),
     .help = "think before answering (the default)"},
    {.names = "--think-max",
     .kind = DS4_OPTION_SET,
     .set_value = CLI_THINK_MAX,
     CLI_FIELD(think),
     .help = "think with the greatest effort; needs --ctx 393216 or more"},
    {.names = "--nothink",
     .kind = DS4_OPTION_SET,
     .set_value = CLI_THINK_NONE,
     CLI_FIELD(think),
     .help = "answer without thinking"},
    {.names = "--show-thinking",
     .kind = DS4_OPTION_CHOICE,
     .argument = "WHERE",
     .choices = "stdout|stderr|never",
     .default_text = "stdout",
     .config_key = "show-thinking",
     CLI_FIELD(show_thinking),
     .help = "where the thinking is written, in grey on a terminal"},
    {.names = "--color",
     .kind = DS4_OPTION_CHOICE,
     .argument = "WHEN",
     .choices = "auto|always|never",
     .default_text = "auto",
     .config_key = "color",
     CLI_FIELD(color),
     .help = "colours; auto is on terminals unless NO_COLOR is set"},
    {.group = "Sampling",
     .names = "--temp",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = 0,
     .max = 100,
     .default_text = "1",
     .config_key = "temp",
     CLI_FIELD(temperature),
     .help = "temperature; 0 always takes the likeliest token"},
    {.names = "--top-k",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = INT32_MAX,
     .default_text = "0",
     .config_key = "top-k",
     CLI_FIELD(top_k),
     .help = "choose among the N likeliest tokens; 0 is all"},
    {.names = "--top-p",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = 0,
     .max = 1,
     .default_text = "1",
     .config_key = "top-p",
     CLI_FIELD(top_p),
     .help = "choose among the likeliest tokens that together have this probability"},
    {.names = "--min-p",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = 0,
     .max = 1,
     .default_text = "0.05",
     .config_key = "min-p",
     CLI_FIELD(min_p),
     .help = "drop tokens less likely than this fraction of the likeliest"},
    {.names = "--seed",
     .kind = DS4_OPTION_UINT64,
     .argument = "N",
     .default_text = "0",
     .config_key = "seed",
     CLI_FIELD(seed),
     .help = "the same seed gives the same answer; 0 takes a new one each time"},
    CLI_OPTION_THREADS,
    DS4_OPTIONS_BACKEND(offsetof(cli_settings, backend), "backend"),
    CLI_OPTION_KV_SIM,
    CLI_OPTION_ACTIVATIONS("int8"),
    DS4_DIAL_OPTIONS(cli_settings, dial),
    {.names = "--dir-steering-policy",
     .kind = DS4_OPTION_CHOICE,
     .argument = "POLICY",
     .choices = "final-answer=final=tool-safe|decoding=decode|always|off=none",
     .default_text = "final-answer",
     .config_key = "dir-steering-policy",
     CLI_FIELD(steer_policy),
     .help = "what is steered: the prose of answers, all that is sampled, the prompt too, or "
             "nothing"},
    LATER("--metal", NULL, "Metal backend"),
    LATER("--mt -mt --mpp", "MODE", "tensor cores policy"),
    LATER("--quality", NULL, "exact GPU kernels"),
    LATER("--mtp", "FILE", "draft model"),
    LATER("--mtp-draft", "N", "draft tokens"),
    LATER("--mtp-margin", "F", "draft confidence"),
    LATER("--inspect", NULL, "use ds4-gguf inspect"),
    LATER("--dump-tokens", NULL, "use ds4 tokenize"),
    LATER("--dump-logprobs", "FILE", "log-probabilities of an answer"),
    LATER("--dump-logits", "FILE", "use ds4 logits"),
    LATER("--perplexity-file", "FILE", "perplexity of a text"),
};

static const ds4_command chat_commands[] = {
    {"tokenize", "text on standard input to token ids"},
    {"render", "chat-completions request on standard input to the prompt's text and ids"},
    {"parse", "raw model output on standard input to an assistant message"},
    {"logits", "logits after each token of a list, for comparison with other implementations"},
};

const ds4_program cli_program = {
    .name = "ds4",
    .summary = "chat with a DeepSeek V4 Flash model on this machine",
    .description = "Without --prompt the chat is interactive; /help lists its commands. Ctrl-C "
                   "stops an answer, Ctrl-D leaves.\n\nThe commands print JSON and are made for "
                   "other programs; each has its own --help.",
    DS4_PROGRAM_OPTIONS(chat_options),
    DS4_PROGRAM_COMMANDS(chat_commands),
    .reads_config = true};

const char *cli_think_warning(const cli_settings *settings) {
    return settings->think == CLI_THINK_MAX && settings->n_context < DS4_THINK_MAX_CONTEXT
               ? "--think-max needs --ctx 393216 or more; thinking as with --think"
               : NULL;
}

/* ---- one reply ---- */

static ds4_text text_of(const ds4_strbuf *buffer) {
    return (ds4_text){buffer->data != NULL ? buffer->data : "", buffer->n};
}

ds4_status cli_chat_reply(cli_chat_state *chat, bool *interrupted, ds4_error *error) {
    ds4_tokens prompt = {0};
    ds4_think_mode mode = DS4_THINK_NONE;
    cli_terminal terminal;
    cli_answer answer = {0};
    size_t n_before = chat->conversation.n - 1;
    ds4_status status = cli_conversation_render(&chat->conversation, chat->settings,
                                                chat->tokenizer, &prompt, &mode, error);
    if (status == DS4_OK) {
        cli_terminal_open(&terminal, chat->settings);
        status = cli_answer_run(chat->sched, chat->settings, &prompt, mode != DS4_THINK_NONE,
                                &terminal, &answer, error);
    }
    *interrupted = answer.interrupted;
    const ds4_chat_result *said = &answer.message;
    bool silent = answer.interrupted && said->content.n + said->reasoning.n == 0;
    if (status == DS4_OK && !silent)
        status = cli_conversation_add(&chat->conversation, DS4_ROLE_ASSISTANT,
                                      text_of(&said->content), text_of(&said->reasoning), error);
    if (status != DS4_OK || silent) cli_conversation_cut(&chat->conversation, n_before);
    if (status == DS4_OK) cli_answer_print_rates(&answer);
    ds4_chat_result_free(&answer.message);
    chat->last = answer;
    chat->last.message = (ds4_chat_result){0};
    ds4_tokens_free(&prompt);
    return status;
}

/* ---- one-shot ---- */

/* The user says with his first bytes that the template is already applied. */
static const char rendered_mark[] = "<\xEF\xBD\x9C"
                                    "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";

static ds4_status answer_rendered(cli_chat_state *chat, ds4_text text, bool *interrupted,
                                  ds4_error *error) {
    ds4_tokens prompt = {0};
    cli_terminal terminal;
    cli_answer answer = {0};
    ds4_status status =
        ds4_tokenizer_encode_special(chat->tokenizer, text.data, text.n, &prompt, error);
    if (status == DS4_OK) {
        int32_t think = ds4_tokenizer_special_ids(chat->tokenizer)->think;
        bool thinking = prompt.n > 0 && think >= 0 && prompt.ids[prompt.n - 1] == think;
        cli_terminal_open(&terminal, chat->settings);
        status = cli_answer_run(chat->sched, chat->settings, &prompt, thinking, &terminal, &answer,
                                error);
        *interrupted = answer.interrupted;
        if (status == DS4_OK) cli_answer_print_rates(&answer);
    }
    ds4_chat_result_free(&answer.message);
    ds4_tokens_free(&prompt);
    return status;
}

static int run_once(cli_chat_state *chat, ds4_text prompt) {
    size_t mark = sizeof rendered_mark - 1;
    bool interrupted = false;
    ds4_error error = {0};
    ds4_status status;
    if (prompt.n >= mark && memcmp(prompt.data, rendered_mark, mark) == 0) {
        status = answer_rendered(chat, prompt, &interrupted, &error);
    } else {
        status =
            cli_conversation_add(&chat->conversation, DS4_ROLE_USER, prompt, DS4_TEXT(""), &error);
        if (status == DS4_OK) status = cli_chat_reply(chat, &interrupted, &error);
    }
    if (status != DS4_OK) return cli_report(&error);
    return interrupted ? CLI_INTERRUPTED : CLI_OK;
}

/* ---- the program ---- */

static ds4_status open_dial(cli_settings *settings, const ds4_model *model, ds4_dial *dial,
                            ds4_error *error) {
    ds4_strbuf warning = {0};
    ds4_status status = ds4_dial_open(&settings->dial, model, dial, &warning, error);
    if (warning.n > 0) fprintf(stderr, "ds4: warning: %s\n", warning.data);
    ds4_strbuf_free(&warning);
    settings->steering = dial->start;
    if (status == DS4_OK && dial->direction != NULL)
        fprintf(stderr, "ds4: directional steering enabled: %s attn=%g ffn=%g mode=%s\n",
                settings->dial.file, (double)dial->start.attn, (double)dial->start.ffn,
                ds4_steer_mode_name(dial->start.mode));
    return status;
}

static int run_with_model(cli_settings *settings, ds4_model *model, const ds4_text *prompt) {
    cli_chat_state chat = {.settings = settings, .model = model};
    ds4_dial dial = {0};
    ds4_error error = {0};
    int exit_status = CLI_OK;
    chat.tokenizer = ds4_model_get_tokenizer(model);
    ds4_status status = chat.tokenizer != NULL
                            ? ds4_tokenizer_require_chat(chat.tokenizer, &error)
                            : ds4_fail(&error, DS4_UNSUPPORTED,
                                       "%.300s carries no tokenizer: only `ds4 logits` can use it",
                                       settings->model);
    if (status != DS4_OK) return cli_report_model(&error);
    if (cli_think_warning(settings) != NULL)
        fprintf(stderr, "ds4: warning: %s\n", cli_think_warning(settings));
    status = open_dial(settings, model, &dial, &error);
    if (status == DS4_OK) status = cli_engine_open(settings, model, &chat.sched, &error);
    if (status != DS4_OK) {
        ds4_dial_close(&dial);
        return cli_report(&error);
    }
    chat.steers_attention = dial.start.attn != 0 && dial.start.ffn == 0;
    exit_status = prompt != NULL ? run_once(&chat, *prompt) : cli_repl_run(&chat);
    cli_conversation_free(&chat.conversation);
    ds4_sched_destroy(chat.sched);
    ds4_dial_close(&dial);
    return exit_status;
}

int cli_chat(int argc, char *const *argv) {
    cli_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_strbuf file = {0};
    ds4_model *model = NULL;
    int exit_status = CLI_OK;
    ds4_dial_settings_init(&settings.dial);
    if (!cli_parse(&cli_program, argc, argv, &settings, &parsed, &exit_status)) return exit_status;

    ds4_text prompt = {settings.prompt, settings.prompt != NULL ? strlen(settings.prompt) : 0};
    if (settings.prompt != NULL && settings.prompt_file != NULL) {
        fputs("ds4: specify only one prompt source\n", stderr);
        exit_status = CLI_USAGE;
        goto done;
    }
    if (settings.prompt_file != NULL) {
        if (ds4_file_read(settings.prompt_file, MAX_PROMPT_FILE, &file, &error) != DS4_OK) {
            fprintf(stderr, "ds4: prompt file: %s\n", error.message);
            exit_status = CLI_USAGE;
            goto done;
        }
        prompt = text_of(&file);
    }
    if (ds4_dial_settings_check(&settings.dial, &error) != DS4_OK) {
        fprintf(stderr, "ds4: %s\n", error.message);
        exit_status = CLI_USAGE;
        goto done;
    }
    if (cli_open_model(&settings, &model, &error) != DS4_OK) {
        exit_status = cli_report_model(&error);
        goto done;
    }
    bool one_shot = settings.prompt != NULL || settings.prompt_file != NULL;
    exit_status = run_with_model(&settings, model, one_shot ? &prompt : NULL);
done:
    ds4_model_close(model);
    ds4_strbuf_free(&file);
    ds4_options_free(&parsed);
    return exit_status;
}
