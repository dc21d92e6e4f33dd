/* Requests with checks, one JSON object per line, for measuring what a dial does:
 *     {"id": "a", "group": "contested", "request": {chat-completions body}, "check": {...},
 *      "other": {...}}
 * A check is an object all of whose members must hold for the answer: "equals" (the text, apart
 * from white space at its ends), "contains" and "absent" (texts that all or none occur), "any" (one
 * occurs), "tool" with "arguments" (exactly one call, with equal JSON). Without "tool" there must
 * be no call. Other members say nothing. "other" is a second check, of the opposite register;
 * optional. */
#ifndef DS4_STEER_TOOL_ITEMS_H
#define DS4_STEER_TOOL_ITEMS_H

#include "chat/chat_request.h"
#include "chat/parse.h"
#include "constraint/constraint.h"
#include "ds4.h"

/* A request as the server would take it. */
typedef struct ds4_asked {
    ds4_chat_request request;
    ds4_tokens prompt;
    bool thinking, tools_active;
    ds4_constraint *constraint; /* NULL: none */
} ds4_asked;

/* Free with ds4_asked_free, also after a failure. */
ds4_status ds4_asked_parse(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                           uint32_t n_context, ds4_asked *asked, ds4_error *error);
void ds4_asked_free(ds4_asked *asked);

typedef struct ds4_item {
    char id[48], group[24];
    ds4_asked asked;
    char *check, *other; /* JSON objects; other may be NULL */
} ds4_item;

/* Zero-initialise; free with ds4_items_free. */
typedef struct ds4_items {
    ds4_item *items;
    size_t n;
} ds4_items;

/* FORMAT naming file and line. */
ds4_status ds4_items_read(const char *path, const ds4_tokenizer *tokenizer, uint32_t n_context,
                          ds4_items *items, ds4_error *error);
void ds4_items_free(ds4_items *items);

/* `check`: one that ds4_items_read accepted, or NULL (false). */
bool ds4_item_fulfils(const char *check, const ds4_chat_result *answer);
/* Some stretch of two bytes or more comes at least three times in a row and fills 24 bytes. */
bool ds4_text_is_repetitive(const char *text, size_t n);

#endif
