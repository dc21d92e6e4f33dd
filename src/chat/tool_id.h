/* Ids of tool calls: derived from the request when it has a seed, so that the same request gives
 * the same bytes; otherwise from the caller's random bytes. Formula: docs/chat.md, "Tool-call ids".
 */
#ifndef DS4_CHAT_TOOL_ID_H
#define DS4_CHAT_TOOL_ID_H

#include "chat/chat_request.h"
#include "chat/think.h"

typedef enum ds4_tool_id_protocol {
    DS4_TOOL_ID_OPENAI,    /* call_..., chat completions and responses */
    DS4_TOOL_ID_ANTHROPIC, /* toolu_... */
} ds4_tool_id_protocol;

/* Everything but the call itself. `sampling` are the request's own values, before any profile or
 * clamp. */
typedef struct ds4_tool_id_source {
    ds4_tool_id_protocol protocol;
    ds4_text model;
    ds4_text prompt; /* rendered text */
    uint64_t
        max_tokens; /* as requested, or the server's default; before the clamp to the context */
    ds4_sampling_request sampling;
    ds4_think_mode think_mode; /* after the context rule */
} ds4_tool_id_source;

/* Prefix and 32 lower-case hex digits. `attempt` counts up from 0 when the id occurs already in the
 * same message. */
void ds4_tool_id_derive(const ds4_tool_id_source *source, size_t index, uint64_t attempt,
                        ds4_text name, char id[64]);
/* `random` are the caller's. */
void ds4_tool_id_random(ds4_tool_id_protocol protocol, const uint8_t random[16], char id[64]);

#endif
