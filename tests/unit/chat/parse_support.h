/* What the tests of the output parser share: the markup, and whole texts parsed. */
#ifndef PARSE_SUPPORT_H
#define PARSE_SUPPORT_H

#include <string.h>

#include "chat/parse.h"

#define D                                                                                          \
    "\xEF\xBD\x9C"                                                                                 \
    "DSML"                                                                                         \
    "\xEF\xBD\x9C"
#define OPEN         "<" D "tool_calls>\n"
#define CLOSE        "</" D "tool_calls>"
#define INVOKE(name) "<" D "invoke name=\"" name "\">\n"
#define INVOKE_END   "</" D "invoke>\n"
#define PARAM(name, kind, value)                                                                   \
    "<" D "parameter name=\"" name "\" string=\"" kind "\">" value "</" D "parameter>\n"

static inline const char *str(const ds4_strbuf *buffer) {
    return buffer->n > 0 ? buffer->data : "";
}

static inline ds4_parser_options text_options(bool thinking) {
    return (ds4_parser_options){
        .thinking = thinking, .tools_active = true, .controls_in_text = true};
}

static inline void parse(ds4_parser_options options, const char *text, ds4_finish cause,
                         ds4_chat_result *result) {
    assert_int_equal(ds4_parse_output(&options, text, strlen(text), cause, result, NULL), DS4_OK);
}

#endif
