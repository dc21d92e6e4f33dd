#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/options.h"

typedef struct settings {
    const char *model, *prompt;
    int64_t ctx, delta;
    uint64_t seed;
    double temp;
    int think, policy;
    bool warm;
} settings;

static const ds4_option options[] = {
    {.group = "Model",
     .names = "--model -m",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     .default_text = "a.gguf",
     .environment = "DS4_TEST_MODEL",
     .config_key = "model",
     .offset = offsetof(settings, model),
     .help = "model | to load"},
    {.names = "--warm-weights",
     .kind = DS4_OPTION_FLAG,
     .environment = "DS4_TEST_WARM",
     .config_key = "warm-weights",
     .offset = offsetof(settings, warm),
     .help = "read all weights first"},
    {.group = "Generation",
     .names = "--ctx -c",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = INT32_MAX,
     .default_text = "32768",
     .environment = "DS4_TEST_CTX",
     .config_key = "ctx",
     .offset = offsetof(settings, ctx),
     .help = "context size in tokens"},
    {.names = "--delta",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .offset = offsetof(settings, delta),
     .help = "any integer"},
    {.names = "--seed",
     .kind = DS4_OPTION_UINT64,
     .argument = "N",
     .default_text = "42",
     .offset = offsetof(settings, seed),
     .help = "seed of the sampler"},
    {.names = "--temp",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = 0,
     .max = 100,
     .default_text = "1",
     .config_key = "temp",
     .offset = offsetof(settings, temp),
     .help = "temperature, which is a long story that has to be wrapped because it does not fit"},
    {.names = "--prompt -p",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     .offset = offsetof(settings, prompt),
     .help = "one prompt"},
    {.names = "--think",
     .kind = DS4_OPTION_SET,
     .set_value = 1,
     .offset = offsetof(settings, think),
     .help = "think first"},
    {.names = "--nothink",
     .kind = DS4_OPTION_SET,
     .set_value = 2,
     .environment = "DS4_TEST_NOTHINK",
     .offset = offsetof(settings, think),
     .help = "answer at once"},
    {.names = "--policy",
     .kind = DS4_OPTION_CHOICE,
     .argument = "MODE",
     .choices = "final-answer=final=tool-safe|decoding=decode|off=none",
     .default_text = "final-answer",
     .offset = offsetof(settings, policy),
     .help = "when to steer"},
    {.names = "--mtp", .argument = "FILE", .later = true, .help = "draft model"},
};

static const ds4_program program = {
    .name = "prog",
    .summary = "a program of this test with a summary that is so long that it "
               "must be wrapped too",
    .operands = "FILE",
    .description = "First.\n\n.Second with \\ and -.",
    DS4_PROGRAM_OPTIONS(options),
    .max_operands = 2,
    .reads_config = true};

typedef struct outcome {
    settings values;
    ds4_options_parsed parsed;
    ds4_error error;
    ds4_status status;
} outcome;

/* Arguments are one string, divided by single spaces; "~" stands for an empty argument. */
static outcome parse(const char *line) {
    static char buffer[1024];
    char *argv[32] = {(char[]){"prog"}};
    int argc = 1;
    outcome result = {0};
    snprintf(buffer, sizeof buffer, "%s", line);
    for (char *word = strtok(buffer, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "~") == 0 ? word + 1 : word;
    result.status =
        ds4_options_parse(&program, argc, argv, &result.values, &result.parsed, &result.error);
    return result;
}

static void expect_error(const char *line, const char *message) {
    outcome result = parse(line);
    assert_int_equal(result.status, DS4_INVALID_ARGUMENT);
    assert_string_equal(result.error.message, message);
    ds4_options_free(&result.parsed);
}

static settings expect_ok(const char *line) {
    outcome result = parse(line);
    if (result.status != DS4_OK) print_message("%s: %s\n", line, result.error.message);
    assert_int_equal(result.status, DS4_OK);
    assert_int_equal(result.parsed.action, DS4_OPTIONS_RUN);
    ds4_options_free(&result.parsed);
    return result.values;
}

static int clean_environment(void **state) {
    (void)state;
    static const char *const names[] = {"DS4_TEST_MODEL", "DS4_TEST_CTX", "DS4_TEST_WARM",
                                        "DS4_TEST_NOTHINK", "DS4_CONFIG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unsetenv(names[i]);
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    return 0;
}

static void test_defaults(void **state) {
    (void)state;
    settings s = expect_ok("");
    assert_string_equal(s.model, "a.gguf");
    assert_null(s.prompt);
    assert_int_equal(s.ctx, 32768);
    assert_int_equal(s.seed, 42);
    assert_true(s.temp == 1.0);
    assert_int_equal(s.think, 0);
    assert_int_equal(s.policy, 0);
    assert_false(s.warm);
}

static void test_every_form_of_a_value(void **state) {
    (void)state;
    assert_int_equal(expect_ok("--ctx 5").ctx, 5);
    assert_int_equal(expect_ok("--ctx=6").ctx, 6);
    assert_int_equal(expect_ok("-c 7").ctx, 7);
    assert_int_equal(expect_ok("-c 7 --ctx 8").ctx, 8);
    assert_int_equal(expect_ok("--ctx 2147483647").ctx, 2147483647);
    assert_int_equal(expect_ok("--delta -9223372036854775808").delta, INT64_MIN);
    assert_true(expect_ok("--seed 18446744073709551615").seed == UINT64_MAX);
    assert_true(expect_ok("--seed 0").seed == 0);
    assert_true(expect_ok("--temp .25").temp == 0.25);
    assert_true(expect_ok("--temp 1e-3").temp == 1e-3);
    assert_string_equal(expect_ok("-p --nothink").prompt, "--nothink");
    assert_string_equal(expect_ok("--prompt=a=b").prompt, "a=b");
    assert_string_equal(expect_ok("--prompt=").prompt, "");
    assert_string_equal(expect_ok("-p ~").prompt, "");
    assert_string_equal(expect_ok("-p --help").prompt, "--help");
    assert_int_equal(expect_ok("--nothink --think").think, 1);
    assert_int_equal(expect_ok("--think --nothink").think, 2);
    assert_int_equal(expect_ok("--policy tool-safe").policy, 0);
    assert_int_equal(expect_ok("--policy decode").policy, 1);
    assert_int_equal(expect_ok("--policy=none").policy, 2);
    assert_true(expect_ok("--warm-weights").warm);
}

static void test_mistakes(void **state) {
    (void)state;
    static const char *const ctx = "an integer from 1 to 2147483647";
    static const char *const bad_ctx[] = {
        "0", "-1", "4k", "1.5", "2147483648", "0x10", "+5", "~", "99999999999999999999", "1e3"};
    for (size_t i = 0; i < sizeof bad_ctx / sizeof bad_ctx[0]; i++) {
        char line[64], message[160];
        const char *shown = bad_ctx[i][0] == '~' ? "" : bad_ctx[i];
        snprintf(line, sizeof line, "--ctx %s", bad_ctx[i]);
        snprintf(message, sizeof message, "invalid value for --ctx: %s (%s)", shown, ctx);
        expect_error(line, message);
    }
    static const char *const bad_temp[] = {"nan",  "NaN",   "inf", "-inf", "0x1p3",
                                           "-0.5", "100.5", "1,5", "1e999"};
    for (size_t i = 0; i < sizeof bad_temp / sizeof bad_temp[0]; i++) {
        char line[64], message[160];
        snprintf(line, sizeof line, "--temp=%s", bad_temp[i]);
        snprintf(message, sizeof message, "invalid value for --temp: %s (a number from 0 to 100)",
                 bad_temp[i]);
        expect_error(line, message);
    }
    expect_error("--seed -1", "invalid value for --seed: -1 (an integer from 0 to 2^64-1)");
    expect_error("--seed 18446744073709551616",
                 "invalid value for --seed: 18446744073709551616 (an integer from 0 to 2^64-1)");
    expect_error("--policy never",
                 "invalid value for --policy: never (final-answer, decoding or off)");
    expect_error("--policy final-answer=final",
                 "invalid value for --policy: final-answer=final (final-answer, decoding or off)");
    expect_error("--bogus", "unknown option: --bogus");
    expect_error("--modle x", "unknown option: --modle (did you mean --model?)");
    expect_error("--warm=1", "unknown option: --warm (did you mean --warm-weights?)");
    expect_error("-x", "unknown option: -x");
    expect_error("-m", "missing value for -m");
    expect_error("--warm-weights=1", "--warm-weights takes no value");
    expect_error("--mtp x", "--mtp: not in this version of prog (draft model)");
    expect_error("--help=me", "invalid value for --help: me (man, markdown or completion)");
    expect_error("a b c", "unexpected argument: c");
}

static void test_operands(void **state) {
    (void)state;
    outcome result = parse("a -c 5 -- --ctx");
    assert_int_equal(result.status, DS4_OK);
    assert_int_equal(result.parsed.n_operands, 2);
    assert_string_equal(result.parsed.operands[0], "a");
    assert_string_equal(result.parsed.operands[1], "--ctx");

    ds4_program strict = program;
    strict.min_operands = 1;
    char *argv[] = {(char[]){"prog"}};
    settings values = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    assert_int_equal(ds4_options_parse(&strict, 1, argv, &values, &parsed, &error),
                     DS4_INVALID_ARGUMENT);
    assert_string_equal(error.message, "missing argument: FILE");
}

static void test_environment(void **state) {
    (void)state;
    setenv("DS4_TEST_MODEL", "env.gguf", 1);
    setenv("DS4_TEST_WARM", "on", 1);
    setenv("DS4_TEST_NOTHINK", "0", 1);
    settings s = expect_ok("");
    assert_string_equal(s.model, "env.gguf");
    assert_true(s.warm);
    assert_int_equal(s.think, 0);
    assert_string_equal(expect_ok("-m x").model, "x");
    setenv("DS4_TEST_MODEL", "", 1);
    assert_string_equal(expect_ok("").model, "a.gguf");
    setenv("DS4_TEST_NOTHINK", "YES", 1);
    assert_int_equal(expect_ok("").think, 2);
    setenv("DS4_TEST_WARM", "perhaps", 1);
    expect_error("", "invalid value for DS4_TEST_WARM: perhaps (yes or no)");
    unsetenv("DS4_TEST_WARM");
    setenv("DS4_TEST_CTX", "many", 1);
    expect_error("", "invalid value for DS4_TEST_CTX: many (an integer from 1 to 2147483647)");
    assert_int_equal(parse("--help").parsed.action, DS4_OPTIONS_HELP);
}

static void write_config(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_configuration_file(void **state) {
    (void)state;
    char path[] = "/tmp/ds4-options-XXXXXX", message[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    setenv("DS4_CONFIG", path, 1);
    write_config(path, "# all programs\nmodel = dir with blank/m.gguf \r\n\n[other]\nbogus = 1\n"
                       "[prog]\nctx=77\nwarm-weights = yes");
    outcome result = parse("--temp 3");
    assert_int_equal(result.status, DS4_OK);
    assert_string_equal(result.values.model, "dir with blank/m.gguf");
    assert_int_equal(result.values.ctx, 77);
    assert_true(result.values.warm);
    assert_int_equal(ds4_options_origin(&program, &result.parsed, "-m"), DS4_ORIGIN_CONFIG);
    assert_int_equal(ds4_options_origin(&program, &result.parsed, "--temp"),
                     DS4_ORIGIN_COMMAND_LINE);
    assert_int_equal(ds4_options_origin(&program, &result.parsed, "--seed"), DS4_ORIGIN_DEFAULT);
    assert_int_equal(ds4_options_origin(&program, &result.parsed, "--prompt"), DS4_ORIGIN_NONE);
    ds4_options_free(&result.parsed);

    setenv("DS4_TEST_CTX", "78", 1);
    assert_int_equal(expect_ok("").ctx, 78);
    assert_int_equal(expect_ok("-c 79").ctx, 79);

    static const struct {
        const char *text, *message;
        ds4_status status;
    } bad[] = {
        {"\nctx = 0", "line 2: invalid value for ctx: 0 (an integer from 1 to 2147483647)",
         DS4_INVALID_ARGUMENT},
        {"colour = red",
         "line 1: unknown key for prog: colour (keys of one program belong below its [name])",
         DS4_INVALID_ARGUMENT},
        {"[prog]\nctx 5", "line 2: expected `key = value`, found: ctx 5", DS4_FORMAT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_config(path, bad[i].text);
        result = parse("");
        assert_int_equal(result.status, bad[i].status);
        snprintf(message, sizeof message, "%s, %s", path, bad[i].message);
        assert_string_equal(result.error.message, message);
        ds4_options_free(&result.parsed);
    }
    unlink(path);
    assert_int_equal(parse("").status, DS4_IO); /* named, but absent */
}

static void test_set_one(void **state) {
    (void)state;
    settings s = {0};
    ds4_error error = {0};
    assert_int_equal(ds4_options_set(&program, "--temp", "0.5", &s, &error), DS4_OK);
    assert_true(s.temp == 0.5);
    assert_int_equal(ds4_options_set(&program, "--ctx", "abc", &s, &error), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_options_set(&program, "--none", "1", &s, &error), DS4_INVALID_ARGUMENT);
    assert_string_equal(error.message, "unknown option: --none");
}

static char *document(ds4_options_action action, unsigned columns) {
    ds4_strbuf text = {0};
    ds4_options_document(&program, action, columns, &text);
    char *taken = ds4_strbuf_take(&text);
    assert_non_null(taken);
    return taken;
}

static void test_help_is_wrapped_and_complete(void **state) {
    (void)state;
    char *text = document(DS4_OPTIONS_HELP, 80);
    assert_non_null(strstr(text, "usage: prog [options] FILE\n"));
    assert_non_null(strstr(text, "\nGeneration:\n  -c, --ctx N "));
    assert_non_null(strstr(text, "context size in tokens; at least 1 (default"));
    assert_non_null(strstr(text, "when to steer: final-answer, decoding or off"));
    assert_null(strstr(text, "--mtp"));
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
}

static void test_other_documents(void **state) {
    (void)state;
    char *man = document(DS4_OPTIONS_MAN, 0);
    assert_int_equal(strncmp(man, ".TH PROG 1 ", 11), 0);
    assert_non_null(strstr(man, "First.\n.PP\n\\&.Second with \\e and \\-."));
    assert_non_null(strstr(man, ".B \\-c, \\-\\-ctx N\n"));
    assert_non_null(strstr(man, "draft model. Not in this version"));
    free(man);
    char *page = document(DS4_OPTIONS_MARKDOWN, 0);
    assert_non_null(strstr(
        page,
        "| `-m`, `--model FILE` | `a.gguf` | DS4_TEST_MODEL | model | model \\| to load |\n"));
    free(page);
    char *words = document(DS4_OPTIONS_COMPLETION, 0);
    assert_non_null(strstr(words, "--ctx=\n-c=\n"));
    assert_non_null(strstr(words, "--think\n"));
    assert_null(strstr(words, "--mtp"));
    free(words);
    char *version = document(DS4_OPTIONS_VERSION, 0);
    assert_string_equal(version, "prog (pi-ds4) " DS4_VERSION "\n");
    free(version);
}

static void test_documents_are_asked_for_anywhere(void **state) {
    (void)state;
    assert_int_equal(parse("-h").parsed.action, DS4_OPTIONS_HELP);
    assert_int_equal(parse("--bogus --help").parsed.action, DS4_OPTIONS_HELP);
    assert_int_equal(parse("--help=man").parsed.action, DS4_OPTIONS_MAN);
    assert_int_equal(parse("--help=markdown").parsed.action, DS4_OPTIONS_MARKDOWN);
    assert_int_equal(parse("--help=completion").parsed.action, DS4_OPTIONS_COMPLETION);
    assert_int_equal(parse("--version").parsed.action, DS4_OPTIONS_VERSION);
    assert_int_equal(parse("-- --help").parsed.action, DS4_OPTIONS_RUN);
}

static void test_choice_names(void **state) {
    (void)state;
    const ds4_option *policy = &options[9];
    char *name = ds4_options_choice_name(policy, 1);
    assert_string_equal(name, "decoding");
    free(name);
    assert_null(ds4_options_choice_name(policy, 3));
    assert_null(ds4_options_choice_name(&options[0], 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, clean_environment),
        cmocka_unit_test_setup(test_every_form_of_a_value, clean_environment),
        cmocka_unit_test_setup(test_mistakes, clean_environment),
        cmocka_unit_test_setup(test_operands, clean_environment),
        cmocka_unit_test_setup(test_environment, clean_environment),
        cmocka_unit_test_setup(test_configuration_file, clean_environment),
        cmocka_unit_test_setup(test_set_one, clean_environment),
        cmocka_unit_test_setup(test_help_is_wrapped_and_complete, clean_environment),
        cmocka_unit_test_setup(test_other_documents, clean_environment),
        cmocka_unit_test_setup(test_documents_are_asked_for_anywhere, clean_environment),
        cmocka_unit_test_setup(test_choice_names, clean_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
