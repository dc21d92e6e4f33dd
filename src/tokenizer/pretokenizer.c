#include "tokenizer/pretokenizer.h"

#include <stdbool.h>

#include "tokenizer/unicode.h"

/* One character with what the rules ask about it. */
typedef struct character {
    uint32_t code_point;
    uint8_t classes;
    uint8_t length; /* bytes; 0 at the end of the run: then no class matches */
} character;

static character look(const uint8_t *text, size_t at, size_t end) {
    character c = {0};
    if (at >= end) return c;
    c.length = (uint8_t)ds4_utf8_next(text + at, end - at, &c.code_point);
    c.classes = ds4_unicode_classes(c.code_point);
    return c;
}

static bool is_letter_or_mark(character c) {
    return (c.classes & (DS4_CLASS_LETTER | DS4_CLASS_MARK)) != 0;
}

static bool is_punctuation_or_symbol(character c) {
    return (c.classes & (DS4_CLASS_PUNCTUATION | DS4_CLASS_SYMBOL)) != 0;
}

static bool is_line_end(character c) {
    return c.length != 0 && (c.code_point == '\n' || c.code_point == '\r');
}

static bool is_ascii_letter(character c) {
    return c.length != 0 && ((c.code_point >= 'A' && c.code_point <= 'Z') ||
                             (c.code_point >= 'a' && c.code_point <= 'z'));
}

static bool is_ascii_punctuation(character c) {
    return c.code_point < 0x80 && is_punctuation_or_symbol(c);
}

/* The second split's set: unified ideographs as they were in Unicode 1.1, hiragana, katakana. */
static bool is_ideograph_or_kana(character c) {
    return (c.code_point >= 0x4e00 && c.code_point <= 0x9fa5) ||
           (c.code_point >= 0x3040 && c.code_point <= 0x30ff);
}

/* ---- the third split: each rule gives the end of its match at `at`, or `at` when it does not
 * match ------------ */

static size_t skip_letters_and_marks(const uint8_t *text, size_t at, size_t end) {
    for (character c; is_letter_or_mark(c = look(text, at, end));) at += c.length;
    return at;
}

/* One ASCII punctuation character and the ASCII letters after it. */
static size_t match_punctuated_word(const uint8_t *text, size_t at, size_t end, character c) {
    if (!is_ascii_punctuation(c)) return at;
    size_t stop = at + 1;
    while (is_ascii_letter(look(text, stop, end))) stop++;
    return stop > at + 1 ? stop : at;
}

/* Letters and marks, with at most one character before them that is neither line end, letter,
 * punctuation nor symbol. That character may itself be a mark: then it is the first of the run
 * either way. */
static size_t match_word(const uint8_t *text, size_t at, size_t end, character c) {
    bool may_lead =
        !is_line_end(c) && (c.classes & DS4_CLASS_LETTER) == 0 && !is_punctuation_or_symbol(c);
    if (may_lead && is_letter_or_mark(look(text, at + c.length, end)))
        return skip_letters_and_marks(text, at + c.length, end);
    return skip_letters_and_marks(text, at, end);
}

/* Punctuation and symbols, with at most one blank before and all line ends after them. */
static size_t match_punctuation(const uint8_t *text, size_t at, size_t end, character c) {
    size_t begin = c.code_point == ' ' ? at + 1 : at;
    size_t stop = begin;
    for (character next; is_punctuation_or_symbol(next = look(text, stop, end));)
        stop += next.length;
    if (stop == begin) return at;
    while (is_line_end(look(text, stop, end))) stop++;
    return stop;
}

/* White space through its last line end; without one, all of it at the end of the run, else all but
 * the last character, which belongs to what follows, unless it is the only one. */
static size_t match_space(const uint8_t *text, size_t at, size_t end) {
    size_t stop = at, last = at, after_line_end = at;
    for (character c; ((c = look(text, stop, end)).classes & DS4_CLASS_SPACE) != 0;) {
        last = stop;
        stop += c.length;
        if (is_line_end(c)) after_line_end = stop;
    }
    if (after_line_end > at) return after_line_end;
    return stop == end || last == at ? stop : last;
}

static size_t match(const uint8_t *text, size_t at, size_t end, character c) {
    size_t stop = match_punctuated_word(text, at, end, c);
    if (stop == at) stop = match_word(text, at, end, c);
    if (stop == at) stop = match_punctuation(text, at, end, c);
    if (stop == at) stop = match_space(text, at, end);
    return stop;
}

/* ---- the first two splits ---- */

/* Up to three digits from `at`; `at` when there is none. */
static size_t match_digits(const uint8_t *text, size_t at, size_t end) {
    for (int n = 0; n < 3; n++) {
        character c = look(text, at, end);
        if ((c.classes & DS4_CLASS_NUMBER) == 0) break;
        at += c.length;
    }
    return at;
}

/* Characters from `at` that are no digits and all inside, or all outside, the second split's set.
 */
static size_t find_run_end(const uint8_t *text, size_t at, size_t end) {
    bool inside = is_ideograph_or_kana(look(text, at, end));
    for (character c; (c = look(text, at, end)).length != 0; at += c.length)
        if ((c.classes & DS4_CLASS_NUMBER) != 0 || is_ideograph_or_kana(c) != inside) break;
    return at;
}

static size_t give_out(ds4_pretokenizer *p, size_t end) {
    size_t n = end - p->position;
    p->position = end;
    return n;
}

size_t ds4_pretokenizer_next(ds4_pretokenizer *p) {
    if (p->position >= p->n_bytes) return 0;
    if (p->known_end > p->position && p->known_from == p->position)
        return give_out(p, p->known_end);
    if (p->position >= p->run_end) {
        size_t digits_end = match_digits(p->text, p->position, p->n_bytes);
        if (digits_end > p->position) return give_out(p, digits_end);
        p->run_end = find_run_end(p->text, p->position, p->n_bytes);
    }
    /* A gap, characters at which no rule matches, becomes one piece; what ends it is remembered for
     * the next call. */
    for (size_t at = p->position; at < p->run_end;) {
        character c = look(p->text, at, p->run_end);
        size_t stop = match(p->text, at, p->run_end, c);
        if (stop > at) {
            if (at == p->position) return give_out(p, stop);
            p->known_from = at;
            p->known_end = stop;
            return give_out(p, at);
        }
        at += c.length;
    }
    return give_out(p, p->run_end);
}
