#include "chat/render.h"
#include "base/error.h"
#include "chat/request_parse.h"
#include "tool/tool.h"

ds4_status ds4_tool_render(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                           uint32_t n_context, ds4_tool_prompt *prompt, ds4_error *error) {
    const ds4_request_options lenient = {.for_generation = false};
    const ds4_render_options options = {.layout = DS4_TEMPLATE_DS4, .n_context = n_context};
    ds4_chat_request request = {0};
    ds4_request_error refusal = {0};
    ds4_prompt rendered = {0};
    *prompt = (ds4_tool_prompt){0};
    ds4_status status = ds4_openai_request_parse(body, n, &lenient, &request, &refusal);
    if (status != DS4_OK)
        return ds4_fail(error, status, "%s%s%s", refusal.param, refusal.param[0] ? ": " : "",
                        refusal.message);
    status = ds4_render(&request, &options, &rendered, error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&rendered, tokenizer, &prompt->ids, error);
    prompt->thinking = rendered.think_mode != DS4_THINK_NONE;
    prompt->tools_active = rendered.tools_active;
    ds4_prompt_free(&rendered);
    ds4_chat_request_free(&request);
    return status;
}
