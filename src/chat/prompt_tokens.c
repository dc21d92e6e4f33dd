/* Where the chat meets a vocabulary: the only file here that knows the tokenizer. */
#include "base/error.h"
#include "chat/render.h"
#include "tokenizer/tokenizer.h"

ds4_control_ids ds4_control_ids_of(const ds4_tokenizer *tokenizer) {
    const ds4_special_ids *special = ds4_tokenizer_special_ids(tokenizer);
    return (ds4_control_ids){{
        [DS4_CONTROL_NONE] = -1,
        [DS4_CONTROL_BOS] = special->bos,
        [DS4_CONTROL_EOS] = special->eos,
        [DS4_CONTROL_USER] = special->user,
        [DS4_CONTROL_ASSISTANT] = special->assistant,
        [DS4_CONTROL_THINK] = special->think,
        [DS4_CONTROL_THINK_END] = special->think_end,
        [DS4_CONTROL_DSML] = special->dsml,
    }};
}

bool ds4_control_is_banned(const ds4_tokenizer *tokenizer, int32_t id) {
    if (ds4_tokenizer_is_ordinary(tokenizer, id)) return false;
    ds4_control_ids ids = ds4_control_ids_of(tokenizer);
    ds4_control control = ds4_control_of_id(&ids, id);
    return control == DS4_CONTROL_NONE || control == DS4_CONTROL_BOS ||
           control == DS4_CONTROL_ASSISTANT;
}

ds4_status ds4_prompt_tokenize(const ds4_prompt *prompt, const ds4_tokenizer *tokenizer,
                               ds4_tokens *ids, ds4_error *error) {
    ds4_control_ids controls = ds4_control_ids_of(tokenizer);
    for (size_t i = 0; i < prompt->n_segments; i++) {
        const ds4_segment *segment = &prompt->segments[i];
        ds4_status status;
        if (segment->n_ids > 0) {
            status = ds4_tokens_append(ids, prompt->sampled.ids + segment->first_id, segment->n_ids,
                                       error);
        } else if (segment->control == DS4_CONTROL_NONE) {
            status = ds4_tokenizer_encode(tokenizer, prompt->text.data + segment->begin,
                                          segment->end - segment->begin, ids, error);
        } else if (controls.id[segment->control] < 0) {
            status = ds4_fail(error, DS4_FORMAT, "the model's vocabulary lacks the token %s",
                              ds4_control_spelling(segment->control));
        } else {
            status = ds4_tokens_push(ids, controls.id[segment->control], error);
        }
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}
