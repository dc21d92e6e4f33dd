/* tokenizer_config.json: what surrounds the vocabulary. */
#include <string.h>

#include "base/error.h"
#include "gguf-tool/json_file.h"
#include "gguf-tool/vocabulary.h"

/* A token is given as its text, or as an object with the text as "content". */
static ds4_status read_token(const ds4_vocabulary *v, const char *name, int64_t *id,
                             ds4_error *error) {
    json_object *token = NULL, *content = NULL;
    if (!json_object_object_get_ex(v->config, name, &token) || token == NULL) return DS4_OK;
    if (json_object_is_type(token, json_type_object) &&
        json_object_object_get_ex(token, "content", &content))
        token = content;
    const char *text = json_object_get_string(token);
    size_t n = (size_t)json_object_get_string_len(token);
    if (!json_object_is_type(token, json_type_string))
        return ds4_fail(error, DS4_FORMAT, "tokenizer_config.json: '%s' is no token", name);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        if (v->tokens[i].n != n || memcmp(v->tokens[i].data, text, n) != 0) continue;
        *id = i;
        return DS4_OK;
    }
    return ds4_fail(error, DS4_FORMAT,
                    "tokenizer_config.json: '%s' is '%.60s', which tokenizer.json does not have",
                    name, text);
}

static ds4_status read_flag(const ds4_vocabulary *v, const char *name, int *flag,
                            ds4_error *error) {
    json_object *value = NULL;
    if (!json_object_object_get_ex(v->config, name, &value) || value == NULL) return DS4_OK;
    if (!json_object_is_type(value, json_type_boolean))
        return ds4_fail(error, DS4_FORMAT, "tokenizer_config.json: '%s' is not true or false",
                        name);
    *flag = json_object_get_boolean(value);
    return DS4_OK;
}

ds4_status ds4_vocabulary_read_config(const char *directory, ds4_vocabulary *vocabulary,
                                      ds4_error *error) {
    ds4_vocabulary *v = vocabulary;
    json_object *text = NULL;
    ds4_status status =
        ds4_json_read_optional(directory, "tokenizer_config.json", &v->config, error);
    if (status != DS4_OK || v->config == NULL) return status;
    if (!json_object_is_type(v->config, json_type_object))
        return ds4_fail(error, DS4_FORMAT, "tokenizer_config.json is not a JSON object");
    status = read_token(v, "bos_token", &v->bos, error);
    if (status == DS4_OK) status = read_token(v, "eos_token", &v->eos, error);
    if (status == DS4_OK) status = read_token(v, "pad_token", &v->pad, error);
    if (status == DS4_OK) status = read_flag(v, "add_bos_token", &v->add_bos, error);
    if (status == DS4_OK) status = read_flag(v, "add_eos_token", &v->add_eos, error);
    if (status == DS4_OK && json_object_object_get_ex(v->config, "chat_template", &text) &&
        json_object_is_type(text, json_type_string))
        v->chat_template = json_object_get_string(text);
    return status;
}
