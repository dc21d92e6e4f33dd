/* JSON documents as json-c trees. Release what is returned with json_object_put. Any thread. */
#ifndef DS4_GGUF_TOOL_JSON_FILE_H
#define DS4_GGUF_TOOL_JSON_FILE_H

#include <json-c/json.h>

#include "ds4.h"

/* One document: FORMAT, naming `what` and the byte, when it is malformed or something follows it.
 */
ds4_status ds4_json_parse(const char *text, size_t n, const char *what, json_object **document,
                          ds4_error *error);
ds4_status ds4_json_read_file(const char *path, json_object **document, ds4_error *error);
/* The same for DIRECTORY/NAME; *document is NULL, and the status OK, when there is no such file. */
ds4_status ds4_json_read_optional(const char *directory, const char *name, json_object **document,
                                  ds4_error *error);

#endif
