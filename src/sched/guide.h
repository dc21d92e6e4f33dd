/* The constraint of one answer while it is made: which tokens may not come next, given where the
 * answer stands. Thinking is free (but must end, when the answer must be something); then either
 * the text is held to its grammar from the first byte on, or text is free until the model opens a
 * tool block.
 *
 * Belongs to one answer: one thread at a time. */
#ifndef DS4_SCHED_GUIDE_H
#define DS4_SCHED_GUIDE_H

#include "chat/parse.h"
#include "constraint/constraint.h"
#include "constraint/matcher.h"
#include "sched/draw.h"

typedef struct ds4_guide ds4_guide;

/* Keeps a reference to the constraint; `vocabulary` and `bans` must outlive it. */
ds4_status ds4_guide_create(ds4_constraint *constraint, const ds4_vocabulary *vocabulary,
                            const ds4_ban_set *bans, const ds4_control_ids *ids, ds4_guide **guide,
                            ds4_error *error);
void ds4_guide_destroy(ds4_guide *guide); /* NULL is fine */

/* What may not come next in the output that `parser` has read: (vocabulary + 63) / 64 words, valid
 * until the next call. The bans are among them. */
const uint64_t *ds4_guide_banned(ds4_guide *guide, const ds4_parser *parser);
/* The token was chosen; before the parser reads it. */
void ds4_guide_accept(ds4_guide *guide, const ds4_parser *parser, int32_t id, const char *bytes,
                      size_t n);
/* The text is whole and nothing can follow: the answer may end without asking the model. */
bool ds4_guide_is_complete(const ds4_guide *guide);

#endif
