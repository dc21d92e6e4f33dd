#include "sched/guide.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct ds4_guide {
    ds4_constraint *constraint;
    const ds4_ban_set *bans;
    ds4_control_ids ids;
    ds4_matcher *matcher;
    enum { GUIDE_WAITS, GUIDE_HOLDS, GUIDE_LOST } state;
    size_t n_words;
    uint64_t *banned, *allowed;
};

ds4_status ds4_guide_create(ds4_constraint *constraint, const ds4_vocabulary *vocabulary,
                            const ds4_ban_set *bans, const ds4_control_ids *ids, ds4_guide **out,
                            ds4_error *error) {
    ds4_guide *guide = calloc(1, sizeof *guide);
    if (guide == NULL) return ds4_fail_memory(error, sizeof *guide, "a guide");
    guide->constraint = ds4_constraint_retain(constraint);
    guide->bans = bans;
    guide->ids = *ids;
    guide->n_words = ds4_ban_set_n_words(bans);
    size_t n_bytes = guide->n_words * sizeof *guide->banned;
    guide->banned = malloc(n_bytes);
    guide->allowed = calloc(guide->n_words, sizeof *guide->allowed); /* at least the vocabulary's */
    ds4_status status = DS4_OK;
    if (guide->banned == NULL || guide->allowed == NULL ||
        ds4_vocabulary_n_words(vocabulary) > guide->n_words)
        status = ds4_fail_memory(error, n_bytes, "a token mask");
    if (status == DS4_OK)
        status = ds4_matcher_create(ds4_constraint_grammar(constraint), vocabulary, &guide->matcher,
                                    error);
    if (status != DS4_OK) {
        ds4_guide_destroy(guide);
        return status;
    }
    *out = guide;
    return DS4_OK;
}

void ds4_guide_destroy(ds4_guide *guide) {
    if (guide == NULL) return;
    ds4_matcher_destroy(guide->matcher);
    ds4_constraint_release(guide->constraint);
    free(guide->banned);
    free(guide->allowed);
    free(guide);
}

static void ban(ds4_guide *guide, ds4_control control) {
    int32_t id = guide->ids.id[control];
    if (id >= 0) guide->banned[(size_t)id / 64] |= (uint64_t)1 << ((size_t)id % 64);
}

const uint64_t *ds4_guide_banned(ds4_guide *guide, const ds4_parser *parser) {
    const uint64_t *bans = ds4_ban_set_words(guide->bans);
    ds4_output_phase phase = ds4_parser_phase(parser);
    bool from_start = ds4_constraint_from_start(guide->constraint);
    if (guide->state == GUIDE_LOST || (!from_start && phase == DS4_PHASE_THINKING)) return bans;
    memcpy(guide->banned, bans, guide->n_words * sizeof *bans);
    if (phase == DS4_PHASE_THINKING) { /* there must be an answer */
        ban(guide, DS4_CONTROL_EOS);
        ban(guide, DS4_CONTROL_USER);
        return guide->banned;
    }
    if (from_start) guide->state = GUIDE_HOLDS;
    if (guide->state == GUIDE_WAITS) { /* the word opens a block, or it is noise in the text */
        if (!ds4_parser_awaits_word(parser)) ban(guide, DS4_CONTROL_DSML);
        return guide->banned;
    }
    ds4_matcher_mask(guide->matcher, guide->allowed);
    for (size_t i = 0; i < guide->n_words; i++) guide->banned[i] |= ~guide->allowed[i];
    return guide->banned;
}

void ds4_guide_accept(ds4_guide *guide, const ds4_parser *parser, int32_t id, const char *bytes,
                      size_t n) {
    ds4_control control = ds4_control_of_id(&guide->ids, id);
    if (guide->state == GUIDE_WAITS) {
        if (control == DS4_CONTROL_DSML && ds4_parser_awaits_word(parser))
            guide->state = GUIDE_HOLDS;
        return;
    }
    if (guide->state == GUIDE_LOST || control == DS4_CONTROL_EOS || control == DS4_CONTROL_USER)
        return;
    bool fits = control != DS4_CONTROL_NONE ? ds4_matcher_accept_control(guide->matcher, control)
                                            : ds4_matcher_accept(guide->matcher, bytes, n);
    if (!fits) guide->state = GUIDE_LOST; /* a token that no mask let pass: not to happen */
}

bool ds4_guide_is_complete(const ds4_guide *guide) {
    return guide->state == GUIDE_HOLDS && ds4_matcher_must_end(guide->matcher);
}
