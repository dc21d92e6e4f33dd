/* A chat request -> the prompt, as segments: template words are control tokens, everything that
 * came with the request is text and can never become one. Adjacent text is one segment and is
 * tokenised as one, because the pre-tokenizer joins across the seams of the template
 * (docs/chat.md).
 */
#ifndef DS4_CHAT_RENDER_H
#define DS4_CHAT_RENDER_H

#include "base/strbuf.h"
#include "chat/chat_request.h"
#include "chat/control.h"
#include "chat/think.h"
#include "chat/tool_memory.h"

typedef enum ds4_template {
    DS4_TEMPLATE_DS4,    /* the layout that other servers of this model use */
    DS4_TEMPLATE_VENDOR, /* the model maker's own */
} ds4_template;

typedef struct ds4_render_options {
    ds4_template layout;
    uint32_t
        n_context; /* the server's configured context: decides whether MAX effort is possible */
    const ds4_effort_table *effort; /* NULL: ds4_effort_table_first */
    ds4_tool_memory *tool_memory;   /* turns to repeat as they were sampled (layout DS4); may be
                                       NULL */
} ds4_render_options;

/* CONTROL(control) or text[begin, end) of the prompt's text; a control's own spelling is in the
 * text too. With n_ids, tokens as they were sampled: their bytes are that text. */
typedef struct ds4_segment {
    ds4_control control; /* DS4_CONTROL_NONE: text */
    size_t begin, end;
    size_t first_id, n_ids; /* of the prompt's `sampled` */
} ds4_segment;

/* Owned by the caller: zero-initialise, free with ds4_prompt_free. */
typedef struct ds4_prompt {
    ds4_strbuf text; /* the whole prompt with control tokens spelled out */
    ds4_segment *segments;
    size_t n_segments, segment_capacity;
    ds4_tokens sampled;
    ds4_think_mode
        think_mode; /* what holds after the context rule; the parser's `thinking` is mode != NONE */
    bool tools_active;
    bool awaits_answer; /* ends in <|Assistant|><think> or </think>: false when the last turn is the
                           assistant's */
    bool has_look_alike; /* some text segment spells a control token: its bytes are no safe cache
                            key */
} ds4_prompt;

/* INVALID_ARGUMENT for a layout that does not exist, NO_MEMORY. `prompt` must be empty; on failure
 * it is emptied. */
ds4_status ds4_render(const ds4_chat_request *request, const ds4_render_options *options,
                      ds4_prompt *prompt, ds4_error *error);

/* Appends the prompt's ids. FORMAT when the tokenizer lacks a control token that the prompt uses.
 */
ds4_status ds4_prompt_tokenize(const ds4_prompt *prompt, const ds4_tokenizer *tokenizer,
                               ds4_tokens *ids, ds4_error *error);

void ds4_prompt_free(ds4_prompt *prompt);

#endif
