/* How the model spelled its tool calls. A client sends a call back as JSON, and the canonical
 * markup of that may differ from what was sampled, in bytes or in tokens; then everything behind it
 * would have to be read again. So for each turn that ended in calls the sampled tokens are
 * remembered by the calls' ids, and take the place of the canonical rendering when the client sends
 * back the same content, names and arguments. A client that edited them gets what it sent.
 *
 * Bounded: the turns that were not asked for longest are forgotten. Any thread. */
#ifndef DS4_CHAT_TOOL_MEMORY_H
#define DS4_CHAT_TOOL_MEMORY_H

#include "base/strbuf.h"
#include "chat/chat_request.h"

typedef struct ds4_tool_memory ds4_tool_memory;

/* A turn as it was sampled: reasoning and </think> first if it thought, then content, white space
 * and the tool block. What a pointer points to is the caller's. */
typedef struct ds4_tool_turn {
    ds4_text reasoning, content; /* as the client was given them */
    const ds4_tool_call *calls;
    size_t n_calls;
    const int32_t *ids; /* all sampled tokens, without one that ends the turn */
    size_t n_ids;
    size_t n_thought; /* the first of them, up to and with </think>; 0: it did not think */
    ds4_text text;    /* the tokens' bytes */
    size_t n_thought_text;
} ds4_tool_turn;

/* At most so many ids of calls and bytes (0: 512 MiB). */
ds4_status ds4_tool_memory_create(size_t max_ids, size_t max_bytes, ds4_tool_memory **memory,
                                  ds4_error *error);
void ds4_tool_memory_destroy(ds4_tool_memory *memory);

/* Replaces what was known of its ids. False: no calls, calls without ids, or no memory. */
bool ds4_tool_memory_put(ds4_tool_memory *memory, const ds4_tool_turn *turn);

/* The turn that this assistant message repeats: all its calls are of one remembered turn, in
 * order, with equal names, JSON-equal arguments and the same content. Appends the tokens behind the
 * thinking (or, with `thought`, all of them, if the reasoning is the same as well; *with_thought
 * tells) and their bytes. */
bool ds4_tool_memory_find(ds4_tool_memory *memory, const ds4_chat_message *message, bool thought,
                          ds4_tokens *ids, ds4_strbuf *text, bool *with_thought);

size_t ds4_tool_memory_count(ds4_tool_memory *memory); /* ids */

/* A turn as one record of a file, and back. The decoded turn points into `bytes`, except `calls`
 * and `ids`, which are one allocation that the caller frees through `calls`. FORMAT for damage;
 * *n_record: bytes to skip. */
void ds4_tool_turn_encode(const ds4_tool_turn *turn, ds4_strbuf *out);
ds4_status ds4_tool_turn_decode(const char *bytes, size_t n, ds4_tool_turn *turn, size_t *n_record,
                                ds4_error *error);

#endif
