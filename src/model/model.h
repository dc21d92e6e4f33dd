/* The inside of a ds4_model, for the rooms that compute with it (backends, engine, tools).
 * Immutable once open. */
#ifndef DS4_MODEL_MODEL_H
#define DS4_MODEL_MODEL_H

#include "model/weights.h"

struct ds4_model {
    char *path;
    ds4_gguf *gguf;
    ds4_hparams hparams;
    ds4_weights weights;
    ds4_tokenizer *tokenizer; /* NULL when the file carries none */
    ds4_model_info info;
    uint64_t fingerprint; /* of metadata, tensor directory and samples of the payload; names saved
                             sessions */
};

#endif
