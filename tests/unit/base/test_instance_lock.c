/* The lock that keeps a second large engine away. */
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

#include "base/instance_lock.h"

static void test_lock(void **state) {
    (void)state;
    char directory[] = "/tmp/ds4-lock-XXXXXX";
    assert_non_null(mkdtemp(directory));
    ds4_strbuf path = {0}, link_path = {0};
    ds4_error error = {0};
    int first = -1, second = -1;
    ds4_instance_lock_path(directory, &path);
    assert_int_equal(ds4_instance_lock_take(path.data, &first, &error), DS4_OK);
    struct stat about;
    assert_int_equal(stat(path.data, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    /* flock locks belong to the open file: a second opening is another holder. */
    assert_int_equal(ds4_instance_lock_take(path.data, &second, &error), DS4_BUSY);
    char expected[96];
    snprintf(expected, sizeof expected,
             "another ds4 process is already running (pid %ld); refusing to start", (long)getpid());
    assert_string_equal(error.message, expected);
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(ds4_instance_lock_take(path.data, &second, &error), DS4_OK);
    close(second);

    ds4_strbuf_printf(&link_path, "%s/link", directory);
    assert_int_equal(symlink(path.data, link_path.data), 0);
    assert_int_equal(ds4_instance_lock_take(link_path.data, &second, &error), DS4_IO);
    assert_int_equal(ds4_instance_lock_take("/nonexistent/x", &second, &error), DS4_IO);
    unlink(link_path.data);
    unlink(path.data);
    rmdir(directory);
    ds4_strbuf_clear(&path);
    ds4_instance_lock_path(NULL, &path);
    assert_int_equal(strncmp(path.data, "/tmp/ds4-", 9), 0);
    ds4_strbuf_free(&path);
    ds4_strbuf_free(&link_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lock)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
