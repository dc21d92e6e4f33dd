#include "base/error.h"
#include "base/file.h"
#include "steer-tool/steer.h"

ds4_status ds4_steer_open_model(const char *path, ds4_model **model, ds4_error *error) {
    ds4_status status = ds4_file_check_model(path, error);
    if (status == DS4_OK) status = ds4_model_open(path, NULL, model, error);
    if (status == DS4_OK && ds4_model_get_tokenizer(*model) == NULL)
        status = ds4_fail(error, DS4_UNSUPPORTED, "%s has no tokenizer", path);
    return status;
}
