/* ds4 tokenize, render and parse: one step of a request each, JSON on standard output. Other tools
 * rely on these forms: fields may be added, not renamed. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "chat/parse.h"
#include "chat/render.h"
#include "chat/request_parse.h"
#include "chat/tool_id.h"
#include "cli/cli.h"
#include "cli/options_shared.h"
#include "tokenizer/tokenizer.h"

enum { MAX_INPUT_BYTES = 1 << 30 };

static void append_json_string(const char *bytes, size_t n, ds4_strbuf *out) {
    ds4_strbuf_putc(out, '"');
    ds4_json_escape(bytes, n, out);
    ds4_strbuf_putc(out, '"');
}

static void append_json_ids(const ds4_tokens *ids, ds4_strbuf *out) {
    ds4_strbuf_putc(out, '[');
    for (size_t i = 0; i < ids->n; i++)
        ds4_strbuf_printf(out, i == 0 ? "%d" : ",%d", (int)ids->ids[i]);
    ds4_strbuf_putc(out, ']');
}

/* The line as it stands in `out`, or why it could not be written. */
static ds4_status write_line(ds4_strbuf *out, ds4_error *error) {
    ds4_strbuf_putc(out, '\n');
    if (out->failed) return ds4_fail_memory(error, out->n, "the output");
    if (!cli_write_out(out->data, out->n))
        return ds4_fail(error, DS4_IO, "cannot write to standard output");
    return DS4_OK;
}

static ds4_status open_tokenizer(const cli_settings *settings, ds4_model **model,
                                 const ds4_tokenizer **tokenizer, int *exit_status,
                                 ds4_error *error) {
    ds4_status status = cli_open_model(settings, model, error);
    if (status == DS4_OK) {
        *tokenizer = ds4_model_get_tokenizer(*model);
        if (*tokenizer == NULL)
            status =
                ds4_fail(error, DS4_UNSUPPORTED, "%.300s carries no tokenizer", settings->model);
    }
    if (status != DS4_OK) *exit_status = cli_report_model(error);
    return status;
}

/* ---- ds4 tokenize ---- */

int cli_tokenize(int argc, char *const *argv) {
    static const ds4_option options[] = {
        CLI_OPTION_MODEL,
        {.group = "Input",
         .names = "--special",
         .kind = DS4_OPTION_FLAG,
         CLI_FIELD(special),
         .help = "let the seven control strings of the chat template become control tokens"},
    };
    static const ds4_program program = {
        .name = "ds4 tokenize",
        .summary = "text on standard input, JSON array of token ids on standard output",
        DS4_PROGRAM_OPTIONS(options)};
    cli_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_strbuf text = {0}, out = {0};
    ds4_tokens ids = {0};
    ds4_model *model = NULL;
    const ds4_tokenizer *tokenizer = NULL;
    int exit_status = CLI_OK;
    if (!cli_parse(&program, argc, argv, &settings, &parsed, &exit_status)) return exit_status;

    if (open_tokenizer(&settings, &model, &tokenizer, &exit_status, &error) != DS4_OK) goto done;
    ds4_status status = ds4_file_read("-", MAX_INPUT_BYTES, &text, &error);
    const char *bytes = text.data != NULL ? text.data : "";
    if (status == DS4_OK)
        status = settings.special
                     ? ds4_tokenizer_encode_special(tokenizer, bytes, text.n, &ids, &error)
                     : ds4_tokenizer_encode(tokenizer, bytes, text.n, &ids, &error);
    if (status == DS4_OK) {
        append_json_ids(&ids, &out);
        status = write_line(&out, &error);
    }
    if (status != DS4_OK) exit_status = cli_report(&error);
done:
    ds4_tokens_free(&ids);
    ds4_strbuf_free(&out);
    ds4_strbuf_free(&text);
    ds4_model_close(model);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- ds4 render ---- */

static ds4_status render(const ds4_tokenizer *tokenizer, const ds4_strbuf *body, uint32_t n_context,
                         ds4_strbuf *out, ds4_error *error) {
    ds4_request_options lenient = {.for_generation = false};
    ds4_render_options options = {.layout = DS4_TEMPLATE_DS4, .n_context = n_context};
    ds4_chat_request request = {0};
    ds4_request_error refusal = {0};
    ds4_prompt prompt = {0};
    ds4_tokens ids = {0};
    ds4_status status = ds4_openai_request_parse(body->data != NULL ? body->data : "", body->n,
                                                 &lenient, &request, &refusal);
    if (status != DS4_OK)
        return ds4_fail(error, status, "%s%s%s", refusal.param, refusal.param[0] ? ": " : "",
                        refusal.message);
    status = ds4_render(&request, &options, &prompt, error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&prompt, tokenizer, &ids, error);
    if (status == DS4_OK) {
        ds4_strbuf_puts(out, "{\"text\":");
        append_json_string(prompt.text.data != NULL ? prompt.text.data : "", prompt.text.n, out);
        ds4_strbuf_puts(out, ",\"ids\":");
        append_json_ids(&ids, out);
        ds4_strbuf_putc(out, '}');
    }
    ds4_tokens_free(&ids);
    ds4_prompt_free(&prompt);
    ds4_chat_request_free(&request);
    return status;
}

int cli_render(int argc, char *const *argv) {
    static const ds4_option options[] = {CLI_OPTION_MODEL, CLI_OPTION_CONTEXT};
    static const ds4_program program = {
        .name = "ds4 render",
        .summary = "chat-completions request body on standard input, {\"text\",\"ids\"} of the "
                   "prompt on standard output",
        DS4_PROGRAM_OPTIONS(options)};
    cli_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_strbuf body = {0}, out = {0};
    ds4_model *model = NULL;
    const ds4_tokenizer *tokenizer = NULL;
    int exit_status = CLI_OK;
    if (!cli_parse(&program, argc, argv, &settings, &parsed, &exit_status)) return exit_status;

    if (open_tokenizer(&settings, &model, &tokenizer, &exit_status, &error) != DS4_OK) goto done;
    ds4_status status = ds4_file_read("-", MAX_INPUT_BYTES, &body, &error);
    if (status == DS4_OK)
        status = render(tokenizer, &body, (uint32_t)settings.n_context, &out, &error);
    if (status == DS4_OK) status = write_line(&out, &error);
    if (status != DS4_OK) exit_status = cli_report(&error);
done:
    ds4_strbuf_free(&out);
    ds4_strbuf_free(&body);
    ds4_model_close(model);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- ds4 parse ---- */

/* There is no request here that ids could be derived from: those of an empty one, so that the same
 * output always gives the same bytes. */
static void make_id(void *context, size_t index, ds4_text name, char id[64]) {
    (void)context;
    ds4_chat_request request = {0};
    ds4_chat_request_init(&request);
    ds4_tool_id_source source = {.protocol = DS4_TOOL_ID_OPENAI,
                                 .model = request.model,
                                 .sampling = request.sampling,
                                 .think_mode = DS4_THINK_HIGH};
    ds4_tool_id_derive(&source, index, 0, name, id);
    ds4_chat_request_free(&request);
}

static bool contains(const ds4_strbuf *text, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= text->n; i++)
        if (memcmp(text->data + i, word, n) == 0) return true;
    return false;
}

static void append_field(const char *name, const ds4_strbuf *value, ds4_strbuf *out) {
    ds4_strbuf_printf(out, ",\"%s\":", name);
    append_json_string(value->data != NULL ? value->data : "", value->n, out);
}

static void append_message(const ds4_chat_result *result, ds4_strbuf *out) {
    ds4_strbuf_puts(out, "{\"role\":\"assistant\"");
    append_field("content", &result->content, out);
    if (result->reasoning.n > 0) append_field("reasoning_content", &result->reasoning, out);
    if (result->n_calls > 0) ds4_strbuf_puts(out, ",\"tool_calls\":[");
    for (size_t i = 0; i < result->n_calls; i++) {
        const ds4_result_call *call = &result->calls[i];
        ds4_strbuf_printf(out, "%s{\"id\":", i > 0 ? "," : "");
        append_json_string(call->id, strlen(call->id), out);
        ds4_strbuf_puts(out, ",\"type\":\"function\",\"function\":{\"name\":");
        append_json_string(call->name.data != NULL ? call->name.data : "", call->name.n, out);
        append_field("arguments", &call->arguments, out);
        ds4_strbuf_puts(out, "}}");
    }
    if (result->n_calls > 0) ds4_strbuf_putc(out, ']');
    ds4_strbuf_puts(out, ",\"finish_reason\":\"");
    ds4_strbuf_puts(out, ds4_finish_name(result->finish));
    ds4_strbuf_puts(out, "\"}");
}

int cli_parse_output(int argc, char *const *argv) {
    static const ds4_option options[] = {
        {.group = "Input",
         .names = "--think",
         .kind = DS4_OPTION_SET,
         .set_value = CLI_PARSE_THINK,
         CLI_FIELD(parse_think),
         .help = "the output begins inside <think>; taken for granted when it contains </think>"},
        {.names = "--nothink",
         .kind = DS4_OPTION_SET,
         .set_value = CLI_PARSE_NOTHINK,
         CLI_FIELD(parse_think),
         .help = "the output begins behind </think>"},
        {.names = "--no-tools",
         .kind = DS4_OPTION_FLAG,
         CLI_FIELD(no_tools),
         .help = "the request had no tools: their tags are plain text"},
        {.names = "--cut-off",
         .kind = DS4_OPTION_FLAG,
         CLI_FIELD(cut_off),
         .help = "the output was cut off by the token limit"},
    };
    static const ds4_program program = {
        .name = "ds4 parse",
        .summary = "raw model output on standard input, the OpenAI-style assistant message with "
                   "finish_reason on standard output",
        DS4_PROGRAM_OPTIONS(options)};
    cli_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_strbuf text = {0}, out = {0};
    ds4_chat_result result = {0};
    int exit_status = CLI_OK;
    if (!cli_parse(&program, argc, argv, &settings, &parsed, &exit_status)) return exit_status;

    ds4_status status = ds4_file_read("-", MAX_INPUT_BYTES, &text, &error);
    if (status == DS4_OK) {
        ds4_parser_options how = {
            .controls_in_text = true, .tools_active = !settings.no_tools, .make_id = make_id};
        how.thinking = settings.parse_think == CLI_PARSE_THINK ||
                       (settings.parse_think == CLI_PARSE_AUTO && contains(&text, "</think>"));
        for (size_t i = 0; i < DS4_CONTROL_COUNT; i++) how.ids.id[i] = -1;
        status = ds4_parse_output(&how, text.data != NULL ? text.data : "", text.n,
                                  settings.cut_off ? DS4_FINISH_LENGTH : DS4_FINISH_STOP, &result,
                                  &error);
    }
    if (status == DS4_OK && result.failed) status = ds4_fail_memory(&error, text.n, "the message");
    if (status == DS4_OK) {
        append_message(&result, &out);
        status = write_line(&out, &error);
    }
    if (status != DS4_OK) exit_status = cli_report(&error);
    ds4_chat_result_free(&result);
    ds4_strbuf_free(&out);
    ds4_strbuf_free(&text);
    ds4_options_free(&parsed);
    return exit_status;
}
