#include "base/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

/* ---- the table ---- */

const char *ds4_environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool takes_value(const ds4_option *option) {
    return option->kind != DS4_OPTION_FLAG && option->kind != DS4_OPTION_SET;
}

/* Steps through a list such as "--tokens -n": the next word, or NULL at the end. */
static const char *next_word(const char **list, const char *separators, size_t *length) {
    const char *word = *list + strspn(*list, separators);
    *length = strcspn(word, separators);
    *list = word + *length;
    return *length > 0 ? word : NULL;
}

static bool word_equals(const char *word, size_t length, const char *text, size_t text_length) {
    return length == text_length && memcmp(word, text, length) == 0;
}

static const ds4_option *find_option(const ds4_program *program, const char *name, size_t length) {
    for (size_t i = 0; i < program->n_options; i++) {
        const char *list = program->options[i].names, *word;
        size_t n;
        while ((word = next_word(&list, " ", &n)) != NULL)
            if (word_equals(word, n, name, length)) return &program->options[i];
    }
    return NULL;
}

/* Index of the choice spelled `text`, or -1. Choices are divided by '|', their synonyms by '='. */
static int find_choice(const char *choices, const char *text) {
    const char *list = choices, *choice;
    size_t n;
    for (int index = 0; (choice = next_word(&list, "|", &n)) != NULL; index++) {
        const char *spelling = choice, *end = choice + n;
        while (spelling < end) {
            size_t length = strcspn(spelling, "=|");
            if (word_equals(spelling, length, text, strlen(text))) return index;
            spelling += length + 1;
        }
    }
    return -1;
}

char *ds4_options_choice_name(const ds4_option *option, int index) {
    const char *list = option->choices, *choice;
    size_t n;
    for (int i = 0; list != NULL && (choice = next_word(&list, "|", &n)) != NULL; i++)
        if (i == index) return strndup(choice, strcspn(choice, "=|"));
    return NULL;
}

/* ---- one value ---- */

static bool has_limits(const ds4_option *option) {
    return option->min != 0 || option->max != 0;
}

static bool in_limits(const ds4_option *option, double value) {
    return !has_limits(option) || (value >= option->min && value <= option->max);
}

void ds4_options_describe_values(const ds4_option *option, ds4_strbuf *text) {
    switch (option->kind) {
    case DS4_OPTION_FLAG:
    case DS4_OPTION_SET:
        ds4_strbuf_puts(text, "yes or no");
        break;
    case DS4_OPTION_UINT64:
        ds4_strbuf_puts(text, "an integer from 0 to 2^64-1");
        break;
    case DS4_OPTION_INT:
        ds4_strbuf_puts(text, "an integer");
        if (has_limits(option))
            ds4_strbuf_printf(text, " from %.0f to %.0f", option->min, option->max);
        break;
    case DS4_OPTION_FLOAT:
        ds4_strbuf_puts(text, "a number");
        if (has_limits(option)) ds4_strbuf_printf(text, " from %g to %g", option->min, option->max);
        break;
    case DS4_OPTION_STRING:
    case DS4_OPTION_LIST:
        ds4_strbuf_puts(text, "text");
        break;
    case DS4_OPTION_CHOICE: {
        const char *list = option->choices, *choice;
        size_t n;
        for (bool first = true; (choice = next_word(&list, "|", &n)) != NULL; first = false) {
            if (!first) ds4_strbuf_puts(text, list[0] == '\0' ? " or " : ", ");
            ds4_strbuf_append(text, choice, strcspn(choice, "=|"));
        }
        break;
    }
    }
}

/* strtoll and friends skip blanks and accept "+5" or "0x"-less prefixes; a value must be exact. */
static bool looks_numeric(const char *text) {
    return (text[0] >= '0' && text[0] <= '9') || text[0] == '-' || text[0] == '.';
}

static bool parse_int(const ds4_option *option, const char *text, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (!looks_numeric(text) || end == text || *end != '\0' || errno != 0) return false;
    *value = number;
    return in_limits(option, (double)number);
}

static bool parse_uint64(const char *text, uint64_t *value) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!looks_numeric(text) || text[0] == '-' || end == text || *end != '\0' || errno != 0)
        return false;
    *value = number;
    return true;
}

static bool parse_float(const ds4_option *option, const char *text, double *value) {
    char *end = NULL;
    errno = 0;
    double number = strtod(text, &end);
    if (!looks_numeric(text) || strpbrk(text, "xX") != NULL) return false;
    if (end == text || *end != '\0' || !isfinite(number)) return false;
    *value = number;
    return in_limits(option, number);
}

static bool parse_bool(const char *text, bool *value) {
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        *value = strcasecmp(text, yes[i]) == 0;
        if (*value || strcasecmp(text, no[i]) == 0) return true;
    }
    return false;
}

static bool write_value(const ds4_option *option, const char *text, void *values) {
    char *field = (char *)values + option->offset;
    bool on = false;
    int index = 0;
    switch (option->kind) {
    case DS4_OPTION_FLAG:
        return parse_bool(text, (bool *)(void *)field);
    case DS4_OPTION_SET:
        if (!parse_bool(text, &on)) return false;
        if (on) memcpy(field, &option->set_value, sizeof option->set_value);
        return true;
    case DS4_OPTION_INT:
        return parse_int(option, text, (int64_t *)(void *)field);
    case DS4_OPTION_UINT64:
        return parse_uint64(text, (uint64_t *)(void *)field);
    case DS4_OPTION_FLOAT:
        return parse_float(option, text, (double *)(void *)field);
    case DS4_OPTION_STRING:
        memcpy(field, &text, sizeof text);
        return true;
    case DS4_OPTION_LIST: {
        ds4_option_list *list = (ds4_option_list *)(void *)field;
        if (list->n == DS4_OPTION_LIST_MAX) return false;
        list->items[list->n++] = text;
        return true;
    }
    case DS4_OPTION_CHOICE:
        index = find_choice(option->choices, text);
        if (index >= 0) memcpy(field, &index, sizeof index);
        return index >= 0;
    }
    return false;
}

/* `shown` is how the user named the option: a flag, a variable, or a key of the file. */
static ds4_status set_value(const ds4_program *program, const ds4_option *option, const char *shown,
                            const char *text, void *values, ds4_error *error) {
    if (option->later)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "%s: not in this version of %s (%s)", shown,
                        program->name, option->help);
    if (write_value(option, text, values)) return DS4_OK;
    ds4_strbuf valid = {0};
    ds4_options_describe_values(option, &valid);
    ds4_status status = ds4_fail(error, DS4_INVALID_ARGUMENT, "invalid value for %s: %.100s (%s)",
                                 shown, text, valid.failed ? "see --help" : valid.data);
    ds4_strbuf_free(&valid);
    return status;
}

ds4_status ds4_options_set(const ds4_program *program, const char *name, const char *text,
                           void *values, ds4_error *error) {
    const ds4_option *option = find_option(program, name, strlen(name));
    if (option == NULL)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "unknown option: %.100s", name);
    return set_value(program, option, name, text, values, error);
}

/* ---- the configuration file ---- */

void ds4_options_config_path(ds4_strbuf *path) {
    const char *file = ds4_environment("DS4_CONFIG");
    const char *config = ds4_environment("XDG_CONFIG_HOME");
    const char *home = ds4_environment("HOME");
    if (file != NULL)
        ds4_strbuf_puts(path, file);
    else if (config != NULL)
        ds4_strbuf_printf(path, "%s/ds4/config", config);
    else if (home != NULL)
        ds4_strbuf_printf(path, "%s/.config/ds4/config", home);
}

/* The whole file as a string, at most 1 MiB; *text stays NULL when there is no such file. */
static ds4_status read_config(const char *path, char **text, ds4_error *error) {
    enum { MAX_CONFIG = 1 << 20 };
    ds4_status status = DS4_OK;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        /* A file that is merely where one could be may be absent; one that was named may not. */
        bool absent = errno == ENOENT || errno == ENOTDIR;
        if (absent && ds4_environment("DS4_CONFIG") == NULL) return DS4_OK;
        return ds4_fail(error, DS4_IO, "cannot read %s: %s", path, strerror(errno));
    }
    char *bytes = malloc(MAX_CONFIG + 1);
    if (bytes == NULL) {
        status = ds4_fail_memory(error, MAX_CONFIG + 1, "the configuration file");
        goto done;
    }
    size_t n = fread(bytes, 1, MAX_CONFIG + 1, file);
    if (ferror(file)) {
        status = ds4_fail(error, DS4_IO, "cannot read %s: %s", path, strerror(errno));
        goto done;
    }
    if (n > MAX_CONFIG || memchr(bytes, '\0', n) != NULL) {
        status = ds4_fail(error, DS4_FORMAT, "%s is not a configuration file", path);
        goto done;
    }
    bytes[n] = '\0';
    *text = bytes;
    bytes = NULL;
done:
    free(bytes);
    fclose(file);
    return status;
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text) {
    text += strspn(text, " \t\r");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1]) != NULL) n--;
    text[n] = '\0';
    return text;
}

static const ds4_option *find_key(const ds4_program *program, const char *key) {
    for (size_t i = 0; i < program->n_options; i++) {
        const char *name = program->options[i].config_key;
        if (name != NULL && strcmp(name, key) == 0) return &program->options[i];
    }
    return NULL;
}

static ds4_status apply_config_line(const ds4_program *program, char *line, void *values,
                                    ds4_options_parsed *parsed, ds4_error *error) {
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return ds4_fail(error, DS4_FORMAT, "expected `key = value`, found: %.100s", line);
    *equals = '\0';
    const char *key = trim(line), *value = trim(equals + 1);
    const ds4_option *option = find_key(program, key);
    if (option == NULL)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "unknown key for %s: %.100s (keys of one program belong below its [name])",
                        program->name, key);
    ds4_status status = set_value(program, option, key, value, values, error);
    if (status == DS4_OK) parsed->origins[option - program->options] = DS4_ORIGIN_CONFIG;
    return status;
}

static ds4_status apply_config(const ds4_program *program, const char *path, void *values,
                               ds4_options_parsed *parsed, ds4_error *error) {
    ds4_status status = read_config(path, &parsed->config, error);
    char *rest = parsed->config;
    bool mine = true;
    for (int number = 1; status == DS4_OK && rest != NULL; number++) {
        char *line = rest, *end = strchr(rest, '\n');
        rest = end != NULL ? end + 1 : NULL;
        if (end != NULL) *end = '\0';
        line = trim(line);
        size_t n = strlen(line);
        if (n == 0 || line[0] == '#') continue;
        if (line[0] == '[' && line[n - 1] == ']') {
            mine = word_equals(line + 1, n - 2, program->name, strlen(program->name));
        } else if (mine) {
            ds4_error reason = {0};
            status = apply_config_line(program, line, values, parsed, &reason);
            if (status != DS4_OK)
                ds4_fail(error, status, "%s, line %d: %.380s", path, number, reason.message);
        }
    }
    return status;
}

/* ---- the command line ---- */

/* Edit distance, for "did you mean"; names longer than the row are never close. */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
    size_t row[64];
    if (m >= sizeof row / sizeof row[0]) return SIZE_MAX;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

static ds4_status fail_unknown(const ds4_program *program, const char *name, size_t length,
                               ds4_error *error) {
    const char *nearest = NULL;
    size_t nearest_length = 0, nearest_distance = length / 3 + 1;
    for (size_t i = 0; i < program->n_options; i++) {
        const char *list = program->options[i].names, *word;
        size_t n;
        while ((word = next_word(&list, " ", &n)) != NULL) {
            if (program->options[i].later || n < 4) continue;
            bool prefix = length > 4 && n >= length && memcmp(word, name, length) == 0;
            size_t d = prefix ? 0 : distance(name, length, word, n);
            if (d >= nearest_distance) continue;
            nearest = word;
            nearest_length = n;
            nearest_distance = d;
        }
    }
    int shown = length < 100 ? (int)length : 100;
    if (nearest == NULL)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "unknown option: %.*s", shown, name);
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "unknown option: %.*s (did you mean %.*s?)", shown,
                    name, (int)nearest_length, nearest);
}

static bool is_document(const char *argument, ds4_options_action *action) {
    static const struct {
        const char *name;
        ds4_options_action action;
    } documents[] = {
        {"-h", DS4_OPTIONS_HELP},
        {"--help", DS4_OPTIONS_HELP},
        {"--help=man", DS4_OPTIONS_MAN},
        {"--help=markdown", DS4_OPTIONS_MARKDOWN},
        {"--help=completion", DS4_OPTIONS_COMPLETION},
        {"--version", DS4_OPTIONS_VERSION},
    };
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        if (strcmp(argument, documents[i].name) != 0) continue;
        *action = documents[i].action;
        return true;
    }
    return false;
}

static ds4_status parse_option(const ds4_program *program, int argc, char *const *argv, int *index,
                               void *values, ds4_options_parsed *parsed, ds4_error *error) {
    const char *argument = argv[*index], *value = "yes", *equals = strchr(argument, '=');
    size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    const ds4_option *option = find_option(program, argument, length);
    if (option == NULL && word_equals(argument, length, "--help", 6))
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "invalid value for --help: %.100s (man, markdown or completion)",
                        equals + 1);
    if (option == NULL) return fail_unknown(program, argument, length, error);

    char shown[64];
    snprintf(shown, sizeof shown, "%.*s", length < 60 ? (int)length : 60, argument);
    if (option->later) return set_value(program, option, shown, "", values, error);
    if (!takes_value(option)) {
        if (equals != NULL)
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "%s takes no value", shown);
    } else if (equals != NULL) {
        value = equals + 1;
    } else if (*index + 1 >= argc) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "missing value for %s", shown);
    } else {
        value = argv[++*index];
    }
    ds4_status status = set_value(program, option, shown, value, values, error);
    if (status == DS4_OK) parsed->origins[option - program->options] = DS4_ORIGIN_COMMAND_LINE;
    return status;
}

static ds4_status parse_arguments(const ds4_program *program, int argc, char *const *argv,
                                  void *values, ds4_options_parsed *parsed, ds4_error *error) {
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        bool is_option = !options_ended && argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_option && strcmp(argv[i], "--") == 0) {
            options_ended = true;
        } else if (is_option) {
            ds4_status status = parse_option(program, argc, argv, &i, values, parsed, error);
            if (status != DS4_OK) return status;
        } else if (parsed->n_operands >= program->max_operands ||
                   parsed->n_operands >= DS4_OPERANDS_MAX) {
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "unexpected argument: %.100s", argv[i]);
        } else {
            parsed->operands[parsed->n_operands++] = argv[i];
        }
    }
    if (parsed->n_operands < program->min_operands)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "missing argument: %s",
                        program->operands != NULL ? program->operands : "operand");
    return DS4_OK;
}

static ds4_status apply_defaults(const ds4_program *program, void *values,
                                 ds4_options_parsed *parsed, ds4_error *error) {
    if (program->n_options > DS4_OPTIONS_MAX)
        return ds4_fail(error, DS4_INTERNAL, "the option table of %s is too long", program->name);
    for (size_t i = 0; i < program->n_options; i++) {
        const ds4_option *option = &program->options[i];
        if (option->default_text == NULL || option->later) continue;
        ds4_status status =
            set_value(program, option, option->names, option->default_text, values, error);
        if (status != DS4_OK) return status;
        parsed->origins[i] = DS4_ORIGIN_DEFAULT;
    }
    return DS4_OK;
}

static ds4_status apply_environment(const ds4_program *program, void *values,
                                    ds4_options_parsed *parsed, ds4_error *error) {
    for (size_t i = 0; i < program->n_options; i++) {
        const ds4_option *option = &program->options[i];
        const char *value =
            option->environment != NULL ? ds4_environment(option->environment) : NULL;
        if (value == NULL) continue;
        ds4_status status = set_value(program, option, option->environment, value, values, error);
        if (status != DS4_OK) return status;
        parsed->origins[i] = DS4_ORIGIN_ENVIRONMENT;
    }
    return DS4_OK;
}

/* --help works whatever else stands on the line, but not as the value of an option. */
static bool asks_for_document(const ds4_program *program, int argc, char *const *argv,
                              ds4_options_action *action) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (is_document(argv[i], action)) return true;
        const ds4_option *option = find_option(program, argv[i], strlen(argv[i]));
        if (option != NULL && takes_value(option)) i++;
    }
    return false;
}

ds4_status ds4_options_parse(const ds4_program *program, int argc, char *const *argv, void *values,
                             ds4_options_parsed *parsed, ds4_error *error) {
    ds4_strbuf path = {0};
    *parsed = (ds4_options_parsed){0};
    ds4_status status = apply_defaults(program, values, parsed, error);
    if (status != DS4_OK) goto done;
    if (asks_for_document(program, argc, argv, &parsed->action)) goto done;
    if (program->reads_config) ds4_options_config_path(&path);
    if (path.n > 0 && !path.failed)
        status = apply_config(program, path.data, values, parsed, error);
    if (status != DS4_OK) goto done;
    status = apply_environment(program, values, parsed, error);
    if (status != DS4_OK) goto done;
    status = parse_arguments(program, argc, argv, values, parsed, error);
done:
    ds4_strbuf_free(&path);
    return status;
}

void ds4_options_free(ds4_options_parsed *parsed) {
    free(parsed->config);
    parsed->config = NULL;
}

ds4_option_origin ds4_options_origin(const ds4_program *program, const ds4_options_parsed *parsed,
                                     const char *name) {
    const ds4_option *option = find_option(program, name, strlen(name));
    return option != NULL ? parsed->origins[option - program->options] : DS4_ORIGIN_NONE;
}
