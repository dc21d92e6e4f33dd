/* POST /v1/responses/compact: the model sums a conversation up; the answer is the list of items
 * that stands for it from now on. And the stored responses: GET, DELETE. */
#include <string.h>

#include "chat/responses_internal.h"
#include "server/json_out.h"
#include "server/responses_out.h"

enum { SUMMARY_TOKENS = 4096 };

static const char INSTRUCTION[] =
    "The conversation is about to be cut. Write a summary from which the work can go on: what was "
    "asked for, what was decided and done, which files, commands and facts matter, and what is "
    "left "
    "to do. Answer with the summary alone and call no tool.";
static const char HEADING[] = "Summary of the conversation so far:\n\n";

/* The question is a last user's turn: everything before it is the prompt that the conversation has
 * had all along, so its session is continued. */
static bool prepare(ds4_exchange *x) {
    ds4_chat_request *r = &x->request;
    ds4_chat_message *messages = ds4_chat_request_alloc(r, (r->n_messages + 1) * sizeof *messages);
    if (messages == NULL) {
        ds4_exchange_refuse(x, &(ds4_api_error){.status = 500, .message = "out of memory"});
        return false;
    }
    if (r->n_messages > 0) memcpy(messages, r->messages, r->n_messages * sizeof *messages);
    messages[r->n_messages++] =
        (ds4_chat_message){.role = DS4_ROLE_USER, .content = {INSTRUCTION, sizeof INSTRUCTION - 1}};
    r->messages = messages;
    r->stream = false;
    r->logprobs = false;
    if (r->max_tokens == 0) r->max_tokens = SUMMARY_TOKENS;
    return true;
}

/* The tools stay in the prompt, but a call is no summary: what looks like one is text. */
static void rendered(ds4_exchange *x) {
    x->prompt.tools_active = false;
}

static void append_user(const ds4_exchange *x, ds4_text content, ds4_strbuf *out) {
    char id[48];
    ds4_exchange_random_id(x, "msg_", id, sizeof id);
    ds4_strbuf_printf(out,
                      "{\"id\":\"%s\",\"type\":\"message\",\"status\":\"completed\",\"role\":"
                      "\"user\",\"content\":[{\"type\":\"input_text\",\"text\":",
                      id);
    ds4_json_string(out, content.data, content.n);
    ds4_strbuf_puts(out, "}]},");
}

static void whole(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    char id[48];
    const ds4_chat_request *request = &x->request;
    ds4_strbuf_printf(
        out, "{\"id\":\"%s\",\"object\":\"response.compaction\",\"created_at\":%lld,\"output\":[",
        x->id, x->created);
    for (size_t i = 0; i + 1 < request->n_messages; i++)
        if (request->messages[i].role == DS4_ROLE_USER)
            append_user(x, request->messages[i].content, out);
    ds4_exchange_random_id(x, "cmp_", id, sizeof id);
    ds4_strbuf_printf(out, "{\"id\":\"%s\",\"type\":\"compaction\",\"encrypted_content\":\"%s", id,
                      DS4_RESPONSES_SUMMARY_MARK);
    ds4_json_escape(HEADING, sizeof HEADING - 1, out);
    ds4_json_escape(x->result.content.data, x->result.content.n, out);
    ds4_strbuf_printf(
        out,
        "\"}],\"usage\":{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u},"
        "\"output_tokens\":%u,\"output_tokens_details\":{\"reasoning_tokens\":%u},"
        "\"total_tokens\":%u}}\n",
        r->n_prompt, r->n_cached, r->n_generated, r->n_reasoning, r->n_prompt + r->n_generated);
}

static const ds4_protocol protocol = {
    .label = "compact",
    .id_prefix = "resp_",
    .prompt_param = "input",
    .tool_ids = DS4_TOOL_ID_OPENAI,
    .parse = ds4_responses_request_parse,
    .any_turn = true,
    .prepare = prepare,
    .rendered = rendered,
    .whole = whole,
};

void ds4_api_compact(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    ds4_exchange_run(&protocol, app, body, reply);
}

/* ---- stored responses ---- */

static void refuse_unknown(ds4_http_reply *reply) {
    ds4_api_error_send(reply,
                       &(ds4_api_error){.status = 404,
                                        .code = "response_not_found",
                                        .param = "id",
                                        .message = "there is no stored response of this id"});
}

static void send_json(ds4_http_reply *reply, ds4_strbuf *body) {
    ds4_strbuf_putc(body, '\n');
    if (body->failed)
        ds4_api_error_send(reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
    else
        ds4_http_reply_send(reply, 200, NULL, "application/json", body->data, body->n);
}

void ds4_api_stored_response(ds4_app *app, const char *path, size_t n, bool remove,
                             ds4_http_reply *reply) {
    static const char items_suffix[] = "/input_items";
    const size_t n_suffix = sizeof items_suffix - 1;
    bool items = n > n_suffix && memcmp(path + n - n_suffix, items_suffix, n_suffix) == 0;
    ds4_text id = {path, items ? n - n_suffix : n};
    ds4_strbuf body = {0};
    bool found;
    if (remove) {
        found = !items && ds4_response_store_remove(app->responses, id);
        ds4_strbuf_puts(&body, "{\"id\":");
        ds4_json_string(&body, id.data, id.n);
        ds4_strbuf_puts(&body, ",\"object\":\"response\",\"deleted\":true}");
    } else if (items) {
        ds4_strbuf_puts(&body, "{\"object\":\"list\",\"data\":[");
        found = ds4_response_store_find(app->responses, id, DS4_STORED_INPUT, &body);
        ds4_strbuf_puts(&body, "],\"has_more\":false}");
    } else {
        found = ds4_response_store_find(app->responses, id, DS4_STORED_RESPONSE, &body);
    }
    if (found)
        send_json(reply, &body);
    else
        refuse_unknown(reply);
    ds4_strbuf_free(&body);
}
