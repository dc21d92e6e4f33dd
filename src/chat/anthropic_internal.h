/* Shared by the two files that read an Anthropic body: the fields, and the messages. */
#ifndef DS4_CHAT_ANTHROPIC_INTERNAL_H
#define DS4_CHAT_ANTHROPIC_INTERNAL_H

#include "chat/body_reader.h"

/* `body` is looked into for tools whose loading was deferred. */
ds4_status ds4_anthropic_read_messages(ds4_body_reader *b, ds4_json_value body,
                                       ds4_json_value messages);

#endif
