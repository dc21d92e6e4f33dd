/* Where a text stands in a grammar, byte by byte, and which tokens may follow.
 *
 * The text so far may fit in several ways; each is a configuration: a node of the grammar, the
 * stack of calls that led there, and the characters of a limited text. Stacks are shared and never
 * change, so a configuration is three numbers and going back is forgetting the later ones.
 *
 * A matcher belongs to one thread at a time; grammar and vocabulary must outlive it. Buffers are
 * allocated at creation; a text with unusually many different stacks can make them grow.
 */
#ifndef DS4_CONSTRAINT_MATCHER_H
#define DS4_CONSTRAINT_MATCHER_H

#include "constraint/grammar.h"
#include "constraint/vocabulary.h"

typedef struct ds4_matcher ds4_matcher;

/* `vocabulary` may be NULL when no masks are asked for. */
ds4_status ds4_matcher_create(const ds4_grammar *grammar, const ds4_vocabulary *vocabulary,
                              ds4_matcher **matcher, ds4_error *error);
void ds4_matcher_destroy(ds4_matcher *matcher); /* NULL is fine */
void ds4_matcher_reset(ds4_matcher *matcher);   /* to the beginning of the text */

/* Takes the next bytes. False: the text has left the grammar, and nothing can follow any more. */
bool ds4_matcher_accept(ds4_matcher *matcher, const char *bytes, size_t n);
bool ds4_matcher_accept_control(ds4_matcher *matcher, ds4_control control);

bool ds4_matcher_may_end(const ds4_matcher *matcher);  /* the text is a whole one */
bool ds4_matcher_must_end(const ds4_matcher *matcher); /* and nothing can follow */

/* Sets the bits of the tokens that may come next (word id / 64, bit id % 64), clears all others:
 * ds4_vocabulary_n_words words. The end of the turn is among them when the text may end. Never
 * empty before the text has left the grammar. */
void ds4_matcher_mask(ds4_matcher *matcher, uint64_t *allowed);

#endif
