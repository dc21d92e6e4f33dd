/* Answers of the Responses API that later requests may continue (previous_response_id), kept in
 * memory within a budget; what was not used for longest goes first. Any thread. */
#ifndef DS4_SERVER_RESPONSE_STORE_H
#define DS4_SERVER_RESPONSE_STORE_H

#include "base/strbuf.h"
#include "chat/chat_request.h"

typedef struct ds4_response_store ds4_response_store;

/* A budget of 0 keeps nothing. NULL when out of memory. */
ds4_response_store *ds4_response_store_create(size_t budget_bytes);
void ds4_response_store_destroy(ds4_response_store *store);

/* Copies everything. `items`: the conversation as JSON values with commas between, `n_input` bytes
 * of which came with the request; `response`: the whole answer, a JSON object. One that exceeds the
 * budget by itself, or memory that is not there, is no error: it is not kept. */
void ds4_response_store_put(ds4_response_store *store, const char *id, ds4_text items,
                            size_t n_input, ds4_text response);

typedef enum ds4_stored_part {
    DS4_STORED_ITEMS,    /* input and output */
    DS4_STORED_INPUT,    /* the items that came with the request and what it continued */
    DS4_STORED_RESPONSE, /* the answer */
} ds4_stored_part;

/* Appends a part of the answer with this id. False: there is none. */
bool ds4_response_store_find(ds4_response_store *store, ds4_text id, ds4_stored_part part,
                             ds4_strbuf *out);
bool ds4_response_store_remove(ds4_response_store *store, ds4_text id);

#endif
