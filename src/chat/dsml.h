/* DSML, the markup in which the model writes tool calls: its words and its escapes. Written by the
 * renderer, read by the parser; both directions live here so that they stay inverses
 * (docs/chat.md). */
#ifndef DS4_CHAT_DSML_H
#define DS4_CHAT_DSML_H

#include "base/json_scan.h"
#include "base/strbuf.h"
#include "chat/chat_request.h"

#define DS4_DSML_WORD                                                                              \
    "\xEF\xBD\x9C"                                                                                 \
    "DSML"                                                                                         \
    "\xEF\xBD\x9C"
#define DS4_DSML_PARAMETER_CLOSE "</" DS4_DSML_WORD "parameter>"

/* Attribute values: & < > " as entities. The inverse also knows &apos;, decodes once, and leaves
 * unknown ones. */
void ds4_dsml_escape_attribute(ds4_text value, ds4_strbuf *out);
void ds4_dsml_unescape_attribute(ds4_text value, ds4_strbuf *out);

/* String parameters: raw, except that the exact closing parameter tag, and whatever looks like its
 * escaped form, gets its first character spelled as an entity: </X -> &lt;/X, &lt;/X -> &amp;lt;/X,
 * &amp;lt;/X -> &amp;amp;lt;/X (X being the DSML word, `parameter` and `>`). Every other & and <
 * stays. Unescape is the exact inverse. */
void ds4_dsml_escape_string(ds4_text value, ds4_strbuf *out);

/* The inverse, a byte at a time; bytes that may belong to an escaped tag wait. Zero-initialise. */
typedef struct ds4_dsml_unescaper {
    int stage; /* 0 nothing held, 1 behind & or amp; 2 inside amp; 3 inside lt; and the tag's tail
                */
    size_t n_amp;   /* complete "amp;" behind the & */
    size_t matched; /* bytes of the piece of stage 2 or 3 */
} ds4_dsml_unescaper;
void ds4_dsml_unescape_byte(ds4_dsml_unescaper *state, char byte, ds4_strbuf *out);
void ds4_dsml_unescape_end(ds4_dsml_unescaper *state, ds4_strbuf *out);

/* Non-string parameters: JSON without white space; the < of an exact closing parameter tag as
 * \u003c. */
void ds4_dsml_escape_json(ds4_json_value value, ds4_strbuf *out);

#endif
