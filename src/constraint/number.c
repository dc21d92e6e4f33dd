/* Numbers within bounds, digit by digit. A number that is being written is compared with each bound
 * as far as it goes: less, equal so far, or greater. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/spell.h"

enum {
    MAX_DIGITS = 40,   /* of a bound, on either side of its point */
    WHOLE_DIGITS = 15, /* of a written number: these are exact in float64, whatever follows */
    INTEGER_DIGITS = 19,
    SIGNIFICANT_DIGITS = 15 /* decimals of so many digits are different float64 numbers */
};

typedef enum order { LESS, EQUAL, GREATER } order;

/* A bound's absolute value: digits before and behind the point, no needless zeros. */
typedef struct decimal {
    bool negative, zero;
    char whole[MAX_DIGITS], fraction[MAX_DIGITS];
    int n_whole, n_fraction;
} decimal;

/* False when it has too many digits. */
static bool read_decimal(ds4_text text, decimal *d) {
    char digits[2 * MAX_DIGITS];
    int n = 0, point = -1, exponent = 0;
    size_t i = 0;
    *d = (decimal){0};
    if (i < text.n && text.data[i] == '-') {
        d->negative = true;
        i++;
    }
    for (; i < text.n && text.data[i] != 'e' && text.data[i] != 'E'; i++) {
        if (text.data[i] == '.') {
            point = n;
            continue;
        }
        if (n == 2 * MAX_DIGITS) return false;
        digits[n++] = text.data[i];
    }
    if (point < 0) point = n;
    if (i < text.n) {
        bool minus = text.data[i + 1] == '-';
        for (i++; i < text.n; i++) {
            if (text.data[i] < '0' || text.data[i] > '9') continue;
            exponent = exponent * 10 + (text.data[i] - '0');
            if (exponent > 1000) return false;
        }
        point += minus ? -exponent : exponent;
    }
    int first = 0;
    while (first < n && digits[first] == '0') first++;
    while (n > first && digits[n - 1] == '0') n--;
    d->zero = first == n;
    if (d->zero) {
        d->negative = false;
        d->whole[0] = '0';
        d->n_whole = 1;
        return true;
    }
    if (point > MAX_DIGITS || n - point > MAX_DIGITS) return false;
    for (int at = first < point ? first : point; at < point; at++)
        d->whole[d->n_whole++] = at < n ? digits[at] : '0';
    if (d->n_whole == 0) d->whole[d->n_whole++] = '0';
    for (int at = point; at < n; at++) d->fraction[d->n_fraction++] = at < first ? '0' : digits[at];
    return true;
}

static int significant_digits(const decimal *d) {
    if (d->n_whole > 1 || d->whole[0] != '0') return d->n_whole + d->n_fraction;
    int zeros = 0;
    while (zeros < d->n_fraction && d->fraction[zeros] == '0') zeros++;
    return d->n_fraction - zeros;
}

static int compare_magnitudes(const decimal *a, const decimal *b) {
    if (a->n_whole != b->n_whole) return a->n_whole < b->n_whole ? -1 : 1;
    int result = memcmp(a->whole, b->whole, (size_t)a->n_whole);
    if (result != 0) return result < 0 ? -1 : 1;
    int n = a->n_fraction < b->n_fraction ? a->n_fraction : b->n_fraction;
    result = memcmp(a->fraction, b->fraction, (size_t)n);
    if (result != 0) return result < 0 ? -1 : 1;
    return a->n_fraction < b->n_fraction ? -1 : a->n_fraction > b->n_fraction;
}

bool ds4_number_is_integer(ds4_text number) {
    decimal d;
    return read_decimal(number, &d) && d.n_fraction == 0;
}

bool ds4_number_compare(ds4_text a, ds4_text b, int *result) {
    decimal x, y;
    if (!read_decimal(a, &x) || !read_decimal(b, &y)) return false;
    if (x.negative != y.negative)
        *result = x.negative ? -1 : 1;
    else
        *result = x.negative ? compare_magnitudes(&y, &x) : compare_magnitudes(&x, &y);
    return true;
}

/* ---- one sign ---- */

typedef struct limit {
    bool given, exclusive;
    decimal value; /* not negative */
} limit;

typedef struct digits_rule {
    ds4_grammar *g;
    bool integer;
    limit low, high;
    uint32_t next;
    int n_whole, n_fraction;                     /* of the numbers being written */
    uint32_t memo[INTEGER_DIGITS + 20][3][3][2]; /* by digits written, the two comparisons, and
                                                    whether the point was written */
} digits_rule;

static char bound_digit(const limit *l, int at, int n_whole) {
    if (at < n_whole) return l->value.whole[at];
    at -= n_whole;
    return at < l->value.n_fraction ? l->value.fraction[at] : '0';
}

static order compare_digit(const limit *l, order so_far, int at, int n_whole, char digit) {
    if (so_far != EQUAL) return so_far;
    char other = bound_digit(l, at, n_whole);
    return digit < other ? LESS : digit > other ? GREATER : EQUAL;
}

/* A number that ends here is continued by zeros. */
static order compare_rest(const limit *l, order so_far, int at, int n_whole) {
    if (so_far != EQUAL) return so_far;
    for (int i = at; i < n_whole + l->value.n_fraction; i++)
        if (bound_digit(l, i, n_whole) != '0') return LESS;
    return EQUAL;
}

static bool may_end(const digits_rule *r, int at, order low, order high) {
    if (at < r->n_whole) return false;
    if (r->low.given) {
        order o = compare_rest(&r->low, low, at, r->n_whole);
        if (o == LESS || (o == EQUAL && r->low.exclusive)) return false;
    }
    if (r->high.given) {
        order o = compare_rest(&r->high, high, at, r->n_whole);
        if (o == GREATER || (o == EQUAL && r->high.exclusive)) return false;
    }
    return true;
}

/* The node behind `at` digits. */
static uint32_t digits_node(digits_rule *r, int at, order low, order high, bool point) {
    uint32_t *known = &r->memo[at][low][high][point];
    if (*known != 0) return *known;
    if (r->g->too_large || r->g->no_memory) return r->next;
    uint32_t node = *known = ds4_grammar_reserve(r->g);
    ds4_grammar_edge edges[12];
    size_t n = 0;
    if (at == r->n_whole && !point && !r->integer && r->n_fraction > 0)
        edges[n++] = (ds4_grammar_edge){'.', '.', false, digits_node(r, at, low, high, true)};
    bool more = at < r->n_whole || (point && at < r->n_whole + r->n_fraction);
    for (char digit = '0'; more && digit <= '9'; digit++) {
        if (at == 0 && digit == '0' && r->n_whole > 1) continue;
        order l = compare_digit(&r->low, low, at, r->n_whole, digit);
        order h = compare_digit(&r->high, high, at, r->n_whole, digit);
        if ((r->low.given && l == LESS) || (r->high.given && h == GREATER)) continue;
        edges[n++] = (ds4_grammar_edge){(uint16_t)digit, (uint16_t)digit, false,
                                        digits_node(r, at + 1, l, h, point)};
    }
    bool ends = may_end(r, at, low, high) && !(point && at == r->n_whole);
    ds4_grammar_define(r->g, node, edges, n, &r->next, ends ? 1 : 0);
    return node;
}

static order compare_length(const limit *l, int n_whole) {
    if (!l->given) return GREATER;
    return n_whole < l->value.n_whole ? LESS : n_whole > l->value.n_whole ? GREATER : EQUAL;
}

/* The numbers that are not negative: one branch for each number of digits before the point. */
static uint32_t spell_magnitudes(ds4_grammar *g, bool integer, limit low, limit high,
                                 uint32_t next) {
    uint32_t branches[INTEGER_DIGITS];
    size_t n = 0;
    int most = integer ? INTEGER_DIGITS : WHOLE_DIGITS;
    for (int n_whole = 1; n_whole <= most; n_whole++) {
        digits_rule r = {.g = g, .integer = integer, .low = low, .high = high, .next = next};
        r.n_whole = n_whole;
        r.n_fraction = integer ? 0 : SIGNIFICANT_DIGITS - n_whole;
        order l = compare_length(&low, n_whole);
        order h = high.given ? compare_length(&high, n_whole) : LESS;
        if ((low.given && l == LESS) || (high.given && h == GREATER)) continue;
        branches[n++] = digits_node(&r, 0, l, h, false);
    }
    return ds4_grammar_branch(g, branches, n);
}

/* ---- both signs ---- */

static ds4_status read_bound(ds4_number_bound bound, limit *l, ds4_error *error) {
    *l = (limit){.given = bound.given, .exclusive = bound.exclusive};
    if (!bound.given) return DS4_OK;
    if (!read_decimal(bound.text, &l->value) ||
        (bound.exclusive && significant_digits(&l->value) > SIGNIFICANT_DIGITS))
        return ds4_fail(error, DS4_UNSUPPORTED, "%.*s has too many digits to be kept exactly",
                        (int)(bound.text.n < 60 ? bound.text.n : 60), bound.text.data);
    return DS4_OK;
}

ds4_status ds4_spell_number(ds4_grammar *g, bool integer, ds4_number_bound low_bound,
                            ds4_number_bound high_bound, uint32_t next, uint32_t *start,
                            ds4_error *error) {
    if (!low_bound.given && !high_bound.given) {
        *start = ds4_grammar_call(
            g, integer ? ds4_grammar_prelude.integer : ds4_grammar_prelude.number, next);
        return DS4_OK;
    }
    limit low, high;
    ds4_status status = read_bound(low_bound, &low, error);
    if (status == DS4_OK) status = read_bound(high_bound, &high, error);
    if (status != DS4_OK) return status;
    uint32_t branches[2];
    size_t n = 0;
    const limit zero = {.given = true, .exclusive = false, .value = {.whole = "0", .n_whole = 1}};
    bool high_negative = high.given && (high.value.negative || (high.value.zero && high.exclusive));
    if (!high_negative) {
        limit from = low.given && !low.value.negative ? low : zero;
        branches[n++] = spell_magnitudes(g, integer, from, high, next);
    }
    bool low_negative = !low.given || low.value.negative;
    if (low_negative) { /* -m with m > 0: the bounds change places */
        limit from = zero, to = low;
        from.exclusive = true;
        if (high.given && high.value.negative) from = high;
        from.value.negative = to.value.negative = false;
        branches[n++] =
            ds4_grammar_symbol(g, '-', '-', spell_magnitudes(g, integer, from, to, next));
    }
    *start = ds4_grammar_branch(g, branches, n);
    return DS4_OK;
}
