/* Shared by the two files that read a Responses body: the fields, and the items of the input. */
#ifndef DS4_CHAT_RESPONSES_INTERNAL_H
#define DS4_CHAT_RESPONSES_INTERNAL_H

#include "chat/body_reader.h"

/* What begins the opaque text of a reasoning item and of a compaction, when it is ours. */
#define DS4_RESPONSES_REASONING_MARK "ds4-reasoning:"
#define DS4_RESPONSES_SUMMARY_MARK   "ds4-summary:"

/* Appends the messages of a JSON array of items. `param`: its name in refusals. Reasoning that no
 * assistant's item has followed yet waits in `stash` (the caller's, zeroed at first). */
ds4_status ds4_responses_read_items(ds4_body_reader *b, const char *param, ds4_json_value items,
                                    ds4_strbuf *stash);
/* The end of all items: what waits becomes a message of its own. */
ds4_status ds4_responses_flush(ds4_body_reader *b, ds4_strbuf *stash);

#endif
