#include "chat/tool_memory.h"

#include <json-c/json.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { FIRST_SLOTS = 256 };
static const size_t default_bytes = 512u << 20;

/* One remembered turn: the record of it, and the decoded view into that. */
typedef struct entry {
    struct entry *older, *newer;
    ds4_strbuf record;
    ds4_tool_turn turn;
} entry;

struct ds4_tool_memory {
    pthread_mutex_t mutex;
    size_t max_ids, max_bytes, n_ids, n_bytes;
    entry *oldest, *newest;
    entry **slots; /* by the id of each call; a power of two */
    size_t n_slots;
};

ds4_status ds4_tool_memory_create(size_t max_ids, size_t max_bytes, ds4_tool_memory **out,
                                  ds4_error *error) {
    ds4_tool_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) return ds4_fail_memory(error, sizeof *memory, "the memory of tool calls");
    memory->max_ids = max_ids;
    memory->max_bytes = max_bytes != 0 ? max_bytes : default_bytes;
    memory->n_slots = FIRST_SLOTS;
    memory->slots = calloc(memory->n_slots, sizeof *memory->slots);
    pthread_mutex_init(&memory->mutex, NULL);
    *out = memory;
    if (memory->slots != NULL) return DS4_OK;
    ds4_tool_memory_destroy(memory);
    return ds4_fail_memory(error, FIRST_SLOTS * sizeof(entry *), "the memory of tool calls");
}

static void free_entry(entry *e) {
    ds4_strbuf_free(&e->record);
    free((void *)e->turn.calls);
    free(e);
}

void ds4_tool_memory_destroy(ds4_tool_memory *memory) {
    if (memory == NULL) return;
    for (entry *e = memory->oldest, *next; e != NULL; e = next) {
        next = e->newer;
        free_entry(e);
    }
    free(memory->slots);
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

static bool equal(ds4_text a, ds4_text b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

/* ---- the table of ids ---- */

static uint64_t hash_id(ds4_text id) {
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < id.n; i++) hash = (hash ^ (uint8_t)id.data[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

static bool has_id(const entry *e, ds4_text id) {
    for (size_t i = 0; i < e->turn.n_calls; i++)
        if (equal(e->turn.calls[i].id, id)) return true;
    return false;
}

static size_t probe(const ds4_tool_memory *memory, ds4_text id) {
    size_t at = (size_t)hash_id(id) & (memory->n_slots - 1);
    while (memory->slots[at] != NULL && !has_id(memory->slots[at], id))
        at = (at + 1) & (memory->n_slots - 1);
    return at;
}

static void fill_slots(ds4_tool_memory *memory) {
    memset(memory->slots, 0, memory->n_slots * sizeof *memory->slots);
    for (entry *e = memory->oldest; e != NULL; e = e->newer)
        for (size_t i = 0; i < e->turn.n_calls; i++)
            memory->slots[probe(memory, e->turn.calls[i].id)] = e;
}

static bool make_room_for_ids(ds4_tool_memory *memory, size_t n_more) {
    size_t n_slots = memory->n_slots;
    while (2 * (memory->n_ids + n_more) > n_slots) n_slots *= 2;
    if (n_slots == memory->n_slots) return true;
    entry **slots = malloc(n_slots * sizeof *slots);
    if (slots == NULL) return false;
    free(memory->slots);
    memory->slots = slots;
    memory->n_slots = n_slots;
    fill_slots(memory);
    return true;
}

/* ---- the list, oldest first ---- */

static void unlink_entry(ds4_tool_memory *memory, entry *e) {
    *(e->older != NULL ? &e->older->newer : &memory->oldest) = e->newer;
    *(e->newer != NULL ? &e->newer->older : &memory->newest) = e->older;
}

static void link_newest(ds4_tool_memory *memory, entry *e) {
    e->older = memory->newest;
    e->newer = NULL;
    *(memory->newest != NULL ? &memory->newest->newer : &memory->oldest) = e;
    memory->newest = e;
}

static void forget(ds4_tool_memory *memory, entry *e) {
    unlink_entry(memory, e);
    memory->n_ids -= e->turn.n_calls;
    memory->n_bytes -= e->record.n;
    free_entry(e);
}

bool ds4_tool_memory_put(ds4_tool_memory *memory, const ds4_tool_turn *turn) {
    size_t n_record;
    for (size_t i = 0; i < turn->n_calls; i++)
        if (turn->calls[i].id.n == 0) return false;
    entry *e = turn->n_calls > 0 && turn->n_ids > 0 ? calloc(1, sizeof *e) : NULL;
    if (e == NULL) return false;
    ds4_tool_turn_encode(turn, &e->record);
    if (e->record.failed ||
        ds4_tool_turn_decode(e->record.data, e->record.n, &e->turn, &n_record, NULL) != DS4_OK) {
        free_entry(e);
        return false;
    }
    pthread_mutex_lock(&memory->mutex);
    bool changed = false;
    for (size_t i = 0; i < turn->n_calls; i++) {
        entry *known = memory->slots[probe(memory, turn->calls[i].id)];
        if (known == NULL) continue;
        forget(memory, known); /* the latest wins */
        fill_slots(memory);
    }
    bool room = make_room_for_ids(memory, turn->n_calls);
    if (room) {
        link_newest(memory, e);
        memory->n_ids += turn->n_calls;
        memory->n_bytes += e->record.n;
        for (size_t i = 0; i < turn->n_calls; i++)
            memory->slots[probe(memory, e->turn.calls[i].id)] = e;
    }
    while (memory->oldest != memory->newest &&
           (memory->n_ids > memory->max_ids || memory->n_bytes > memory->max_bytes)) {
        forget(memory, memory->oldest);
        changed = true;
    }
    if (changed) fill_slots(memory);
    pthread_mutex_unlock(&memory->mutex);
    if (!room) free_entry(e);
    return room;
}

/* ---- finding ---- */

static json_object *parse_json(ds4_text text) {
    enum { DEPTH = 256 };
    json_tokener *tokener = text.n < INT32_MAX ? json_tokener_new_ex(DEPTH) : NULL;
    if (tokener == NULL) return NULL;
    json_object *value = json_tokener_parse_ex(tokener, text.data, (int)text.n);
    json_tokener_free(tokener);
    return value;
}

static bool equal_json(ds4_text a, ds4_text b) {
    if (equal(a, b)) return true;
    json_object *left = parse_json(a), *right = parse_json(b);
    bool same = left != NULL && right != NULL && json_object_equal(left, right);
    json_object_put(left);
    json_object_put(right);
    return same;
}

static bool same_calls(const ds4_tool_turn *turn, const ds4_chat_message *message) {
    if (turn->n_calls != message->n_calls) return false;
    for (size_t i = 0; i < turn->n_calls; i++) {
        const ds4_tool_call *a = &turn->calls[i], *b = &message->calls[i];
        if (!equal(a->id, b->id) || !equal(a->name, b->name) ||
            !equal_json(a->arguments, b->arguments))
            return false;
    }
    return true;
}

bool ds4_tool_memory_find(ds4_tool_memory *memory, const ds4_chat_message *message, bool thought,
                          ds4_tokens *ids, ds4_strbuf *text, bool *with_thought) {
    if (message->n_calls == 0 || message->calls[0].id.n == 0) return false;
    pthread_mutex_lock(&memory->mutex);
    entry *e = memory->slots[probe(memory, message->calls[0].id)];
    bool found =
        e != NULL && same_calls(&e->turn, message) && equal(e->turn.content, message->content);
    if (found) {
        const ds4_tool_turn *turn = &e->turn;
        *with_thought =
            thought && turn->n_thought > 0 && equal(turn->reasoning, message->reasoning);
        size_t first = *with_thought ? 0 : turn->n_thought;
        size_t first_byte = *with_thought ? 0 : turn->n_thought_text;
        found = ds4_tokens_append(ids, turn->ids + first, turn->n_ids - first, NULL) == DS4_OK;
        if (found) ds4_strbuf_append(text, turn->text.data + first_byte, turn->text.n - first_byte);
        unlink_entry(memory, e);
        link_newest(memory, e);
    }
    pthread_mutex_unlock(&memory->mutex);
    return found;
}

size_t ds4_tool_memory_count(ds4_tool_memory *memory) {
    pthread_mutex_lock(&memory->mutex);
    size_t n = memory->n_ids;
    pthread_mutex_unlock(&memory->mutex);
    return n;
}
