#include "server/response_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    struct entry *previous, *next; /* used more lately, less lately */
    char id[64];
    size_t n_items, n_input, n_response;
    char bytes[]; /* items, then the response */
} entry;

struct ds4_response_store {
    pthread_mutex_t mutex; /* guards everything below */
    size_t budget, used;
    entry *newest, *oldest;
};

ds4_response_store *ds4_response_store_create(size_t budget_bytes) {
    ds4_response_store *store = calloc(1, sizeof *store);
    if (store == NULL) return NULL;
    if (pthread_mutex_init(&store->mutex, NULL) != 0) {
        free(store);
        return NULL;
    }
    store->budget = budget_bytes;
    return store;
}

void ds4_response_store_destroy(ds4_response_store *store) {
    if (store == NULL) return;
    while (store->newest != NULL) {
        entry *next = store->newest->next;
        free(store->newest);
        store->newest = next;
    }
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

static size_t size_of(const entry *e) {
    return sizeof *e + e->n_items + e->n_response;
}

static void unlink_entry(ds4_response_store *store, entry *e) {
    *(e->previous != NULL ? &e->previous->next : &store->newest) = e->next;
    *(e->next != NULL ? &e->next->previous : &store->oldest) = e->previous;
    store->used -= size_of(e);
}

static void push_newest(ds4_response_store *store, entry *e) {
    e->previous = NULL;
    e->next = store->newest;
    *(e->next != NULL ? &e->next->previous : &store->oldest) = e;
    store->newest = e;
    store->used += size_of(e);
}

static entry *find(const ds4_response_store *store, ds4_text id) {
    entry *e = store->newest;
    while (e != NULL && !ds4_text_equals(id, e->id)) e = e->next;
    return e;
}

void ds4_response_store_put(ds4_response_store *store, const char *id, ds4_text items,
                            size_t n_input, ds4_text response) {
    size_t n = strlen(id);
    if (n >= sizeof((entry *)0)->id) return;
    if (sizeof(entry) + items.n + response.n > store->budget) return;
    entry *e = calloc(1, sizeof *e + items.n + response.n);
    if (e == NULL) return;
    memcpy(e->id, id, n);
    e->n_items = items.n;
    e->n_input = n_input;
    e->n_response = response.n;
    if (items.n > 0) memcpy(e->bytes, items.data, items.n);
    if (response.n > 0) memcpy(e->bytes + items.n, response.data, response.n);
    pthread_mutex_lock(&store->mutex);
    push_newest(store, e);
    while (store->used > store->budget) {
        entry *oldest = store->oldest;
        unlink_entry(store, oldest);
        free(oldest);
    }
    pthread_mutex_unlock(&store->mutex);
}

bool ds4_response_store_find(ds4_response_store *store, ds4_text id, ds4_stored_part part,
                             ds4_strbuf *out) {
    pthread_mutex_lock(&store->mutex);
    entry *e = find(store, id);
    if (e != NULL) {
        unlink_entry(store, e);
        push_newest(store, e);
        if (part == DS4_STORED_RESPONSE)
            ds4_strbuf_append(out, e->bytes + e->n_items, e->n_response);
        else
            ds4_strbuf_append(out, e->bytes, part == DS4_STORED_ITEMS ? e->n_items : e->n_input);
    }
    pthread_mutex_unlock(&store->mutex);
    return e != NULL;
}

bool ds4_response_store_remove(ds4_response_store *store, ds4_text id) {
    pthread_mutex_lock(&store->mutex);
    entry *e = find(store, id);
    if (e != NULL) unlink_entry(store, e);
    pthread_mutex_unlock(&store->mutex);
    free(e);
    return e != NULL;
}
