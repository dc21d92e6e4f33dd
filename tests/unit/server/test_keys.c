/* API keys: what a file may hold, what matches, and that a bad file changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/keys.h"

static char path[] = "/tmp/ds4-keys-XXXXXX";

static void write_file(const char *text, mode_t mode) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static bool matches(const ds4_keys *keys, const char *text) {
    return ds4_keys_match(keys, (ds4_http_text){text, strlen(text)});
}

static void test_file(void **state) {
    (void)state;
    ds4_keys keys = {0};
    ds4_error error = {0};
    bool exposed = false;
    write_file("# people\nalpha\n\n  beta\t\r\n#gamma\ndelta", 0600);
    assert_int_equal(ds4_keys_read(&keys, path, &exposed, &error), DS4_OK);
    assert_false(exposed);
    assert_int_equal(keys.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(matches(&keys, (const char *[]){"alpha", "beta", "delta"}[i]));
    static const char *const wrong[] = {"",      "alph",   "alphaa",      "alphaalpha", "#gamma",
                                        "gamma", "people", "alpha\nbeta", "ALPHA",      "delt"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(matches(&keys, wrong[i]));
    /* Keys one behind the other, with what lies between them, are no key. */
    assert_false(ds4_keys_match(&keys, (ds4_http_text){keys.text.data, keys.text.n}));

    static const char *const bad[] = {"", "\n\n# nothing\n", "one two\n",
                                      "good\nb\x01"
                                      "ad\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i], 0600);
        assert_int_equal(ds4_keys_read(&keys, path, &exposed, &error), DS4_FORMAT);
        assert_non_null(strstr(error.message, path));
        assert_true(matches(&keys, "beta"));
    }
    write_file("other\n", 0644);
    assert_int_equal(ds4_keys_read(&keys, path, &exposed, &error), DS4_OK);
    assert_true(exposed);
    assert_true(matches(&keys, "other"));
    assert_false(matches(&keys, "beta"));
    assert_int_equal(ds4_keys_read(&keys, "/nonexistent/keys", &exposed, &error), DS4_IO);
    ds4_keys_free(&keys);
}

static void test_one(void **state) {
    (void)state;
    ds4_keys keys = {0};
    ds4_error error = {0};
    assert_false(matches(&keys, ""));
    assert_int_equal(ds4_keys_set(&keys, "", &error), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_keys_set(&keys, "sesame", &error), DS4_OK);
    assert_true(matches(&keys, "sesame"));
    assert_false(matches(&keys, "sesam"));
    assert_false(matches(&keys, "sesamesesame"));
    ds4_keys_free(&keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_one),
    };
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
