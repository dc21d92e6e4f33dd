/* The command line of ds4-server. */
#ifndef DS4_SERVER_FLAGS_H
#define DS4_SERVER_FLAGS_H

#include "base/options.h"
#include "steering/dial.h"

enum { DS4_LOG_FORMAT_TEXT, DS4_LOG_FORMAT_JSON };

typedef struct ds4_server_flags {
    const char *model;
    int64_t ctx, tokens, threads, slots, queue, max_connections;
    int64_t kv_sessions, kv_memory_mb;
    const char *kv_disk_dir;
    int64_t kv_disk_space_mb, kv_min_tokens, kv_cold_max, kv_interval, kv_trim, kv_align;
    bool kv_reject_quant, no_tool_replay;
    int64_t tool_memory_ids;
    int kv_sim, backend, activations,
        sampling_profile; /* values of the enums of ds4.h and sched/generation.h */
    bool no_tool_guidance;
    ds4_dial_settings dial;
    int steering_policy; /* a ds4_steer_policy */
    double steering_limit;
    bool no_webui;
    bool warm_weights;
    const char *chdir;
    const char *host;
    int64_t port;
    const char *api_key, *api_key_file;
    bool insecure_no_auth;
    const char *allowed_host; /* comma-separated names */
    bool cors;
    const char *cors_origin; /* comma-separated origins, or "*" */
    int64_t head_timeout, body_timeout, write_timeout, keepalive, drain, output_kb, idle_unload;
    const char *lock_file, *trace;
    int64_t response_store_mb;
    int chat_template, effort_table; /* ds4_template; 0 first, 1 refresh */
    int64_t think_budget;
    int log_level; /* a ds4_log_level */
    int log_format;
} ds4_server_flags;

extern const ds4_program ds4_server_program;

#endif
