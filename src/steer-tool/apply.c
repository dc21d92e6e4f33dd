/* ds4-steer apply: one prompt under several scales, in columns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "steer-tool/answers.h"
#include "steer-tool/scales.h"
#include "steer-tool/steer.h"

enum { MAX_PROMPT_BYTES = 1 << 24, LEAST_COLUMN = 20, SPACE = 3 };

typedef struct settings {
    const char *model, *prompt, *request, *system, *scales;
    int64_t threads, context, slots, max_tokens, width, seed;
    int site, mode, policy, backend;
    bool thinking;
} settings;

typedef struct shown {
    ds4_asked asked;
    ds4_steering dials[DS4_SCALES_MAX];
    ds4_scales scales;
    ds4_strbuf texts[DS4_SCALES_MAX];
    const settings *settings;
} shown;

static void next_task(void *context, size_t i, ds4_answer_task *task) {
    shown *s = context;
    *task = (ds4_answer_task){&s->asked, s->dials[i], (ds4_steer_policy)s->settings->policy};
}

static void put(ds4_strbuf *text, const ds4_strbuf *part) {
    if (part->n > 0) ds4_strbuf_append(text, part->data, part->n);
}

static void take_answer(void *context, size_t i, const ds4_answer *answer) {
    shown *s = context;
    ds4_strbuf *text = &s->texts[i];
    const ds4_chat_result *m = &answer->message;
    if (m->reasoning.n > 0) {
        ds4_strbuf_puts(text, "[");
        put(text, &m->reasoning);
        ds4_strbuf_puts(text, "]\n");
    }
    put(text, &m->content);
    for (size_t c = 0; c < m->n_calls; c++) {
        ds4_strbuf_puts(text, text->n > 0 ? "\n-> " : "-> ");
        put(text, &m->calls[c].name);
        ds4_strbuf_putc(text, ' ');
        put(text, &m->calls[c].arguments);
    }
    ds4_strbuf_printf(text, "\n(%u tokens, %u steered)", answer->n_generated, answer->n_steered);
}

/* ---- columns ---- */

/* Columns of a terminal that the character at `at` takes: two for East Asian wide ones. */
static size_t width_of(const char *at, size_t n) {
    const unsigned char *b = (const unsigned char *)at;
    if (n < 3) return 1;
    if (n == 4) return 2;
    unsigned code = (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
    bool wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) ||
                (code >= 0xac00 && code < 0xd7a4) || (code >= 0xf900 && code < 0xfb00) ||
                (code >= 0xfe30 && code < 0xfe70) || (code >= 0xff00 && code < 0xff61);
    return wide ? 2 : 1;
}

/* How many bytes of the text go on a line of `columns`, and how many columns they take; *skip
 * bytes behind them are the white space where the line was broken. */
static size_t line_of(const char *text, size_t n, size_t columns, size_t *taken, size_t *skip) {
    size_t at = 0, used = 0, space = 0, space_used = 0;
    *skip = 0;
    while (at < n && text[at] != '\n') {
        size_t bytes = ds4_utf8_sequence(text + at, text + n), width;
        if (bytes == 0) bytes = 1;
        width = width_of(text + at, bytes);
        if (used + width > columns) break;
        if (text[at] == ' ') {
            space = at;
            space_used = used;
        }
        at += bytes;
        used += width;
    }
    bool broken = at < n && text[at] != '\n' && text[at] != ' ';
    if (broken && space > 0) {
        at = space;
        used = space_used;
    }
    if (at < n && (text[at] == '\n' || text[at] == ' ')) *skip = 1;
    *taken = used;
    return at;
}

static void print_columns(ds4_strbuf *texts, size_t n, size_t columns) {
    size_t at[DS4_SCALES_MAX] = {0};
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            size_t used = 0, skip = 0;
            size_t bytes =
                line_of(texts[i].data + at[i], texts[i].n - at[i], columns, &used, &skip);
            fwrite(texts[i].data + at[i], 1, bytes, stdout);
            if (i + 1 < n) printf("%*s", (int)(columns - used + SPACE), "");
            at[i] += bytes + skip;
            more = more || at[i] < texts[i].n;
        }
        putchar('\n');
    }
}

static void print(shown *s) {
    size_t width = (size_t)s->settings->width, n = s->scales.n;
    struct winsize size = {0};
    if (width == 0) width = 120;
    if (s->settings->width == 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    size_t per_row = width / (LEAST_COLUMN + SPACE);
    if (per_row > n) per_row = n;
    if (per_row == 0) per_row = 1;
    size_t columns = width / per_row - SPACE;
    for (size_t first = 0; first < n; first += per_row) {
        size_t end = first + per_row < n ? first + per_row : n;
        ds4_strbuf heads[DS4_SCALES_MAX] = {{0}};
        for (size_t i = first; i < end; i++)
            ds4_strbuf_printf(&heads[i - first], "== %s %g", ds4_steer_mode_name(s->dials[i].mode),
                              s->scales.values[i]);
        print_columns(heads, end - first, columns);
        for (size_t i = first; i < end; i++) ds4_strbuf_free(&heads[i - first]);
        print_columns(s->texts + first, end - first, columns);
    }
}

/* ---- the command ---- */

static ds4_status make_body(const settings *chosen, ds4_strbuf *body, ds4_error *error) {
    if (chosen->request != NULL)
        return ds4_file_read(chosen->request, MAX_PROMPT_BYTES, body, error);
    ds4_strbuf_puts(body, "{\"messages\":[");
    if (chosen->system != NULL && chosen->system[0] != '\0') {
        ds4_strbuf_puts(body, "{\"role\":\"system\",\"content\":\"");
        ds4_json_escape(chosen->system, strlen(chosen->system), body);
        ds4_strbuf_puts(body, "\"},");
    }
    ds4_strbuf_puts(body, "{\"role\":\"user\",\"content\":\"");
    ds4_json_escape(chosen->prompt, strlen(chosen->prompt), body);
    ds4_strbuf_printf(body, "\"}],\"seed\":%lld,\"thinking\":{\"type\":\"%s\"}}",
                      (long long)chosen->seed, chosen->thinking ? "enabled" : "disabled");
    return body->failed ? ds4_fail_memory(error, body->n, "the prompt") : DS4_OK;
}

static ds4_status run(const settings *chosen, const char *direction, ds4_error *error) {
    const ds4_dial_settings wish = {.file = direction, .ffn = 0, .attn = 0};
    const ds4_answers_options options = {.n_threads = (uint32_t)chosen->threads,
                                         .n_context = (uint32_t)chosen->context,
                                         .n_slots = (uint32_t)chosen->slots,
                                         .max_tokens = (uint32_t)chosen->max_tokens,
                                         .backend = (ds4_backend_kind)chosen->backend,
                                         .activations = DS4_ACTIVATIONS_INT8};
    ds4_model *model = NULL;
    ds4_answers *answers = NULL;
    ds4_dial dial = {0};
    ds4_strbuf warning = {0}, body = {0};
    shown *s = calloc(1, sizeof *s);
    if (s == NULL) return ds4_fail_memory(error, sizeof *s, "the answers");
    s->settings = chosen;
    ds4_status status = ds4_scales_parse(chosen->scales, &s->scales, error);
    if (status == DS4_OK) status = make_body(chosen, &body, error);
    if (status == DS4_OK) status = ds4_steer_open_model(chosen->model, &model, error);
    if (status == DS4_OK) status = ds4_dial_open(&wish, model, &dial, &warning, error);
    if (warning.n > 0) fprintf(stderr, "ds4-steer: warning: %s\n", warning.data);
    if (status == DS4_OK)
        status = ds4_asked_parse(body.data, body.n, ds4_model_get_tokenizer(model),
                                 (uint32_t)chosen->context, &s->asked, error);
    ds4_steer_mode mode = chosen->mode == 0 ? dial.start.mode : (ds4_steer_mode)(chosen->mode - 1);
    for (size_t i = 0; status == DS4_OK && i < s->scales.n; i++)
        s->dials[i] =
            ds4_scales_dial(&dial.start, (ds4_scale_site)chosen->site, s->scales.values[i], mode);
    if (status == DS4_OK) status = ds4_answers_create(model, &options, &answers, error);
    if (status == DS4_OK)
        status = ds4_answers_run(answers, s->scales.n, next_task, take_answer, s, error);
    for (size_t i = 0; status == DS4_OK && i < s->scales.n; i++)
        if (s->texts[i].failed) status = ds4_fail_memory(error, s->texts[i].n, "an answer");
    if (status == DS4_OK) print(s);
    ds4_answers_destroy(answers);
    for (size_t i = 0; i < DS4_SCALES_MAX; i++) ds4_strbuf_free(&s->texts[i]);
    ds4_asked_free(&s->asked);
    free(s);
    ds4_dial_close(&dial);
    ds4_strbuf_free(&body);
    ds4_strbuf_free(&warning);
    ds4_model_close(model);
    return status;
}

#define AT(member) .offset = offsetof(settings, member)

static const ds4_option options[] = {
    STEER_OPTION_MODEL(settings),
    {.names = "--prompt -p",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     AT(prompt),
     .help = "what to ask"},
    {.names = "--request",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE.json",
     AT(request),
     .help = "instead: a chat-completions body"},
    {.names = "--system -sys",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     AT(system),
     .help = "system message of a --prompt"},
    {.names = "--think",
     .kind = DS4_OPTION_FLAG,
     AT(thinking),
     .help = "think before answering a --prompt"},
    {.names = "--seed",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1e15,
     .default_text = "42",
     AT(seed),
     .help = "seed of a --prompt"},
    {.names = "--scales",
     .kind = DS4_OPTION_STRING,
     .argument = "A,B,...",
     .default_text = "-0.75",
     AT(scales),
     .help = "scales to show; no steering is always among them"},
    STEER_OPTION_SITE(settings),
    {.names = "--mode",
     .kind = DS4_OPTION_CHOICE,
     .argument = "NAME",
     .choices = "auto|project|add",
     .default_text = "auto",
     AT(mode),
     .help = "which edit; auto: as the sidecar says, else project"},
    STEER_OPTION_POLICY(settings),
    {.names = "--tokens -n",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1 << 20,
     .default_text = "512",
     AT(max_tokens),
     .help = "most tokens of an answer"},
    {.names = "--width",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 1000,
     .default_text = "0",
     AT(width),
     .help = "columns of the page; 0: the terminal's, else 120"},
    STEER_OPTION_CONTEXT(settings),
    STEER_OPTION_BATCH(settings, "4"),
    DS4_OPTION_BACKEND(offsetof(settings, backend), NULL),
    STEER_OPTION_THREADS(settings),
};

int ds4_steer_apply(int argc, char **argv) {
    static const ds4_program program = {
        .name = "ds4-steer apply",
        .summary = "answers to one prompt under several scales, side by side",
        .operands = "FILE.f32",
        .min_operands = 1,
        .max_operands = 1,
        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if ((chosen.prompt == NULL) == (chosen.request == NULL))
        exit_status =
            ds4_tool_misused(&program, "either --prompt TEXT or --request FILE is needed");
    else if (run(&chosen, parsed.operands[0], &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_options_free(&parsed);
    return exit_status;
}
