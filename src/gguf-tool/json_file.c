#include "gguf-tool/json_file.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"

enum { MAX_FILE_BYTES = 256 << 20 };

ds4_status ds4_json_parse(const char *text, size_t n, const char *what, json_object **document,
                          ds4_error *error) {
    *document = NULL;
    if (n == 0 || n > INT_MAX)
        return ds4_fail(error, DS4_FORMAT, "%s: %zu bytes are no JSON document", what, n);
    json_tokener *tokener = json_tokener_new();
    if (tokener == NULL) return ds4_fail_memory(error, 0, "a JSON parser");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *parsed = json_tokener_parse_ex(tokener, text, (int)n);
    enum json_tokener_error code = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    /* A bare number is only known to be complete when something follows; we read objects, so no
     * matter. */
    while (code == json_tokener_success && end < n &&
           (text[end] == ' ' || text[end] == '\n' || text[end] == '\r' || text[end] == '\t')) {
        end++;
    }
    if (code != json_tokener_success || end != n) {
        json_object_put(parsed);
        return ds4_fail(error, DS4_FORMAT, "%s: malformed JSON at byte %zu: %s", what, end,
                        code == json_tokener_success    ? "something follows the document"
                        : code == json_tokener_continue ? "the document is cut off"
                                                        : json_tokener_error_desc(code));
    }
    *document = parsed;
    return DS4_OK;
}

ds4_status ds4_json_read_file(const char *path, json_object **document, ds4_error *error) {
    ds4_strbuf bytes = {0};
    *document = NULL;
    ds4_status status = ds4_file_read(path, MAX_FILE_BYTES, &bytes, error);
    if (status == DS4_OK) status = ds4_json_parse(bytes.data, bytes.n, path, document, error);
    ds4_strbuf_free(&bytes);
    return status;
}

ds4_status ds4_json_read_optional(const char *directory, const char *name, json_object **document,
                                  ds4_error *error) {
    ds4_strbuf path = {0};
    ds4_status status = DS4_OK;
    *document = NULL;
    ds4_strbuf_printf(&path, "%s/%s", directory, name);
    if (path.failed)
        status = ds4_fail_memory(error, path.n, "a path");
    else if (access(path.data, F_OK) == 0)
        status = ds4_json_read_file(path.data, document, error);
    ds4_strbuf_free(&path);
    return status;
}
