/* ds4-gguf extract-tokenizer: the tokenizer of a file in the form of Hugging Face. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/error.h"
#include "gguf-tool/tool.h"
#include "gguf/gguf_reader.h"

typedef struct settings {
    const char *output;
    bool force;
} settings;

static const ds4_option options[] = {
    {.names = "--output -o",
     .kind = DS4_OPTION_STRING,
     .argument = "tokenizer.json",
     .offset = offsetof(settings, output),
     .help = "file to write (required)"},
    {.names = "--force -f",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, force),
     .help = "replace the file when it exists"},
};

static const ds4_program program = {
    .name = "ds4-gguf extract-tokenizer",
    .summary = "the tokenizer of a file as tokenizer.json",
    .operands = "FILE.gguf",
    .description =
        "For ds4-gguf synth --tokenizer and for programs that read tokenizers of Hugging "
        "Face. Only byte-level BPE with the pre-tokenizer joyai-llm.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 1,
};

enum { TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

/* The splits of joyai-llm, in order; docs/tokenizer.md says what they do. */
static const char pre_tokenizer[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}{1,3}\"},\"behavior\":\"Isolated\","
    "\"invert\":false},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"
    "\"},"
    "\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[!\\\"#$%&'()*+,\\\\-./"
    ":;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~]"
    "[A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| "
    "?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|"
    "\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]"
    "}";
static const char byte_level[] =
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}";

static ds4_status check_kind(const ds4_gguf *gguf, const char *key, const char *expected,
                             ds4_error *error) {
    ds4_gguf_string text;
    ds4_status status = ds4_gguf_get_string(gguf, key, &text, error);
    if (status != DS4_OK ||
        (text.n == strlen(expected) && memcmp(text.data, expected, text.n) == 0))
        return status;
    return ds4_fail(error, DS4_UNSUPPORTED, "%s is '%.*s'; only '%s' can be extracted", key,
                    text.n < 60 ? (int)text.n : 60, text.data, expected);
}

static json_object *text_of(ds4_gguf_string text) {
    return json_object_new_string_len(text.data, (int)text.n);
}

static json_object *added_token(uint64_t id, ds4_gguf_string text, bool is_control) {
    json_object *token = json_object_new_object();
    json_object_object_add(token, "id", json_object_new_uint64(id));
    json_object_object_add(token, "content", text_of(text));
    json_object_object_add(token, "single_word", json_object_new_boolean(false));
    json_object_object_add(token, "lstrip", json_object_new_boolean(false));
    json_object_object_add(token, "rstrip", json_object_new_boolean(false));
    json_object_object_add(token, "normalized", json_object_new_boolean(false));
    json_object_object_add(token, "special", json_object_new_boolean(is_control));
    return token;
}

static void add_tokens(const ds4_gguf_value *tokens, const ds4_gguf_value *types,
                       json_object *vocabulary, json_object *added) {
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(tokens);
    ds4_gguf_string text;
    char key[65536];
    for (uint64_t id = 0; ds4_gguf_next_string(&cursor, &text); id++) {
        int64_t type = 1;
        (void)ds4_gguf_value_i64(types, id, &type);
        if (type == TYPE_UNUSED || text.n >= sizeof key) continue;
        if (type == TYPE_CONTROL || type == TYPE_USER_DEFINED) {
            json_object_array_add(added, added_token(id, text, type == TYPE_CONTROL));
            continue;
        }
        memcpy(key, text.data, text.n);
        key[text.n] = '\0';
        json_object_object_add(vocabulary, key, json_object_new_uint64(id));
    }
}

static json_object *document(const ds4_gguf_value *tokens, const ds4_gguf_value *types,
                             const ds4_gguf_value *merges) {
    json_object *root = json_object_new_object(), *model = json_object_new_object();
    json_object *added = json_object_new_array(), *vocabulary = json_object_new_object();
    json_object *list = json_object_new_array();
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(merges);
    ds4_gguf_string text;
    add_tokens(tokens, types, vocabulary, added);
    while (ds4_gguf_next_string(&cursor, &text)) json_object_array_add(list, text_of(text));
    json_object_object_add(model, "type", json_object_new_string("BPE"));
    json_object_object_add(model, "dropout", NULL);
    json_object_object_add(model, "unk_token", NULL);
    json_object_object_add(model, "continuing_subword_prefix", NULL);
    json_object_object_add(model, "end_of_word_suffix", NULL);
    json_object_object_add(model, "fuse_unk", json_object_new_boolean(false));
    json_object_object_add(model, "byte_fallback", json_object_new_boolean(false));
    json_object_object_add(model, "vocab", vocabulary);
    json_object_object_add(model, "merges", list);
    json_object_object_add(root, "version", json_object_new_string("1.0"));
    json_object_object_add(root, "truncation", NULL);
    json_object_object_add(root, "padding", NULL);
    json_object_object_add(root, "added_tokens", added);
    json_object_object_add(root, "normalizer", NULL);
    json_object_object_add(root, "pre_tokenizer", json_tokener_parse(pre_tokenizer));
    json_object_object_add(root, "post_processor", json_tokener_parse(byte_level));
    json_object_object_add(root, "decoder", json_tokener_parse(byte_level));
    json_object_object_add(root, "model", model);
    return root;
}

static ds4_status extract(const settings *s, const char *input, ds4_error *error) {
    const ds4_gguf_value *tokens = NULL, *types = NULL, *merges = NULL;
    ds4_gguf *gguf = NULL;
    ds4_status status = ds4_tool_check_output(s->output, s->force, error);
    if (status == DS4_OK) status = ds4_gguf_open(input, NULL, &gguf, error);
    if (status == DS4_OK) status = check_kind(gguf, "tokenizer.ggml.model", "gpt2", error);
    if (status == DS4_OK) status = check_kind(gguf, "tokenizer.ggml.pre", "joyai-llm", error);
    if (status == DS4_OK)
        status = ds4_gguf_get_string_array(gguf, "tokenizer.ggml.tokens", &tokens, error);
    if (status == DS4_OK)
        status = ds4_gguf_get_number_array(gguf, "tokenizer.ggml.token_type", &types, error);
    if (status == DS4_OK)
        status = ds4_gguf_get_string_array(gguf, "tokenizer.ggml.merges", &merges, error);
    if (status == DS4_OK) {
        json_object *root = document(tokens, types, merges);
        if (json_object_to_file_ext((char *)(uintptr_t)s->output, root,
                                    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE) != 0)
            status = ds4_fail(error, DS4_IO, "cannot write '%s': %s", s->output, strerror(errno));
        else
            printf("%s: %zu tokens, %zu merges\n", s->output, (size_t)tokens->count,
                   (size_t)merges->count);
        json_object_put(root);
    }
    ds4_gguf_close(gguf);
    return status;
}

int ds4_tool_extract_tokenizer(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) {
        if (s.output == NULL)
            exit_status = ds4_tool_misused(&program, "missing -o tokenizer.json");
        else if (extract(&s, parsed.operands[0], &error) != DS4_OK)
            exit_status = ds4_tool_failed(&program, &error);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
