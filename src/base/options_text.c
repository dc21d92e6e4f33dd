/* The documents of an option table: --help, man page, Markdown reference, completion words. */
#include <string.h>

#include "base/options.h"

enum { HELP_INDENT = 26, DEFAULT_COLUMNS = 80, MIN_COLUMNS = 60 };

static bool takes_value(const ds4_option *option) {
    return option->argument != NULL && option->kind != DS4_OPTION_FLAG &&
           option->kind != DS4_OPTION_SET;
}

/* "-c, --ctx N": short aliases first, as readers of manuals expect. */
static void append_names(const ds4_option *option, const char *separator, ds4_strbuf *text) {
    const char *space = strchr(option->names, ' ');
    if (space != NULL) {
        for (const char *p = space + 1; *p != '\0'; p++) {
            if (*p == ' ')
                ds4_strbuf_puts(text, separator);
            else
                ds4_strbuf_putc(text, *p);
        }
        ds4_strbuf_puts(text, separator);
        ds4_strbuf_append(text, option->names, (size_t)(space - option->names));
    } else {
        ds4_strbuf_puts(text, option->names);
    }
    if (takes_value(option)) ds4_strbuf_printf(text, " %s", option->argument);
}

/* The help sentence with range, default and variable, as one line of plain text. */
static void append_sentence(const ds4_option *option, ds4_strbuf *text) {
    ds4_strbuf_puts(text, option->help);
    bool limited = option->min != 0 || option->max != 0;
    bool ranged = (option->kind == DS4_OPTION_INT || option->kind == DS4_OPTION_FLOAT) && limited;
    if (ranged && option->max >= 2147483647.0)
        ds4_strbuf_printf(text, "; at least %.10g", option->min);
    else if (ranged)
        ds4_strbuf_printf(text, "; %.10g to %.10g", option->min, option->max);
    if (option->kind == DS4_OPTION_CHOICE) {
        ds4_strbuf_puts(text, ": ");
        ds4_options_describe_values(option, text);
    }
    bool has_default = option->default_text != NULL && takes_value(option);
    if (has_default || option->environment != NULL) {
        ds4_strbuf_puts(text, " (");
        if (has_default) ds4_strbuf_printf(text, "default %s", option->default_text);
        if (has_default && option->environment != NULL) ds4_strbuf_puts(text, ", ");
        if (option->environment != NULL) ds4_strbuf_printf(text, "$%s", option->environment);
        ds4_strbuf_putc(text, ')');
    }
}

/* Appends `words` wrapped at `columns`, continuation lines indented; the cursor stands at `column`.
 */
static void append_wrapped(const char *words, size_t column, size_t indent, size_t columns,
                           ds4_strbuf *text) {
    bool first = true;
    while (*words != '\0') {
        size_t n = strcspn(words, " ");
        if (!first && column + 1 + n > columns) {
            ds4_strbuf_printf(text, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            ds4_strbuf_putc(text, ' ');
            column++;
        }
        ds4_strbuf_append(text, words, n);
        column += n;
        first = false;
        words += n;
        words += strspn(words, " ");
    }
    ds4_strbuf_putc(text, '\n');
}

static void append_help_row(const char *head, const char *sentence, size_t columns,
                            ds4_strbuf *text) {
    size_t column = 2 + strlen(head);
    ds4_strbuf_printf(text, "  %s", head);
    if (column + 2 > HELP_INDENT) {
        ds4_strbuf_putc(text, '\n');
        column = 0;
    }
    ds4_strbuf_printf(text, "%*s", (int)(HELP_INDENT - column), "");
    append_wrapped(sentence, HELP_INDENT, HELP_INDENT, columns, text);
}

static void append_usage(const ds4_program *program, ds4_strbuf *text) {
    ds4_strbuf_printf(text, "%s [options]", program->name);
    if (program->operands != NULL) ds4_strbuf_printf(text, " %s", program->operands);
}

static void write_help(const ds4_program *program, size_t columns, ds4_strbuf *text) {
    ds4_strbuf head = {0}, sentence = {0};
    ds4_strbuf_puts(text, "usage: ");
    append_usage(program, text);
    if (program->n_commands > 0)
        ds4_strbuf_printf(text, "\n       %s COMMAND [options]", program->name);
    ds4_strbuf_printf(text, "\n%s: ", program->name);
    append_wrapped(program->summary, strlen(program->name) + 2, 2, columns, text);
    if (program->n_commands > 0) ds4_strbuf_puts(text, "\nCommands:\n");
    for (size_t i = 0; i < program->n_commands; i++)
        append_help_row(program->commands[i].name, program->commands[i].summary, columns, text);
    const char *group = NULL;
    bool started = false;
    for (size_t i = 0; i < program->n_options; i++) {
        const ds4_option *option = &program->options[i];
        if (option->group != NULL) group = option->group;
        if (option->later) continue;
        if (!started || option->group != NULL)
            ds4_strbuf_printf(text, "\n%s:\n", group != NULL ? group : "Options");
        started = true;
        ds4_strbuf_clear(&head);
        ds4_strbuf_clear(&sentence);
        append_names(option, ", ", &head);
        append_sentence(option, &sentence);
        if (!head.failed && !sentence.failed)
            append_help_row(head.data, sentence.data, columns, text);
    }
    ds4_strbuf_puts(text, "\nHelp:\n");
    append_help_row("-h, --help", "print this page", columns, text);
    append_help_row("--help=man", "print the manual page; also --help=markdown, --help=completion",
                    columns, text);
    append_help_row("--version", "print the version", columns, text);
    text->failed = text->failed || head.failed || sentence.failed;
    ds4_strbuf_free(&head);
    ds4_strbuf_free(&sentence);
}

/* Text for roff: backslashes and dashes escaped, control characters at line starts guarded. */
static void append_roff(const char *plain, ds4_strbuf *text) {
    if (plain[0] == '.' || plain[0] == '\'') ds4_strbuf_puts(text, "\\&");
    for (const char *p = plain; *p != '\0'; p++) {
        if (*p == '\\')
            ds4_strbuf_puts(text, "\\e");
        else if (*p == '-')
            ds4_strbuf_puts(text, "\\-");
        else if (p[0] == '\n' && p[1] == '\n')
            ds4_strbuf_puts(text, "\n.PP");
        else if (p[0] == '\n' && (p[1] == '.' || p[1] == '\''))
            ds4_strbuf_puts(text, "\n\\&");
        else
            ds4_strbuf_putc(text, *p);
    }
}

static void append_roff_entry(const ds4_option *option, ds4_strbuf *text) {
    ds4_strbuf line = {0};
    append_names(option, ", ", &line);
    ds4_strbuf_puts(text, ".TP\n.B ");
    if (!line.failed) append_roff(line.data, text);
    ds4_strbuf_putc(text, '\n');
    ds4_strbuf_clear(&line);
    append_sentence(option, &line);
    if (option->later) ds4_strbuf_puts(&line, ". Not in this version");
    if (!line.failed) append_roff(line.data, text);
    ds4_strbuf_puts(text, ".\n");
    text->failed = text->failed || line.failed;
    ds4_strbuf_free(&line);
}

/* A name as that of its manual page: "ds4-gguf imatrix" is ds4-gguf-imatrix. */
static void append_page_name(const char *name, ds4_strbuf *text) {
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == ' ' || *p == '-')
            ds4_strbuf_puts(text, "\\-");
        else
            ds4_strbuf_putc(text, *p);
    }
}

/* Where the pages of the commands are: scripts/man-pages.sh makes one for each. */
static void append_command_page(const ds4_program *program, ds4_strbuf *text) {
    ds4_strbuf_puts(text, ".PP\nEach has a page of its own, as in\n.BR ");
    append_page_name(program->name, text);
    ds4_strbuf_puts(text, "\\-");
    append_page_name(program->commands[0].name, text);
    ds4_strbuf_puts(text, " (1).\n");
}

static void write_man(const ds4_program *program, ds4_strbuf *text) {
    ds4_strbuf_puts(text, ".TH ");
    for (const char *p = program->name; *p != '\0'; p++)
        ds4_strbuf_putc(text, *p == ' ' ? '-' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p));
    ds4_strbuf_printf(text, " 1 \"\" \"pi-ds4 %s\" \"User Commands\"\n.SH NAME\n", DS4_VERSION);
    append_roff(program->name, text);
    ds4_strbuf_puts(text, " \\- ");
    append_roff(program->summary, text);
    ds4_strbuf_puts(text, "\n.SH SYNOPSIS\n.B ");
    append_roff(program->name, text);
    ds4_strbuf_puts(text, "\n[options]");
    if (program->operands != NULL) ds4_strbuf_putc(text, ' ');
    append_roff(program->operands != NULL ? program->operands : "", text);
    ds4_strbuf_putc(text, '\n');
    if (program->description != NULL) {
        ds4_strbuf_puts(text, ".SH DESCRIPTION\n");
        append_roff(program->description, text);
        ds4_strbuf_putc(text, '\n');
    }
    if (program->n_commands > 0) ds4_strbuf_puts(text, ".SH COMMANDS\n");
    for (size_t i = 0; i < program->n_commands; i++) {
        ds4_strbuf_puts(text, ".TP\n.B ");
        append_roff(program->commands[i].name, text);
        ds4_strbuf_putc(text, '\n');
        append_roff(program->commands[i].summary, text);
        ds4_strbuf_putc(text, '\n');
    }
    if (program->n_commands > 0) append_command_page(program, text);
    if (program->n_options > 0) ds4_strbuf_puts(text, ".SH OPTIONS\n");
    for (size_t i = 0; i < program->n_options; i++) {
        if (program->options[i].group != NULL) {
            ds4_strbuf_puts(text, ".SS ");
            append_roff(program->options[i].group, text);
            ds4_strbuf_putc(text, '\n');
        }
        append_roff_entry(&program->options[i], text);
    }
    ds4_strbuf_puts(text, ".SH EXIT STATUS\n0 on success, 1 when something went wrong at run time, "
                          "2 for a mistake on the command line.\n");
}

/* A cell of a Markdown table: the column divider must not occur in it. */
static void append_cell(const char *plain, ds4_strbuf *text) {
    for (const char *p = plain; *p != '\0'; p++) {
        if (*p == '|' || *p == '<') ds4_strbuf_putc(text, '\\');
        ds4_strbuf_putc(text, *p);
    }
}

static void append_markdown_row(const ds4_option *option, ds4_strbuf *text) {
    ds4_strbuf cell = {0};
    append_names(option, "`, `", &cell);
    ds4_strbuf_puts(text, "| `");
    if (!cell.failed) append_cell(cell.data, text);
    ds4_strbuf_puts(text, "` | ");
    if (option->default_text != NULL && takes_value(option)) {
        ds4_strbuf_putc(text, '`');
        append_cell(option->default_text, text);
        ds4_strbuf_putc(text, '`');
    }
    ds4_strbuf_printf(text, " | %s | %s | ", option->environment != NULL ? option->environment : "",
                      option->config_key != NULL ? option->config_key : "");
    append_cell(option->help, text);
    if (option->later) {
        ds4_strbuf_puts(text, " (not in this version)");
    } else if (takes_value(option) && option->kind != DS4_OPTION_STRING &&
               option->kind != DS4_OPTION_LIST) {
        ds4_strbuf_clear(&cell);
        ds4_options_describe_values(option, &cell);
        ds4_strbuf_puts(text, "; ");
        if (!cell.failed) append_cell(cell.data, text);
    }
    ds4_strbuf_puts(text, " |\n");
    text->failed = text->failed || cell.failed;
    ds4_strbuf_free(&cell);
}

static void write_markdown(const ds4_program *program, ds4_strbuf *text) {
    ds4_strbuf_printf(text, "# %s\n\n%s\n\n`", program->name, program->summary);
    append_usage(program, text);
    ds4_strbuf_puts(text, "`\n");
    if (program->description != NULL) ds4_strbuf_printf(text, "\n%s\n", program->description);
    if (program->n_commands > 0)
        ds4_strbuf_puts(text, "\n## Commands\n\n| command | what it does |\n|---|---|\n");
    for (size_t i = 0; i < program->n_commands; i++) {
        ds4_strbuf_printf(text, "| `%s %s` | ", program->name, program->commands[i].name);
        append_cell(program->commands[i].summary, text);
        ds4_strbuf_puts(text, " |\n");
    }
    for (size_t i = 0; i < program->n_options; i++) {
        const ds4_option *option = &program->options[i];
        if (i == 0 || option->group != NULL)
            ds4_strbuf_printf(text,
                              "\n## %s\n\n| option | default | variable | file key | meaning |\n"
                              "|---|---|---|---|---|\n",
                              option->group != NULL ? option->group : "Options");
        append_markdown_row(option, text);
    }
}

static void write_completion(const ds4_program *program, ds4_strbuf *text) {
    for (size_t i = 0; i < program->n_commands; i++)
        ds4_strbuf_printf(text, "%s\n", program->commands[i].name);
    for (size_t i = 0; i < program->n_options; i++) {
        const ds4_option *option = &program->options[i];
        if (option->later) continue;
        for (const char *name = option->names; *name != '\0'; name += strspn(name, " ")) {
            size_t n = strcspn(name, " ");
            ds4_strbuf_append(text, name, n);
            ds4_strbuf_puts(text, takes_value(option) ? "=\n" : "\n");
            name += n;
        }
    }
    ds4_strbuf_puts(text, "-h\n--help\n--version\n");
}

void ds4_options_document(const ds4_program *program, ds4_options_action action, unsigned columns,
                          ds4_strbuf *text) {
    if (columns == 0) columns = DEFAULT_COLUMNS;
    if (columns < MIN_COLUMNS) columns = MIN_COLUMNS;
    switch (action) {
    case DS4_OPTIONS_RUN:
        break;
    case DS4_OPTIONS_HELP:
        write_help(program, columns, text);
        break;
    case DS4_OPTIONS_MAN:
        write_man(program, text);
        break;
    case DS4_OPTIONS_MARKDOWN:
        write_markdown(program, text);
        break;
    case DS4_OPTIONS_COMPLETION:
        write_completion(program, text);
        break;
    case DS4_OPTIONS_VERSION:
        ds4_strbuf_printf(text, "%s (pi-ds4) %s\n", program->name, DS4_VERSION);
        break;
    }
}
