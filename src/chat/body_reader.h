/* What the request parsers share: a reader that knows the request being filled and the refusal
 * being written, and one function for each field that several protocols have. */
#ifndef DS4_CHAT_BODY_READER_H
#define DS4_CHAT_BODY_READER_H

#include "base/json_scan.h"
#include "chat/request_parse.h"
#include "chat/think.h"

/* The path of a field, as refusals name it. Longer ones are cut. */
typedef char ds4_param_path[96];

typedef struct ds4_body_reader {
    ds4_chat_request *request;
    ds4_request_error *failure;
    ds4_request_options options;
    bool has_messages;          /* or whatever the protocol calls them */
    bool think_explicit;        /* the body switches thinking on or off itself */
    ds4_chat_message *messages; /* the request's, while they are read */
    size_t message_capacity;
    ds4_chat_tool *tools;
    ds4_strbuf scratch;
    ds4_strbuf ignored; /* names of the members that were passed over */
} ds4_body_reader;

/* One member of a body. null counts as absent. `param` is its name. */
typedef ds4_status ds4_field_fn(ds4_body_reader *b, const char *param, ds4_json_value value);
typedef struct ds4_field {
    const char *name;
    ds4_field_fn *read; /* NULL: `check` reads it */
} ds4_field;

/* Validates `body` and reads the members of the object that it must be, each by the first of the
 * tables (ended by a NULL name) that has it; of duplicates the last one counts. Members of no table
 * are passed over and remembered in request->ignored. `check` looks at the whole afterwards. */
ds4_status ds4_body_parse(const char *body, size_t n, const ds4_request_options *options,
                          const ds4_field *const *tables,
                          ds4_status (*check)(ds4_body_reader *b, ds4_json_value body),
                          ds4_chat_request *request, ds4_request_error *failure);

/* ---- refusals ---- */
ds4_status ds4_body_wrong_type(ds4_body_reader *b, const char *param, const char *wanted,
                               ds4_json_value value);
ds4_status ds4_body_out_of_range(ds4_body_reader *b, const char *param, const char *rule);
ds4_status ds4_body_unsupported(ds4_body_reader *b, const char *param, const char *why);
ds4_status ds4_body_no_memory(ds4_body_reader *b);

/* ---- values ---- */
bool ds4_body_find(ds4_json_value object, const char *name, ds4_json_value *value); /* not null */
size_t ds4_body_count(ds4_json_value array);
ds4_status ds4_body_bool(ds4_body_reader *b, const char *param, ds4_json_value value, bool *target);
ds4_status ds4_body_number(ds4_body_reader *b, const char *param, ds4_json_value value,
                           double *target);
ds4_status ds4_body_float(ds4_body_reader *b, const char *param, ds4_json_value value, double least,
                          double most, const char *rule, float *target);
/* A STRING of at most `limit` decoded bytes, copied into the request. */
ds4_status ds4_body_string(ds4_body_reader *b, const char *param, ds4_json_value value,
                           size_t limit, ds4_text *text);
/* A member of `object` that may be absent; `path` is where the object stands. */
ds4_status ds4_body_member_string(ds4_body_reader *b, const char *path, ds4_json_value object,
                                  const char *name, size_t limit, ds4_text *text);
/* The value as it was written, copied into the request. */
ds4_status ds4_body_raw(ds4_body_reader *b, ds4_json_value value, ds4_text *text);
/* What is in the scratch buffer, copied into the request. */
ds4_status ds4_body_take_scratch(ds4_body_reader *b, ds4_text *text);
/* A string, or an array of strings and text parts that are joined without a separator. Other parts
 * (images, files) are refused. */
ds4_status ds4_body_content(ds4_body_reader *b, const char *param, ds4_json_value value,
                            ds4_text *text);
/* The same, and one part of it, into the scratch buffer, which is not cleared first. */
ds4_status ds4_body_append_content(ds4_body_reader *b, const char *param, ds4_json_value value);
ds4_status ds4_body_append_part(ds4_body_reader *b, const char *param, ds4_json_value part);
/* Remembers that `param` was passed over. */
void ds4_body_ignore(ds4_body_reader *b, const char *param);

/* ---- fields of several protocols (request_fields.c) ---- */
ds4_field_fn ds4_field_model, ds4_field_max_tokens, ds4_field_temperature, ds4_field_top_p,
    ds4_field_min_p, ds4_field_top_k, ds4_field_seed, ds4_field_steering, ds4_field_stream,
    ds4_field_stop;
ds4_field_fn ds4_field_penalty, ds4_field_repetition_penalty, ds4_field_logit_bias;
ds4_field_fn ds4_field_think, ds4_field_thinking, ds4_field_effort, ds4_field_think_budget,
    ds4_field_template_kwargs;
ds4_field_fn ds4_field_parallel_tool_calls;
/* Refused unless it says nothing: null, false, 0, "", [] or {}. */
ds4_field_fn ds4_field_refused;
/* What the model's name says about thinking when the body says nothing. */
void ds4_body_apply_model_name(ds4_body_reader *b);
/* For generation: some turn of a user or a tool must wait for an answer. `param`: what to blame. */
ds4_status ds4_body_check_turns(ds4_body_reader *b, const char *param);

/* ---- messages and tools (openai_messages.c) ---- */
ds4_field_fn ds4_field_messages, ds4_field_tools, ds4_field_tool_choice;
/* Reads each element of an array of at most `limit`, with its own path. */
ds4_status ds4_body_each(ds4_body_reader *b, const char *param, ds4_json_value value, size_t limit,
                         ds4_field_fn *read);
/* A new last message; valid until the next one is added. NULL when out of memory. */
ds4_chat_message *ds4_body_add_message(ds4_body_reader *b, ds4_chat_role role);
/* A call's arguments: the decoded text of a string, any other value as it was written. */
ds4_status ds4_body_arguments(ds4_body_reader *b, const char *path, ds4_json_value value,
                              ds4_text *arguments);
/* Refuses repeated names. The schema of the arguments is found in `schema`, which must be JSON. */
ds4_status ds4_body_add_tool(ds4_body_reader *b, const char *param, ds4_text name, ds4_text schema);
/* The name that a tool's object must have; an empty one is refused. */
ds4_status ds4_body_tool_name(ds4_body_reader *b, const char *param, ds4_json_value tool,
                              ds4_text *name);
/* OpenAI's function tool, wrapped or flat: the prompt will show it as the client wrote it. */
ds4_field_fn ds4_body_function_tool;

#endif
