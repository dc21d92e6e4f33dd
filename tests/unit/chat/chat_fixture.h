/* Reading the cases of tests/fixtures/chat: one JSON object a line. */
#ifndef CHAT_FIXTURE_H
#define CHAT_FIXTURE_H

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    FILE *file;
    char line[1 << 18];
    struct json_object *row;
} fixture;

static inline fixture *fixture_open(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/chat/%s", DS4_FIXTURES, name);
    fixture *f = calloc(1, sizeof *f);
    if (f == NULL || (f->file = fopen(path, "rb")) == NULL) {
        fprintf(stderr, "cannot open %s\n", path);
        exit(1);
    }
    return f;
}

/* The next row, valid until the next call; NULL at the end (and closes). */
static inline struct json_object *fixture_next(fixture *f) {
    json_object_put(f->row);
    f->row = NULL;
    if (fgets(f->line, sizeof f->line, f->file) == NULL) {
        fclose(f->file);
        free(f);
        return NULL;
    }
    f->row = json_tokener_parse(f->line);
    if (f->row == NULL) {
        fprintf(stderr, "bad fixture line: %.100s\n", f->line);
        exit(1);
    }
    return f->row;
}

static inline struct json_object *member(struct json_object *row, const char *name) {
    struct json_object *value = NULL;
    json_object_object_get_ex(row, name, &value);
    return value;
}

/* A member that must be there, as text. */
static inline const char *text_member(struct json_object *row, const char *name) {
    struct json_object *value = member(row, name);
    const char *text = value != NULL ? json_object_get_string(value) : NULL;
    if (text == NULL) {
        fprintf(stderr, "a fixture lacks %s\n", name);
        exit(1);
    }
    return text;
}

/* xorshift64*: tests print their seed. */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
