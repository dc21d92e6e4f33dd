/* Text as grammar: sets of characters, patterns, numbers within bounds, choices of literals. All of
 * it in one of two spellings: inside a JSON string (canonical escapes only), or raw. */
#ifndef DS4_CONSTRAINT_SPELL_H
#define DS4_CONSTRAINT_SPELL_H

#include "base/json_scan.h"
#include "chat/chat_request.h"
#include "constraint/grammar.h"

typedef enum ds4_spelling { DS4_SPELL_JSON, DS4_SPELL_RAW } ds4_spelling;

typedef struct ds4_char_range {
    uint32_t low, high; /* code points, inclusive */
} ds4_char_range;

/* One character of these ranges (any order, may overlap; surrogates are left out), then `next`. */
uint32_t ds4_spell_characters(ds4_grammar *grammar, const ds4_char_range *ranges, size_t n,
                              ds4_spelling spelling, uint32_t next);

/* `text` (UTF-8) as it stands inside a JSON string: short escapes, and \u00xx for other controls.
 */
void ds4_spell_string(ds4_text text, ds4_strbuf *out);

typedef struct ds4_choice {
    ds4_text text;
    uint32_t next;
} ds4_choice;

/* One of these byte strings, then its `next`: a tree, so that common beginnings are one state. Of
 * equal texts the first one counts. Reorders `choices`. */
uint32_t ds4_spell_choice(ds4_grammar *grammar, ds4_choice *choices, size_t n);

/* The text between the quotes of a JSON string that is none of `names` (as ds4_spell_string writes
 * them), closing quote included; ends in RETURN. Names are written canonically, others freely.
 * Reorders `names`. */
uint32_t ds4_spell_other_key(ds4_grammar *grammar, ds4_text *names, size_t n);

/* ---- pattern.c ---- */

/* Texts of min..max characters in which the regular expression (docs/structured-output.md says
 * which ones) finds a match, then `next`. UNSUPPORTED or FORMAT with the reason. */
ds4_status ds4_spell_pattern(ds4_grammar *grammar, ds4_text pattern, uint32_t min, uint32_t max,
                             ds4_spelling spelling, uint32_t next, uint32_t *start,
                             ds4_error *error);
/* The pattern of a format that is enforced; NULL for others. */
const char *ds4_format_pattern(ds4_text format);

/* ---- number.c ---- */

typedef struct ds4_number_bound {
    bool given, exclusive;
    ds4_text text; /* a JSON number */
} ds4_number_bound;

/* Decimal numbers (no exponent) or integers within the bounds, compared exactly, then `next`.
 * UNSUPPORTED when a bound has too many digits for that. */
ds4_status ds4_spell_number(ds4_grammar *grammar, bool integer, ds4_number_bound low,
                            ds4_number_bound high, uint32_t next, uint32_t *start,
                            ds4_error *error);
/* Whether a JSON number has no fraction, however it is spelled. */
bool ds4_number_is_integer(ds4_text number);
/* -1, 0 or 1; false when one of them has too many digits to be compared exactly. */
bool ds4_number_compare(ds4_text a, ds4_text b, int *order);

#endif
