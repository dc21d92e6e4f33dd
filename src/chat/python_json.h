/* JSON as Python's json.dumps(value, ensure_ascii=False) writes it: the model maker's template
 * shows schemas and arguments so. Any thread. */
#ifndef DS4_CHAT_PYTHON_JSON_H
#define DS4_CHAT_PYTHON_JSON_H

#include "base/json_scan.h"

/* Appends `value` with ", " and ": " between its tokens, characters as themselves, and numbers
 * spelled as Python would after reading them. Of equal keys all are written. */
void ds4_python_json(ds4_json_value value, ds4_strbuf *out);

#endif
