/* verify finds what was broken on purpose in a good file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "temporary.h"

#include "gguf-tool/tool.h"
#include "gguf-tool/verify.h"

static uint8_t *model;
static size_t n_model;
static ds4_gguf *good;

static int make_model(void **state) {
    if (make_temporary(state) != 0) return 1;
    char *argv[] = {"synth", "-o", (char *)(uintptr_t)in_temporary("good.gguf"), NULL};
    if (ds4_tool_synth(3, argv) != EXIT_OK) return 1;
    model = read_bytes(in_temporary("good.gguf"), &n_model);
    return ds4_gguf_open(in_temporary("good.gguf"), NULL, &good, NULL) != DS4_OK;
}

static int drop_model(void **state) {
    ds4_gguf_close(good);
    free(model);
    return remove_temporary(state);
}

static uint64_t problems_of(const uint8_t *bytes, size_t n) {
    ds4_findings findings = {0};
    ds4_gguf *gguf = NULL;
    ds4_error error = {0};
    assert_int_equal(ds4_gguf_open_memory(bytes, n, NULL, &gguf, &error), DS4_OK);
    assert_int_equal(ds4_verify_deep(gguf, 2, &findings, &error), DS4_OK);
    ds4_gguf_close(gguf);
    return findings.n_problems;
}

/* Overwrites bytes of one payload, looks, and puts them back. */
static void expect_found(const char *tensor, size_t at, const void *bytes, size_t n) {
    const ds4_gguf_tensor *t = ds4_gguf_find_tensor(good, tensor);
    assert_non_null(t);
    uint8_t kept[8];
    uint8_t *place = model + t->file_offset + at;
    memcpy(kept, place, n);
    memcpy(place, bytes, n);
    uint64_t found = problems_of(model, n_model);
    memcpy(place, kept, n);
    if (found != 1) fail_msg("%s: %d problems instead of 1", tensor, (int)found);
}

static void test_deep(void **state) {
    (void)state;
    assert_int_equal(problems_of(model, n_model), 0);
    expect_found("output_norm.weight", 8, "\0\0\x80\x7F", 4);        /* infinity */
    expect_found("output_norm.weight", 8, "\1\0\x80\xFF", 4);        /* NaN */
    expect_found("token_embd.weight", 100, "\0\x7C", 2);             /* infinity */
    expect_found("output.weight", 34 * 5, "\1\xFE", 2);              /* scale NaN */
    expect_found("blk.0.ffn_gate_exps.weight", 66 * 9, "\0\x7C", 2); /* scale infinite */
    expect_found("blk.3.ffn_down_exps.weight", 84 * 2 + 80, "\0\x7C", 2);
    expect_found("blk.3.ffn_down_exps.weight", 84 * 2 + 82, "\0\xFC", 2);
    expect_found("blk.1.ffn_gate_tid2eid.weight", 12, "\x08\0\0\0", 4); /* 8 experts: 0..7 */
    expect_found("blk.1.ffn_gate_tid2eid.weight", 12, "\xFF\xFF\xFF\xFF", 4);
}

static size_t find_text(const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i + n < n_model; i++) {
        if (memcmp(model + i, text, n) == 0) return i;
    }
    fail_msg("%s is not in the model", text);
    return 0;
}

static void test_tokenizer(void **state) {
    (void)state;
    size_t at = find_text("[PAD319]");
    model[at + 6] = '8'; /* now there are two [PAD318] */
    assert_int_equal(problems_of(model, n_model), 1);
    model[at + 6] = '9';
    at = find_text("h e") + 1;
    model[at] = '_'; /* a merge of one part */
    assert_int_equal(problems_of(model, n_model), 1);
    model[at] = ' ';
    assert_int_equal(problems_of(model, n_model), 0);
}

static int verify_file(const uint8_t *bytes, size_t n) {
    write_bytes(in_temporary("bad.gguf"), bytes, n);
    char *argv[] = {"verify", (char *)(uintptr_t)in_temporary("bad.gguf"), NULL};
    return ds4_tool_verify(2, argv);
}

static void test_exit_statuses(void **state) {
    (void)state;
    assert_int_equal(verify_file(model, n_model), EXIT_OK);
    assert_int_equal(verify_file(model, n_model - 5000), EXIT_FAILED);
    assert_int_equal(verify_file(model, 10), EXIT_FAILED);
    size_t at =
        find_text("deepseek4.expert_used_count") + strlen("deepseek4.expert_used_count") + 4;
    model[at] = 99; /* more experts used than there are */
    assert_int_equal(verify_file(model, n_model), EXIT_FAILED);
    model[at] = 3;
    at = find_text("blk.2.attn_kv.weight");
    model[at] = 'x'; /* a tensor is missing */
    assert_int_equal(verify_file(model, n_model), EXIT_FAILED);
    model[at] = 'b';
    char *absent[] = {"verify", "/nonexistent.gguf", NULL};
    assert_int_equal(ds4_tool_verify(2, absent), EXIT_FAILED);
    char *nothing[] = {"verify", NULL}, *unknown[] = {"verify", "--depp", "x", NULL};
    assert_int_equal(ds4_tool_verify(1, nothing), EXIT_USAGE);
    assert_int_equal(ds4_tool_verify(3, unknown), EXIT_USAGE);
}

/* A file that is cut short after it was opened: its pages are gone, and touching one raises SIGBUS.
 */
static void test_cut_short_meanwhile(void **state) {
    (void)state;
    const char *path = in_temporary("short.gguf");
    ds4_gguf *gguf = NULL;
    int ends[2], status;
    char said[128] = "";
    write_bytes(path, model, n_model);
    assert_int_equal(ds4_gguf_open(path, NULL, &gguf, NULL), DS4_OK);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        ds4_findings findings = {0};
        dup2(ends[1], STDERR_FILENO);
        ds4_tool_watch_mapped_files();
        ds4_verify_deep(gguf, 1, &findings, NULL);
        _exit(99);
    }
    close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILED);
    assert_non_null(strstr(said, "changed on disk while it was read"));
    close(ends[0]);
    ds4_gguf_close(gguf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_cut_short_meanwhile),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
