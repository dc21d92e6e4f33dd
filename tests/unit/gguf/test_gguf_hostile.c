/* Malformed files, one defect each: refused with one sentence that says where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gguf_bytes.h"

static const uint64_t d32[] = {32};

/* A tensor record with a payload behind it, after `n_values` values that the caller has put. */
static void end_with_tensor(ds4_strbuf *b, const char *name, uint32_t n_dims, const uint64_t *ne,
                            uint32_t type, uint64_t offset) {
    put_tensor(b, name, n_dims, ne, type, offset);
    pad_to(b, 32);
    put_zeros(b, 256);
}

static void one_tensor(ds4_strbuf *b, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                       uint64_t offset) {
    put_header(b, 3, 1, 0);
    end_with_tensor(b, "t", n_dims, ne, type, offset);
}

static void one_value(ds4_strbuf *b, const char *key, uint32_t type) {
    put_header(b, 3, 0, 1);
    put_key(b, key, type);
}

static void magic(ds4_strbuf *b) {
    ds4_strbuf_append(b, "GGML\3\0\0\0", 8), put_zeros(b, 32);
}
static void short_file(ds4_strbuf *b) {
    ds4_strbuf_append(b, "GGUF\3\0\0\0", 8), put_zeros(b, 15);
}
static void version_0(ds4_strbuf *b) {
    put_header(b, 0, 0, 0);
}
static void version_1(ds4_strbuf *b) {
    put_header(b, 1, 0, 0);
}
static void version_4(ds4_strbuf *b) {
    put_header(b, 4, 0, 0);
}
static void big_endian(ds4_strbuf *b) {
    put_header(b, 0x03000000, 0, 0);
}

static void many_values(ds4_strbuf *b) {
    put_header(b, 3, 0, 4), put_zeros(b, 51);
} /* 4 records need 52 */
static void endless_values(ds4_strbuf *b) {
    put_header(b, 3, 0, UINT64_MAX), put_zeros(b, 100);
}
static void many_tensors(ds4_strbuf *b) {
    put_header(b, 3, 4, 0), put_zeros(b, 95);
} /* 4 records need 96 */
static void endless_tensors(ds4_strbuf *b) {
    put_header(b, 3, UINT64_MAX / 24, 0), put_zeros(b, 100);
}
static void million_tensors(ds4_strbuf *b) {
    put_header(b, 3, (1 << 20) + 1, 0);
    put_zeros(b, 24 * ((1 << 20) + 1));
}

static void endless_key(ds4_strbuf *b) {
    put_header(b, 3, 0, 1), put_u64(b, UINT64_MAX), put_zeros(b, 100);
}
static void key_past_end(ds4_strbuf *b) {
    put_header(b, 3, 0, 1), put_u64(b, 1000), put_zeros(b, 100);
}
static void long_key(ds4_strbuf *b) {
    put_header(b, 3, 0, 1), put_u64(b, 65536), put_zeros(b, 70000);
}
static void empty_key(ds4_strbuf *b) {
    one_value(b, "", DS4_GGUF_U8), put_u8(b, 1);
}
static void latin_key(ds4_strbuf *b) {
    one_value(b, "caf\xE9", DS4_GGUF_U8), put_u8(b, 1);
}
static void overlong_key(ds4_strbuf *b) {
    one_value(b, "a\xC0\xAF", DS4_GGUF_U8), put_u8(b, 1);
}
static void surrogate_key(ds4_strbuf *b) {
    one_value(b, "a\xED\xA0\x80", DS4_GGUF_U8), put_u8(b, 1);
}
static void nul_key(ds4_strbuf *b) {
    put_header(b, 3, 0, 1), put_u64(b, 3), ds4_strbuf_append(b, "a\0b", 3);
    put_u32(b, DS4_GGUF_U8), put_u8(b, 1);
}
static void unknown_value(ds4_strbuf *b) {
    one_value(b, "k", 13), put_zeros(b, 16);
}
static void bad_bool(ds4_strbuf *b) {
    one_value(b, "k", DS4_GGUF_BOOL), put_u8(b, 2);
}
static void cut_scalar(ds4_strbuf *b) {
    one_value(b, "k", DS4_GGUF_F64), put_zeros(b, 7);
}
static void huge_string(ds4_strbuf *b) {
    one_value(b, "k", DS4_GGUF_STRING), put_u64(b, (64u << 20) + 1), put_zeros(b, 9);
}
static void string_past_end(ds4_strbuf *b) {
    one_value(b, "k", DS4_GGUF_STRING), put_u64(b, 10), put_zeros(b, 9);
}

static void start_array(ds4_strbuf *b, uint32_t type, uint64_t count) {
    put_header(b, 3, 0, 1), put_array_key(b, "k", type, count);
}
static void nested_array(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_ARRAY, 1), put_zeros(b, 64);
}
static void unknown_array(ds4_strbuf *b) {
    start_array(b, 99, 1), put_zeros(b, 64);
}
static void endless_array(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_U64, UINT64_MAX / 8 + 2), put_zeros(b, 64);
}
static void array_cap(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_U8, (16 << 20) + 1), put_zeros(b, (16 << 20) + 1);
}
static void array_past_end(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_U32, 3), put_zeros(b, 11);
}
static void strings_past_end(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_STRING, 3), put_zeros(b, 23);
}
static void cut_string_array(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_STRING, 2), put_text(b, "x"), put_u64(b, 9), put_zeros(b, 8);
}
static void bool_array(ds4_strbuf *b) {
    start_array(b, DS4_GGUF_BOOL, 2), put_u8(b, 1), put_u8(b, 255);
}

static void twin_keys(ds4_strbuf *b) {
    put_header(b, 3, 0, 3);
    put_key(b, "twin", DS4_GGUF_U8), put_u8(b, 1);
    put_key(b, "other", DS4_GGUF_U8), put_u8(b, 1);
    put_key(b, "twin", DS4_GGUF_U8), put_u8(b, 1);
}
static void twin_names(ds4_strbuf *b) {
    put_header(b, 3, 3, 0);
    put_tensor(b, "twin", 1, d32, DS4_TYPE_F32, 0);
    put_tensor(b, "other", 1, d32, DS4_TYPE_F32, 128);
    put_tensor(b, "twin", 1, d32, DS4_TYPE_F32, 256);
    pad_to(b, 32), put_zeros(b, 384);
}

static void alignment(ds4_strbuf *b, uint32_t n) {
    put_header(b, 3, 1, 1);
    put_key(b, "general.alignment", DS4_GGUF_U32), put_u32(b, n);
    end_with_tensor(b, "t", 1, d32, DS4_TYPE_F32, 0);
}
static void alignment_0(ds4_strbuf *b) {
    alignment(b, 0);
}
static void alignment_2(ds4_strbuf *b) {
    alignment(b, 2);
}
static void alignment_48(ds4_strbuf *b) {
    alignment(b, 48);
}
static void alignment_2_21(ds4_strbuf *b) {
    alignment(b, 1 << 21);
}
static void alignment_u64(ds4_strbuf *b) {
    one_value(b, "general.alignment", DS4_GGUF_U64), put_u64(b, 32);
}
static void alignment_array(ds4_strbuf *b) {
    put_header(b, 3, 0, 1), put_array_key(b, "general.alignment", DS4_GGUF_U32, 1), put_u32(b, 32);
}

static void name_64(ds4_strbuf *b) {
    put_header(b, 3, 1, 0);
    end_with_tensor(b, "0123456789012345678901234567890123456789012345678901234567890123", 1, d32,
                    0, 0);
}
static void no_name(ds4_strbuf *b) {
    put_header(b, 3, 1, 0), end_with_tensor(b, "", 1, d32, 0, 0);
}
static void bad_name(ds4_strbuf *b) {
    put_header(b, 3, 1, 0), end_with_tensor(b, "\xFFx", 1, d32, 0, 0);
}
static void endless_name(ds4_strbuf *b) {
    put_header(b, 3, 1, 0), put_u64(b, UINT64_MAX - 7), put_zeros(b, 64);
}
static void five_dims(ds4_strbuf *b) {
    static const uint64_t ne[] = {32, 1, 1, 1, 1};
    one_tensor(b, 5, ne, 0, 0);
}
static void endless_dims(ds4_strbuf *b) {
    put_header(b, 3, 1, 0), put_text(b, "t"), put_u32(b, UINT32_MAX), put_zeros(b, 99);
}
static void zero_dim(ds4_strbuf *b) {
    static const uint64_t ne[] = {32, 0};
    one_tensor(b, 2, ne, 0, 0);
}
static void dims_overflow(ds4_strbuf *b) {
    static const uint64_t ne[] = {1ull << 32, 1ull << 32, 2};
    one_tensor(b, 3, ne, 0, 0);
}
static void bytes_overflow(ds4_strbuf *b) {
    static const uint64_t ne[] = {1ull << 31, 1ull << 31};
    one_tensor(b, 2, ne, DS4_TYPE_F32, 0);
}
static void broken_block(ds4_strbuf *b) {
    static const uint64_t ne[] = {
        48, 2}; /* 96 elements are three blocks, but a row is not whole ones */
    one_tensor(b, 2, ne, DS4_TYPE_Q8_0, 0);
}
static void retired_type(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 4, 0);
}
static void private_type(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 139, 0);
}
static void crooked(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 0, 16);
}
static void offset_past_end(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 0, 288);
}
static void endless_offset(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 0, UINT64_MAX - 31);
}
static void size_past_end(ds4_strbuf *b) {
    one_tensor(b, 1, d32, 0, 160);
}
static void overlap(ds4_strbuf *b) {
    put_header(b, 3, 2, 0);
    put_tensor(b, "later", 1, d32, DS4_TYPE_F32, 96);
    end_with_tensor(b, "earlier", 1, d32, DS4_TYPE_F32, 0);
}
static void
inside(ds4_strbuf *b) { /* neighbours by offset do not touch, but the first covers the third */
    static const uint64_t ne[] = {64}, one[] = {1};
    put_header(b, 3, 3, 0);
    put_tensor(b, "wide", 1, ne, DS4_TYPE_F32, 0);
    put_tensor(b, "in1", 1, one, DS4_TYPE_F32, 32);
    end_with_tensor(b, "in2", 1, one, DS4_TYPE_F32, 96);
}

static const struct {
    const char *name;
    void (*make)(ds4_strbuf *b);
    const char *says; /* a piece of the message */
} cases[] = {
#define CASE(make, says)                                                                           \
    { #make, make, says }
    CASE(magic, "47 47 4d 4c"),
    CASE(short_file, "23 bytes"),
    CASE(version_0, "version 0 at byte 4"),
    CASE(version_1, "version 1 at byte 4"),
    CASE(version_4, "version 4 at byte 4"),
    CASE(big_endian, "big-endian"),
    CASE(many_values, "metadata count at byte 16 is 4"),
    CASE(endless_values, "metadata count at byte 16"),
    CASE(many_tensors, "tensor count at byte 8 is 4"),
    CASE(endless_tensors, "tensor count at byte 8"),
    CASE(million_tensors, "tensor count at byte 8 is 1048577"),
    CASE(endless_key, "byte 24 claims 18446744073709551615 bytes"),
    CASE(key_past_end, "metadata key at byte 32 needs 1000 bytes, but only 100 remain"),
    CASE(long_key, "byte 24 claims 65536 bytes"),
    CASE(empty_key, "byte 24 is empty"),
    CASE(latin_key, "byte 24 is empty or not valid UTF-8"),
    CASE(overlong_key, "not valid UTF-8"),
    CASE(surrogate_key, "not valid UTF-8"),
    CASE(nul_key, "not valid UTF-8"),
    CASE(unknown_value, "'k', value at byte 37: unknown value type 13"),
    CASE(bad_bool, "a bool is neither 0 nor 1 but 2"),
    CASE(cut_scalar, "too few bytes remain"),
    CASE(huge_string, "claims 67108865 bytes"),
    CASE(string_past_end, "needs 10 bytes, but only 9 remain"),
    CASE(nested_array, "arrays of arrays"),
    CASE(unknown_array, "unknown value type 99"),
    CASE(endless_array, "'k'"),
    CASE(array_cap, "16777216 allowed"),
    CASE(array_past_end, "element count of 3"),
    CASE(strings_past_end, "string count of 3"),
    CASE(cut_string_array, "needs 9 bytes, but only 8 remain"),
    CASE(bool_array, "but 255"),
    CASE(twin_keys, "duplicate metadata key 'twin' (entries 0 and 2)"),
    CASE(twin_names, "duplicate tensor name 'twin' (entries 0 and 2)"),
    CASE(alignment_0, "general.alignment is 0"),
    CASE(alignment_2, "general.alignment is 2"),
    CASE(alignment_48, "general.alignment is 48"),
    CASE(alignment_2_21, "general.alignment is 2097152"),
    CASE(alignment_u64, "must be a u32, not u64"),
    CASE(alignment_array, "must be a u32, not an array of u32"),
    CASE(name_64, "byte 24 is not 1 to 63 bytes"),
    CASE(no_name, "byte 24 is not 1 to 63 bytes"),
    CASE(bad_name, "byte 24 is not 1 to 63 bytes of valid UTF-8"),
    CASE(endless_name, "byte 24 claims"),
    CASE(five_dims, "'t' (byte 24) claims 5 dimensions"),
    CASE(endless_dims, "claims 4294967295 dimensions"),
    CASE(zero_dim, "'t' (byte 24): dimension 1 is zero"),
    CASE(dims_overflow, "'t' (byte 24): its dimensions overflow"),
    CASE(bytes_overflow, "'t' (byte 24): its size overflows"),
    CASE(broken_block, "rows of 48 elements are not whole Q8_0 blocks of 32"),
    CASE(retired_type, "unknown or retired type id 4"),
    CASE(private_type, "unsupported private type id 139"),
    CASE(crooked, "'t': offset 16 is not a multiple of the alignment 32"),
    CASE(offset_past_end, "at least 160 bytes are missing"),
    CASE(endless_offset, "'t' needs 128 bytes"),
    CASE(size_past_end, "at least 32 bytes are missing"),
    CASE(overlap, "'earlier' and 'later' overlap at data offset 96"),
    CASE(inside, "'wide' and 'in1' overlap"),
#undef CASE
};

static void ignore(void *context, bool is_warning, const char *message) {
    (void)message;
    if (!is_warning) ++*(int *)context;
}

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_strbuf b = {0};
        ds4_error error = {0};
        ds4_gguf *gguf = NULL;
        int n_problems = 0;
        ds4_gguf_options options = {ignore, &n_problems};
        cases[i].make(&b);
        assert_false(b.failed);
        uint8_t *exact =
            malloc(b.n); /* no spare bytes behind: the address sanitizer watches the end */
        assert_non_null(exact);
        memcpy(exact, b.data, b.n);
        ds4_status status = ds4_gguf_open_memory(exact, b.n, NULL, &gguf, &error);
        if (status != DS4_FORMAT)
            fail_msg("%s: status %d, %s", cases[i].name, status, error.message);
        if (strstr(error.message, cases[i].says) == NULL) {
            fail_msg("%s: '%s' does not say '%s'", cases[i].name, error.message, cases[i].says);
        }
        assert_null(gguf);
        assert_int_equal(ds4_gguf_open_memory(exact, b.n, &options, &gguf, &error), DS4_FORMAT);
        assert_true(n_problems >= 1);
        free(exact);
        ds4_strbuf_free(&b);
    }
}

/* The neighbours of the limits are fine. */
static void test_just_inside(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        ds4_strbuf b = {0};
        ds4_gguf *gguf = NULL;
        ds4_error error = {0};
        switch (i) {
        case 0:
            alignment(&b, 4);
            break;
        case 1:
            alignment(&b, 32);
            break;
        case 2:
            put_header(&b, 3, 1, 0);
            end_with_tensor(&b, "012345678901234567890123456789012345678901234567890123456789012",
                            1, d32, 0, 128);
            break;
        case 3:
            one_tensor(&b, 0, NULL, DS4_TYPE_F32, 0);
            break;
        case 4:
            start_array(&b, DS4_GGUF_STRING, 2), put_u64(&b, 0), put_u64(&b, 0);
            break;
        default:
            one_tensor(&b, 1, d32, DS4_TYPE_MXFP4, 0);
            break;
        }
        ds4_status status = ds4_gguf_open_memory(b.data, b.n, NULL, &gguf, &error);
        if (status != DS4_OK) fail_msg("case %d: %s", i, error.message);
        ds4_gguf_close(gguf);
        ds4_strbuf_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_just_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
