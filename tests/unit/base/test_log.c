/* Log records: one line, one write, nothing that a client can forge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static void test_record(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ds4_log log;
    ds4_log_open(&log, ends[1], "prog");
    assert_false(log.colour);
    ds4_log_write(&log, DS4_LOG_ERROR, "a %d\nforged: \033[31m%s", 7, "x\x7f");
    char line[256] = {0};
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 15);
    /* MMDD HH:MM:SS and a space, then the program. */
    for (int i = 0; i < 14; i++) {
        if (i == 4 || i == 13)
            assert_int_equal(line[i], ' ');
        else if (i == 7 || i == 10)
            assert_int_equal(line[i], ':');
        else
            assert_true(line[i] >= '0' && line[i] <= '9');
    }
    assert_string_equal(line + 14, "prog: a 7\\x0aforged: \\x1b[31mx\\x7f\n");
    close(ends[0]);
    close(ends[1]);
}

static void test_long_message_is_cut(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ds4_log log;
    ds4_log_open(&log, ends[1], "prog");
    char message[5000], record[8192];
    memset(message, '\n', sizeof message - 1); /* each becomes four characters */
    message[sizeof message - 1] = '\0';
    ds4_log_write(&log, DS4_LOG_INFO, "%s", message);
    ssize_t n = read(ends[0], record, sizeof record);
    assert_true(n > 1000 && n < 4096);
    assert_int_equal(record[n - 1], '\n');
    assert_ptr_equal(memchr(record, '\n', (size_t)n), record + n - 1);
    ds4_log_write(NULL, DS4_LOG_INFO, "nowhere");
    close(ends[0]);
    close(ends[1]);
}

static void test_json(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ds4_log log;
    ds4_log_open(&log, ends[1], "prog");
    log.json = true;
    ds4_log_request(&log, DS4_LOG_WARNING, "req_1", "say \"%s\" \\ \n", "\xc3\xa4\xff");
    char line[512] = {0};
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "{\"ts\":\"20"));
    assert_non_null(
        strstr(line, "Z\",\"level\":\"warning\",\"event\":\"warning\",\"program\":\"prog\","
                     "\"request_id\":\"req_1\",\"message\":\"say \\\"\xc3\xa4\xef\xbf\xbd\\\" "
                     "\\\\ \\\\x0a\"}\n"));
    char message[5000], record[8192];
    memset(message, '"', sizeof message - 1); /* each becomes two characters */
    message[sizeof message - 1] = '\0';
    ds4_log_write(&log, DS4_LOG_INFO, "%s", message);
    ssize_t n = read(ends[0], record, sizeof record);
    assert_true(n > 3000 && n < (ssize_t)sizeof record);
    assert_memory_equal(record + n - 3, "\"}\n", 3);
    close(ends[0]);
    close(ends[1]);
}

static void test_levels(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ds4_log log;
    ds4_log_open(&log, ends[1], "prog");
    ds4_log_write(&log, DS4_LOG_DEBUG, "one");
    log.level = DS4_LOG_LEVEL_WARNING;
    ds4_log_write(&log, DS4_LOG_INFO, "two");
    ds4_log_write(&log, DS4_LOG_CACHE, "three");
    ds4_log_request(&log, DS4_LOG_ERROR, "req_2", "four");
    log.level = DS4_LOG_LEVEL_DEBUG;
    ds4_log_write(&log, DS4_LOG_DEBUG, "five");
    char text[256] = {0};
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_null(strstr(text, "one"));
    assert_null(strstr(text, "two"));
    assert_null(strstr(text, "three"));
    assert_non_null(strstr(text, "prog: four id=req_2\n"));
    assert_non_null(strstr(text, "prog: five\n"));
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_long_message_is_cut),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
