/* JSON text appended to a ds4_strbuf: strings escaped, always valid UTF-8. Any thread. */
#ifndef DS4_SERVER_JSON_OUT_H
#define DS4_SERVER_JSON_OUT_H

#include "base/strbuf.h"

/* A JSON string with its quotes. Escaped are only `"`, `\` and bytes below 0x20; each maximal
 * malformed UTF-8 part becomes U+FFFD, because a strict client refuses the whole document
 * otherwise. */
void ds4_json_string(ds4_strbuf *out, const char *bytes, size_t n);
void ds4_json_cstring(ds4_strbuf *out, const char *text);

#endif
