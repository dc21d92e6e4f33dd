/* ds4-steer sweep: what each scale does to held-out requests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "steer-tool/answers.h"
#include "steer-tool/scales.h"
#include "steer-tool/steer.h"
#include "steer-tool/sweep_table.h"

enum { MODES_PROJECT, MODES_ADD, MODES_BOTH };

typedef struct settings {
    const char *model, *items, *scales, *csv, *plot, *title, *texts;
    int64_t threads, context, slots, max_tokens;
    int site, modes, policy, backend;
} settings;

typedef struct baseline {
    uint64_t said, thought;
} baseline;

/* Dial 0 is no steering; items go in blocks of as many as there are slots, so that a prompt is read
 * once and then shared by all dials. */
typedef struct sweep {
    const settings *settings;
    const ds4_items *items;
    ds4_steering *dials;
    double *scales; /* of each dial */
    size_t n_dials, block;
    baseline *plain; /* per item */
    ds4_sweep_table table;
    FILE *texts;
    size_t n_done;
    bool failed;
} sweep;

static void locate(const sweep *s, size_t i, size_t *item, size_t *dial) {
    size_t per_block = s->block * s->n_dials, first = i / per_block * s->block;
    size_t n = s->items->n - first < s->block ? s->items->n - first : s->block;
    size_t within = i - first * s->n_dials;
    *dial = within / n;
    *item = first + within % n;
}

static void next_task(void *context, size_t i, ds4_answer_task *task) {
    const sweep *s = context;
    size_t item, dial;
    locate(s, i, &item, &dial);
    task->asked = &s->items->items[item].asked;
    task->steering = s->dials[dial];
    task->policy = (ds4_steer_policy)s->settings->policy;
}

static uint64_t hash_text(const ds4_strbuf *text, uint64_t seed) {
    return XXH3_64bits_withSeed(text->data != NULL ? text->data : "", text->n, seed);
}

static uint64_t hash_said(const ds4_chat_result *m) {
    uint64_t hash = hash_text(&m->content, m->n_calls);
    for (size_t c = 0; c < m->n_calls; c++)
        hash = hash_text(&m->calls[c].arguments, hash_text(&m->calls[c].name, hash));
    return hash;
}

static void count(sweep *s, const ds4_item *item, const baseline *plain, ds4_steer_mode mode,
                  const ds4_steering *dial, const ds4_answer *answer) {
    const ds4_chat_result *m = &answer->message;
    const char *text = m->content.data != NULL ? m->content.data : "";
    ds4_sweep_row *row =
        ds4_sweep_row_at(&s->table, mode, (double)dial->ffn, (double)dial->attn, item->group);
    s->failed = s->failed || row == NULL;
    if (row == NULL) return;
    row->n_items++;
    row->n_check += ds4_item_fulfils(item->check, m);
    row->n_other += ds4_item_fulfils(item->other, m);
    row->n_changed += hash_said(m) != plain->said;
    row->n_repetitive += ds4_text_is_repetitive(text, m->content.n);
    row->n_broken += m->malformed || strstr(text, "DSML") != NULL;
    row->n_thinking += item->asked.thinking;
    row->n_thinking_changed += hash_text(&m->reasoning, 0) != plain->thought;
    row->n_tokens += answer->n_generated;
}

static void take_answer(void *context, size_t i, const ds4_answer *answer) {
    sweep *s = context;
    size_t number, dial;
    locate(s, i, &number, &dial);
    const ds4_item *item = &s->items->items[number];
    const ds4_chat_result *m = &answer->message;
    baseline *plain = &s->plain[number];
    if (dial == 0) *plain = (baseline){hash_said(m), hash_text(&m->reasoning, 0)};
    for (int mode = 0; mode < 2; mode++) {
        bool wanted = s->settings->modes == MODES_BOTH || s->settings->modes == mode;
        if (wanted && (dial == 0 || (int)s->dials[dial].mode == mode))
            count(s, item, plain, (ds4_steer_mode)mode, &s->dials[dial], answer);
    }
    if (s->texts != NULL)
        fprintf(s->texts, "%s\t%s\t%.6g\t%s\n", item->id, ds4_steer_mode_name(s->dials[dial].mode),
                s->scales[dial], m->content.data != NULL ? m->content.data : "");
    s->n_done++;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%zu of %zu answers", s->n_done, s->items->n * s->n_dials);
}

/* Rows in the order in which a reader wants them, whatever is answered first. */
static bool lay_out(sweep *s, const ds4_scales *scales, const ds4_steering *base) {
    for (int mode = 0; mode < 2; mode++) {
        if (s->settings->modes != MODES_BOTH && s->settings->modes != mode) continue;
        for (size_t k = 0; k < scales->n; k++) {
            ds4_steering dial = ds4_scales_dial(base, (ds4_scale_site)s->settings->site,
                                                scales->values[k], (ds4_steer_mode)mode);
            for (size_t i = 0; i < s->items->n; i++)
                if (ds4_sweep_row_at(&s->table, (ds4_steer_mode)mode, (double)dial.ffn,
                                     (double)dial.attn, s->items->items[i].group) == NULL)
                    return false;
            if (scales->values[k] == 0) continue;
            s->scales[s->n_dials] = scales->values[k];
            s->dials[s->n_dials++] = dial;
        }
    }
    return true;
}

static ds4_status start(sweep *s, const ds4_scales *scales, const ds4_steering *base,
                        ds4_error *error) {
    s->block = (size_t)s->settings->slots;
    s->dials = calloc(2 * scales->n + 1, sizeof *s->dials);
    s->scales = calloc(2 * scales->n + 1, sizeof *s->scales);
    s->plain = calloc(s->items->n, sizeof *s->plain);
    s->n_dials = 1;
    if (s->dials == NULL || s->scales == NULL || s->plain == NULL || !lay_out(s, scales, base))
        return ds4_fail_memory(error, s->items->n * sizeof *s->plain, "the sweep");
    if (s->settings->texts != NULL) s->texts = fopen(s->settings->texts, "w");
    if (s->settings->texts != NULL && s->texts == NULL)
        return ds4_fail(error, DS4_IO, "cannot write %.300s", s->settings->texts);
    return DS4_OK;
}

static ds4_status report(sweep *s, ds4_error *error) {
    ds4_status status = DS4_OK;
    ds4_sweep_table_print(&s->table, stdout);
    if (s->settings->csv != NULL)
        status = ds4_sweep_table_write(&s->table, s->settings->csv, error);
    if (status == DS4_OK && s->settings->plot != NULL)
        status = ds4_sweep_plot(&s->table, s->settings->title, s->settings->plot, error);
    return status;
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
    ds4_strbuf warning = {0};
    ds4_items items = {0};
    ds4_scales scales;
    sweep s = {.settings = chosen, .items = &items};
    ds4_status status = ds4_scales_parse(chosen->scales, &scales, error);
    if (status == DS4_OK && chosen->plot != NULL && !ds4_sweep_can_plot())
        status =
            ds4_sweep_plot(&s.table, NULL, chosen->plot, error); /* says why, before the work */
    if (status == DS4_OK) status = ds4_steer_open_model(chosen->model, &model, error);
    if (status == DS4_OK) status = ds4_dial_open(&wish, model, &dial, &warning, error);
    if (warning.n > 0) fprintf(stderr, "ds4-steer: warning: %s\n", warning.data);
    if (status == DS4_OK)
        status = ds4_items_read(chosen->items, ds4_model_get_tokenizer(model),
                                (uint32_t)chosen->context, &items, error);
    if (status == DS4_OK) status = start(&s, &scales, &dial.start, error);
    if (status == DS4_OK) status = ds4_answers_create(model, &options, &answers, error);
    if (status == DS4_OK)
        status = ds4_answers_run(answers, items.n * s.n_dials, next_task, take_answer, &s, error);
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    if (status == DS4_OK && s.failed) status = ds4_fail_memory(error, 0, "the table");
    if (status == DS4_OK) status = report(&s, error);
    if (s.texts != NULL && fclose(s.texts) != 0 && status == DS4_OK)
        status = ds4_fail(error, DS4_IO, "cannot write %.300s", chosen->texts);
    ds4_answers_destroy(answers);
    ds4_sweep_table_free(&s.table);
    free(s.dials);
    free(s.scales);
    free(s.plain);
    ds4_items_free(&items);
    ds4_dial_close(&dial);
    ds4_strbuf_free(&warning);
    ds4_model_close(model);
    return status;
}

#define AT(member) .offset = offsetof(settings, member)
#define TEXT_OPTION(option_names, word, member, text)                                              \
    { .names = option_names, .kind = DS4_OPTION_STRING, .argument = word, AT(member), .help = text }

static const ds4_option options[] = {
    STEER_OPTION_MODEL(settings),
    TEXT_OPTION("--items", "FILE.jsonl", items,
                "held-out requests (required): {\"id\", \"group\", \"request\", \"check\"}"),
    {.names = "--scales",
     .kind = DS4_OPTION_STRING,
     .argument = "A,B,...",
     .default_text = "-2,-1,-0.5,0.5,1,2",
     AT(scales),
     .help = "scales to try; no steering is always among them"},
    STEER_OPTION_SITE(settings),
    {.names = "--modes",
     .kind = DS4_OPTION_CHOICE,
     .argument = "NAME",
     .choices = "project|add|both",
     .default_text = "both",
     AT(modes),
     .help = "which edits are tried"},
    STEER_OPTION_POLICY(settings),
    TEXT_OPTION("--csv", "FILE", csv, "write the counts"),
    TEXT_OPTION("--plot", "FILE.png", plot, "draw shares over scales"),
    TEXT_OPTION("--title", "TEXT", title, "heading of the plot"),
    TEXT_OPTION("--texts", "FILE", texts, "write every answer: id, mode, scale, text"),
    {.names = "--tokens -n",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1 << 20,
     .default_text = "512",
     AT(max_tokens),
     .help = "most tokens of an answer whose request does not say"},
    STEER_OPTION_CONTEXT(settings),
    STEER_OPTION_BATCH(settings, "8"),
    DS4_OPTION_BACKEND(offsetof(settings, backend), NULL),
    STEER_OPTION_THREADS(settings),
};

int ds4_steer_sweep(int argc, char **argv) {
    static const ds4_program program = {
        .name = "ds4-steer sweep",
        .summary = "what scales do: effect, collateral, repetition, broken calls",
        .operands = "FILE.f32",
        .description =
            "Answers every item without steering and under every scale and mode, as the server "
            "would, several at a time. The table has, per group of items, the share whose check "
            "holds; behind a slash that of the other check. docs/steering.md describes items.",
        .min_operands = 1,
        .max_operands = 1,
        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if (chosen.items == NULL)
        exit_status = ds4_tool_misused(&program, "--items FILE.jsonl is needed");
    else if (run(&chosen, parsed.operands[0], &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_options_free(&parsed);
    return exit_status;
}
