/* The device as a backend of the engine: the memory plan, what a step is for the kernels, graphs of
 * decoding steps, sessions' memory. */
#include "backend/gpu/forward.h"

#include <stdlib.h>

extern "C" {
#include "backend/backend.h"
#include "base/threads.h"
}

#ifdef __CUDACC__
#define BACKEND_TYPE ds4_backend_cuda
#define BACKEND_NAME "cuda"
#else
#define BACKEND_TYPE ds4_backend_emulated
#define BACKEND_NAME "emulated"
#endif

extern "C" const ds4_backend_type BACKEND_TYPE;

namespace GPU_NAMESPACE {

enum {
    MAX_GRAPHS = 16,
    MAX_DIRECTIONS = 4,
    ROW_ALIGNMENT = 16,
    LEAST_REACH = 2048,
    DEFAULT_BATCH = 4096 /* tokens of a step: each of 256 experts meets some 96 rows */
};

struct graph_entry {
    step_shape shape;
    device_graph *graph;
    uint64_t last_used;
};

/* A steering direction on the device. */
struct direction_entry {
    uint64_t fingerprint;
    float *vectors; /* [L][E]; NULL: free */
    uint64_t last_used;
};

/* What a step is, on the host: the mirror of the first buffers. */
struct step_mirror {
    int *item_of_row, *position, *token, *wanted;
    small_step *small;
    item_info *items;
    layer_state *states;
    bool states_changed; /* since they were sent */
    steer_row *steer;
    float *logits;
};

struct gpu_backend {
    ds4_backend base;
    const ds4_model *model;
    device *d;
    weights w;
    forward f;
    step_mirror mirror;
    graph_entry graphs[MAX_GRAPHS];
    direction_entry directions[MAX_DIRECTIONS];
    uint64_t clock;
};

/* ---- what can be computed at all ---- */

static ds4_status resolve(ds4_engine_options *options, ds4_error *error) {
    (void)error;
    if (options->n_threads == 0) options->n_threads = ds4_threads_online_cores();
    options->activations = DS4_ACTIVATIONS_FLOAT;
    if (options->max_batch_tokens == 0) options->max_batch_tokens = DEFAULT_BATCH;
    return DS4_OK;
}

static ds4_status check_shape(const ds4_model *model, ds4_error *error) {
    const ds4_hparams *hp = &model->hparams;
    if (hp->head_dim > MAX_HEAD_DIM || hp->head_dim % 4 != 0 || hp->n_streams > MAX_STREAMS ||
        hp->indexer_dim > MAX_INDEX_DIM || hp->indexer_dim % WARP != 0 || hp->q_lora % 4 != 0 ||
        hp->n_embd % 4 != 0)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "the GPU kernels take heads of up to %d lanes (a multiple of 4), indexer "
                        "rows of up to %d (a multiple of 32) and up to %d streams; use --backend "
                        "cpu",
                        MAX_HEAD_DIM, MAX_INDEX_DIM, MAX_STREAMS);
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        const ds4_layer_weights *w = &model->weights.layers[l];
        if (w->gate_experts.type == w->up_experts.type && w->gate_shared.type == w->up_shared.type)
            continue;
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "gate and up of layer %u have different types; use --backend cpu", l);
    }
    return DS4_OK;
}

static ds4_row_codec make_codec(const ds4_model *model, const ds4_engine_options *options) {
    ds4_row_codec codec = ds4_row_codec_make(&model->hparams, options->kv_sim, nullptr, nullptr);
    codec.row_stride = (codec.row_bytes + ROW_ALIGNMENT - 1) / ROW_ALIGNMENT * ROW_ALIGNMENT;
    codec.index_row_stride = (codec.index_row_bytes + 3) / 4 * 4;
    return codec;
}

static uint64_t mirror_bytes(const ds4_hparams *hp, const sizes &s) {
    uint64_t n = (uint64_t)s.max_rows, items = (uint64_t)s.max_items;
    return n * 4 * sizeof(int) + sizeof(small_step) + items * sizeof(item_info) +
           items * hp->n_layers * sizeof(layer_state) + 2 * n * hp->n_layers * sizeof(steer_row) +
           (uint64_t)s.logit_rows * hp->n_vocab * sizeof(float);
}

static ds4_status plan_memory(const ds4_model *model, const ds4_engine_options *options,
                              ds4_memory_plan *plan, ds4_error *error) {
    ds4_status status = check_shape(model, error);
    if (status != DS4_OK) return status;
    ds4_row_codec codec = make_codec(model, options);
    sizes s = forward_sizes(model, options);
    plan->weights = weights_bytes(model);
    plan->scratch = forward_bytes(&model->hparams, s);
    plan->available = device_free_bytes();
    plan->host =
        mirror_bytes(&model->hparams, s) + options->max_sessions * 12ull * options->max_context;
    ds4_kv_bytes(&model->hparams, &codec, options->max_context, &plan->session_fixed,
                 &plan->session_rows);
    return DS4_OK;
}

/* ---- sessions' memory ---- */

static void *allocate_rows(void *context, size_t n_bytes) {
    return device_allocate((device *)context, n_bytes);
}

static void release_rows(void *context, void *bytes) {
    device_release((device *)context, bytes);
}

static ds4_status copy_rows(void *context, ds4_copy_way way, void *to, size_t to_stride,
                            const void *from, size_t from_stride, size_t width, size_t n,
                            ds4_error *error) {
    device *d = (device *)context;
    device_copy_rows(d, to, to_stride, from, from_stride, width, n);
    return way == DS4_COPY_WITHIN ? DS4_OK : device_finish(d, error);
}

static void *allocate_host(ds4_backend *base, size_t n_bytes) {
    return device_allocate_host(((gpu_backend *)base)->d, n_bytes);
}

static void release_host(ds4_backend *base, void *memory) {
    device_release_host(((gpu_backend *)base)->d, memory);
}

/* ---- creation ---- */

static void free_mirror(device *d, step_mirror *m) {
    device_release_host(d, m->item_of_row);
    device_release_host(d, m->small);
    device_release_host(d, m->items);
    device_release_host(d, m->states);
    device_release_host(d, m->steer);
    device_release_host(d, m->logits);
    *m = step_mirror{};
}

static ds4_status create_mirror(gpu_backend *g, ds4_error *error) {
    const sizes &s = g->f.s;
    const ds4_hparams *hp = g->f.hp;
    size_t n = (size_t)s.max_rows, items = (size_t)s.max_items;
    step_mirror *m = &g->mirror;
    m->item_of_row = (int *)device_allocate_host(g->d, 4 * n * sizeof(int));
    m->small = (small_step *)device_allocate_host(g->d, sizeof *m->small);
    m->items = (item_info *)device_allocate_host(g->d, items * sizeof(item_info));
    m->states =
        (layer_state *)device_allocate_host(g->d, items * hp->n_layers * sizeof(layer_state));
    m->steer = (steer_row *)device_allocate_host(g->d, 2 * n * hp->n_layers * sizeof(steer_row));
    m->logits =
        (float *)device_allocate_host(g->d, (size_t)s.logit_rows * hp->n_vocab * sizeof(float));
    if (m->item_of_row == nullptr || m->small == nullptr || m->items == nullptr ||
        m->states == nullptr || m->steer == nullptr || m->logits == nullptr)
        return ds4_fail_memory(error, (size_t)mirror_bytes(hp, s), "a step on the host");
    memset((void *)m->states, 0xFF, items * hp->n_layers * sizeof(layer_state)); /* no session's */
    memset(m->small, 0, sizeof *m->small);
    m->position = m->item_of_row + n;
    m->token = m->position + n;
    m->wanted = m->token + n;
    return DS4_OK;
}

static void destroy(ds4_backend *base) {
    gpu_backend *g = (gpu_backend *)base;
    if (g->d != nullptr) {
        device_finish(g->d, nullptr);
        for (graph_entry &entry : g->graphs) device_graph_release(g->d, entry.graph);
        for (direction_entry &entry : g->directions) device_release(g->d, entry.vectors);
        free_mirror(g->d, &g->mirror);
        forward_free(&g->f);
        weights_free(g->d, &g->w);
        device_destroy(g->d);
    }
    free(g);
}

static ds4_status create(const ds4_model *model, const ds4_engine_options *options,
                         ds4_backend **result, ds4_error *error) {
    gpu_backend *g = (gpu_backend *)calloc(1, sizeof *g);
    if (g == nullptr) return ds4_fail_memory(error, sizeof *g, "the GPU backend");
    g->model = model;
    g->base.type = &BACKEND_TYPE;
    g->base.codec = make_codec(model, options);
    ds4_status status = device_create(&g->d, error);
    g->base.memory = ds4_kv_memory{g->d, allocate_rows, release_rows, copy_rows, false};
    if (status == DS4_OK)
        status = weights_place(g->d, model, options->n_threads, options->progress,
                               options->progress_context, &g->w, error);
    if (status == DS4_OK)
        status = forward_create(g->d, model, options, &g->base.codec, &g->w, &g->f, error);
    if (status == DS4_OK) status = create_mirror(g, error);
    if (status != DS4_OK)
        destroy(&g->base);
    else
        *result = &g->base;
    return status;
}

/* ---- a step ---- */

static ds4_status check_step(const gpu_backend *g, const ds4_step *step, ds4_error *error) {
    if ((int)step->n_items > g->f.s.max_items)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "a step of %u sessions; at most %d on a GPU",
                        step->n_items, g->f.s.max_items);
    for (uint32_t i = 0; i < step->n_items; i++)
        if (step->items[i].outputs[0] != nullptr || step->items[i].outputs[1] != nullptr)
            return ds4_fail(error, DS4_UNSUPPORTED,
                            "outputs of sub-layers are handed out on the CPU only; use --backend "
                            "cpu");
    return DS4_OK;
}

/* True: it was another. */
static bool copy_state(const ds4_layer_kv *kv, layer_state *state) {
    layer_state now = {
        kv->raw,           kv->attention.value, kv->attention.gate, kv->attention.rows,
        kv->indexer.value, kv->indexer.gate,    kv->indexer.rows};
    if (memcmp(state, &now, sizeof now) == 0) return false;
    *state = now;
    return true;
}

/* Room for more than is needed, in powers of two, so that few shapes (and graphs) suffice. */
static int reach_of(int n_tokens, int max_context) {
    int reach = LEAST_REACH;
    while (reach < n_tokens) reach *= 2;
    return reach < max_context ? reach : max_context;
}

static step_shape describe(gpu_backend *g, const ds4_step *step, const ds4_logit_request *wanted,
                           uint32_t n_wanted) {
    step_mirror *m = &g->mirror;
    step_shape shape = {};
    int longest = 0;
    shape.n_rows = (int)step->n_rows;
    shape.n_items = (int)step->n_items;
    shape.n_wanted = (int)n_wanted;
    shape.short_items = 1;
    for (uint32_t i = 0; i < step->n_items; i++) {
        const ds4_step_item *item = &step->items[i];
        m->items[i] = item_info{(int)item->position, (int)item->n, (int)item->first_row};
        for (uint32_t l = 0; l < g->f.hp->n_layers; l++)
            if (copy_state(&item->kv->layers[l],
                           &m->states[(size_t)l * (size_t)g->f.s.max_items + i]))
                m->states_changed = true;
        if (item->n > DS4_JOURNAL_TOKENS) shape.short_items = 0;
        if ((int)(item->position + item->n) > longest) longest = (int)(item->position + item->n);
    }
    for (uint32_t r = 0; r < step->n_rows; r++) {
        m->item_of_row[r] = (int)step->item_of_row[r];
        m->position[r] = (int)step->position[r];
        m->token[r] = (int)step->token[r];
    }
    for (uint32_t i = 0; i < n_wanted; i++) m->wanted[i] = (int)wanted[i].row;
    shape.reach = reach_of(longest, g->f.s.max_context);
    return shape;
}

/* The direction's vectors on the device; NULL when out of memory. */
static const float *find_direction(gpu_backend *g, const ds4_direction *direction) {
    const ds4_hparams *hp = g->f.hp;
    uint64_t fingerprint = ds4_direction_get_info(direction)->fingerprint;
    size_t layer = hp->n_embd * sizeof(float);
    direction_entry *entry = &g->directions[0];
    for (direction_entry &e : g->directions) {
        if (e.vectors != nullptr && e.fingerprint == fingerprint) {
            e.last_used = ++g->clock;
            return e.vectors;
        }
        if (e.last_used < entry->last_used) entry = &e;
    }
    if (entry->vectors == nullptr)
        entry->vectors = (float *)device_allocate(g->d, layer * hp->n_layers);
    if (entry->vectors == nullptr) return nullptr;
    entry->fingerprint = fingerprint;
    entry->last_used = ++g->clock;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        const float *row = ds4_direction_row(direction, l);
        if (row != nullptr)
            device_copy_in(g->d, entry->vectors + (size_t)l * hp->n_embd, row, layer);
    }
    device_finish(g->d, nullptr);
    return entry->vectors;
}

/* Fills the table of edits, when any item's dial asks for one. */
static ds4_status describe_steering(gpu_backend *g, const ds4_step *step, step_shape *shape,
                                    ds4_error *error) {
    const ds4_hparams *hp = g->f.hp;
    uint32_t n_directions = 0;
    for (uint32_t i = 0; i < step->n_items; i++) {
        const ds4_steering *s = step->items[i].steering;
        if (s != nullptr && s->direction != nullptr && (s->ffn != 0 || s->attn != 0))
            n_directions++;
    }
    if (n_directions == 0) return DS4_OK;
    shape->steered = 1;
    for (uint32_t i = 0; i < step->n_items; i++) {
        const ds4_step_item *item = &step->items[i];
        const ds4_steering *s = item->steering;
        bool steered = s != nullptr && s->direction != nullptr;
        const float *vectors = steered ? find_direction(g, s->direction) : nullptr;
        if (steered && vectors == nullptr)
            return ds4_fail(error, DS4_NO_MEMORY, "no GPU memory for a steering direction");
        for (int site = 0; site < 2; site++) {
            for (uint32_t l = 0; l < hp->n_layers; l++) {
                float scale = ds4_steering_scale(s, (ds4_steer_site)site, l);
                bool edits = scale != 0 && ds4_direction_row(s->direction, l) != nullptr;
                steer_row row = {scale, edits ? (int)s->mode : 0,
                                 edits ? vectors + (size_t)l * hp->n_embd : nullptr};
                for (uint32_t t = 0; t < item->n; t++)
                    g->mirror.steer[((size_t)site * hp->n_layers + l) * step->n_rows +
                                    item->first_row + t] = row;
            }
        }
    }
    return DS4_OK;
}

static void send_states(gpu_backend *g, int n_items) {
    size_t items = (size_t)g->f.s.max_items;
    if (!g->mirror.states_changed) return;
    device_copy_rows(g->d, g->f.b.states, items * sizeof(layer_state), g->mirror.states,
                     items * sizeof(layer_state), (size_t)n_items * sizeof(layer_state),
                     g->f.hp->n_layers);
    g->mirror.states_changed = false;
}

/* A copy takes longer than the kernels that wait for it: a step of few rows comes in one. */
static void send_small(gpu_backend *g, const step_shape &shape) {
    const step_mirror &m = g->mirror;
    size_t n = (size_t)shape.n_rows * sizeof(int);
    memcpy(m.small->item_of_row, m.item_of_row, n);
    memcpy(m.small->position, m.position, n);
    memcpy(m.small->token, m.token, n);
    memcpy(m.small->wanted, m.wanted, (size_t)shape.n_wanted * sizeof(int));
    memcpy(m.small->items, m.items, (size_t)shape.n_items * sizeof(item_info));
    device_copy_in(g->d, g->f.b.small, m.small, sizeof *m.small);
}

static void send_step(gpu_backend *g, const step_shape &shape) {
    const step_mirror &m = g->mirror;
    const buffers &b = g->f.b;
    size_t n = (size_t)shape.n_rows, layers = g->f.hp->n_layers;
    send_states(g, shape.n_items);
    if (shape.n_rows <= SMALL_ROWS) {
        send_small(g, shape);
    } else {
        device_copy_in(g->d, b.item_of_row, m.item_of_row, n * sizeof(int));
        device_copy_in(g->d, b.position, m.position, n * sizeof(int));
        device_copy_in(g->d, b.token, m.token, n * sizeof(int));
        device_copy_in(g->d, b.wanted, m.wanted, (size_t)shape.n_wanted * sizeof(int));
        device_copy_in(g->d, b.items, m.items, (size_t)shape.n_items * sizeof(item_info));
    }
    if (shape.steered) device_copy_in(g->d, b.steer, m.steer, 2 * layers * n * sizeof(steer_row));
}

static bool same_shape(const step_shape &a, const step_shape &b) {
    return a.n_rows == b.n_rows && a.n_wanted == b.n_wanted && a.reach == b.reach &&
           a.short_items == b.short_items && a.steered == b.steered;
}

static void run_all(gpu_backend *g, const step_shape &shape) {
    forward_run(&g->f, shape);
    if (shape.n_wanted > 0 && shape.n_wanted <= g->f.s.logit_rows)
        forward_logits(&g->f, shape, 0, shape.n_wanted);
}

/* Steps of few rows come again and again in the same shape: their launches are recorded once. */
static void run_recorded(gpu_backend *g, const step_shape &shape) {
    graph_entry *entry = &g->graphs[0];
    for (graph_entry &e : g->graphs) {
        if (e.graph != nullptr && same_shape(e.shape, shape)) {
            e.last_used = ++g->clock;
            device_replay(g->d, e.graph);
            return;
        }
        if (e.last_used < entry->last_used) entry = &e;
    }
    device_graph_release(g->d, entry->graph);
    device_record_begin(g->d);
    run_all(g, shape);
    entry->graph = device_record_end(g->d);
    entry->shape = shape;
    entry->last_used = ++g->clock;
    if (entry->graph != nullptr) device_replay(g->d, entry->graph);
}

static ds4_status run(ds4_backend *base, const ds4_step *step, const ds4_logit_request *wanted,
                      uint32_t n_wanted, ds4_error *error) {
    gpu_backend *g = (gpu_backend *)base;
    size_t vocab = g->f.hp->n_vocab;
    int most = g->f.s.logit_rows;
    ds4_status status = check_step(g, step, error);
    if (status != DS4_OK) return status;
    step_shape shape = describe(g, step, wanted, n_wanted);
    status = describe_steering(g, step, &shape, error);
    if (status != DS4_OK) return status;
    send_step(g, shape);
    if (shape.n_rows <= SMALL_ROWS)
        run_recorded(g, shape);
    else
        run_all(g, shape);
    for (int first = 0; first < shape.n_wanted || first == 0; first += most) {
        int n = shape.n_wanted - first < most ? shape.n_wanted - first : most;
        if (shape.n_wanted > most) forward_logits(&g->f, shape, first, n);
        for (int i = 0; i < n; i++) {
            float *to = wanted[first + i].logits, *by_way_of = g->mirror.logits + (size_t)i * vocab;
            device_copy_out(g->d, device_is_pinned(g->d, to) ? to : by_way_of,
                            g->f.b.logits + (size_t)i * vocab, vocab * sizeof(float));
        }
        status = device_finish(g->d, error);
        if (status != DS4_OK) return status;
        for (int i = 0; i < n; i++) {
            float *to = wanted[first + i].logits;
            if (!device_is_pinned(g->d, to))
                memcpy(to, g->mirror.logits + (size_t)i * vocab, vocab * sizeof(float));
        }
    }
    return DS4_OK;
}

static ds4_status measure_copy(ds4_backend *base, double *gb_per_second, ds4_error *error) {
    const size_t n_bytes = (size_t)1 << 30; /* more than the caches hold */
    device *d = ((gpu_backend *)base)->d;
    void *memory = device_allocate(d, n_bytes);
    *gb_per_second = 0;
    if (memory == nullptr) return DS4_OK;
    ds4_status status = device_measure_copy(d, memory, n_bytes, gb_per_second, error);
    device_release(d, memory);
    return status;
}

} // namespace GPU_NAMESPACE

extern "C" const ds4_backend_type BACKEND_TYPE = {
    BACKEND_NAME,
    GPU_NAMESPACE::device_check,
    GPU_NAMESPACE::resolve,
    GPU_NAMESPACE::plan_memory,
    GPU_NAMESPACE::create,
    GPU_NAMESPACE::destroy,
    GPU_NAMESPACE::run,
    nullptr,
    GPU_NAMESPACE::measure_copy,
    GPU_NAMESPACE::allocate_host,
    GPU_NAMESPACE::release_host,
};
