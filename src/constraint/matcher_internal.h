/* The inside of matchers and vocabularies: configurations and stacks (matcher.c), and walks of the
 * trie (mask.c). */
#ifndef DS4_CONSTRAINT_MATCHER_INTERNAL_H
#define DS4_CONSTRAINT_MATCHER_INTERNAL_H

#include "constraint/matcher.h"

enum {
    DS4_SET_LIMIT = 256,      /* configurations of one set; later ones are dropped: fewer texts
                                 match then, never wrong ones */
    DS4_SEEN_SLOTS = 4096,    /* nodes that one step may pass, a power of two, half used at most */
    DS4_FRAME_BUCKETS = 1024, /* a power of two */
    DS4_LEVELS = 260,         /* bytes of the longest token, and some */
    DS4_POOL = 1 << 15,       /* configurations of one walk */
    DS4_CACHE_SLOTS = 64,     /* a power of two */
    DS4_CHARS_OUTSIDE = 0xFF, /* the token does not stay within the text */
};

typedef struct ds4_config {
    uint32_t node, frame, count;
} ds4_config;

/* One call that has not returned. Frame 0 is the bottom. Equal frames are one frame. */
typedef struct ds4_frame {
    uint32_t parent, next_node;
    uint32_t min, max;
    uint64_t seen; /* MEMBERS that were written */
    uint32_t depth;
    uint32_t chain; /* in its bucket */
} ds4_frame;

typedef struct ds4_seen {
    ds4_config config;
    uint32_t stamp;
} ds4_seen;

typedef struct ds4_exit {
    uint32_t trie_node;
    uint8_t chars;
} ds4_exit;

/* What may follow a node, whatever called its rule: tokens, and the places in the trie where the
 * rule returns within a token (those with tokens below them; all of them for the two limited
 * rules). */
typedef struct ds4_local {
    uint64_t *allowed; /* NULL: none of it is known */
    ds4_exit *exits;
    size_t n_exits, exit_capacity;
    uint32_t deepest; /* calls within calls that the walk went through */
    uint32_t node;
} ds4_local;

struct ds4_vocabulary {
    size_t n_tokens, n_words;
    int32_t end_of_turn, dsml;
    /* The trie in preorder. A node's subtree is [node, end[node]). Node 0 is the root. */
    uint32_t n_nodes;
    unsigned char *bytes;
    uint16_t *depths;
    uint32_t *ends;
    int32_t *tokens;                   /* -1: no token ends here */
    ds4_local *prelude;                /* [ds4_grammar_prelude.end] */
    uint8_t *string_chars, *raw_chars; /* [n_tokens]: characters that a token begins in the text */
};

struct ds4_matcher {
    const ds4_grammar *grammar;
    const ds4_vocabulary *vocabulary;
    ds4_config set[DS4_SET_LIMIT];
    size_t n_set;
    bool done; /* the text may end */

    ds4_frame *frames;
    size_t n_frames, frame_capacity;
    uint32_t buckets[DS4_FRAME_BUCKETS];
    ds4_seen seen[DS4_SEEN_SLOTS];
    uint32_t stamp, n_seen;
    ds4_config work[DS4_SEEN_SLOTS];
    uint32_t deepest;

    ds4_config *pool; /* [DS4_POOL] */
    ds4_local scratch, cache[DS4_CACHE_SLOTS];
};

/* A set that is being made. */
typedef struct ds4_set_builder {
    ds4_config *out;
    size_t n, limit;
    bool done;
} ds4_set_builder;

/* ---- matcher.c ---- */
void ds4_set_begin(ds4_matcher *m, ds4_set_builder *set, ds4_config *out, size_t limit);
/* Adds a configuration and all that it leads to without a symbol. */
void ds4_set_add(ds4_matcher *m, ds4_set_builder *set, ds4_config config);
void ds4_set_step(ds4_matcher *m, const ds4_config *from, size_t n, uint16_t symbol,
                  ds4_set_builder *set);
void ds4_frames_truncate(ds4_matcher *m, size_t n_frames);

/* ---- mask.c ---- */
/* What may follow `node`: into `local`, whose `allowed` has n_words. Returns the nodes of the trie
 * that were looked at. */
size_t ds4_local_compute(ds4_matcher *m, uint32_t node, ds4_local *local);
ds4_status ds4_vocabulary_learn_prelude(ds4_vocabulary *v, ds4_error *error);

#endif
