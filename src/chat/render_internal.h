/* What the chat templates share: words of the template, which may be control tokens, and text from
 * outside, which never is one. Appending remembers failures in prompt->text.failed. */
#ifndef DS4_CHAT_RENDER_INTERNAL_H
#define DS4_CHAT_RENDER_INTERNAL_H

#include "chat/render.h"

void ds4_render_control(ds4_prompt *prompt, ds4_control control);
/* The template's own words: control words in them become controls. */
void ds4_render_words(ds4_prompt *prompt, const char *words);
void ds4_render_text(ds4_prompt *prompt, ds4_text text);
/* Before the schema of a response format. The masks make the answer fit; a model that has read the
 * schema also means what it says. */
#define DS4_RENDER_FORMAT_HEAD                                                                     \
    "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
/* <tool_result>...</tool_result>; the content cannot end its own element. */
void ds4_render_result(ds4_prompt *prompt, ds4_text content);

/* Behind BOS and the text of the effort: system text and turns in the model maker's own layout
 * (render_vendor.c). */
void ds4_render_vendor(ds4_prompt *prompt, const ds4_chat_request *request);

#endif
