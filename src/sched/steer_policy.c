#include "sched/steer_policy.h"

bool ds4_steer_policy_edits_prompt(ds4_steer_policy policy) {
    return policy == DS4_STEER_ALWAYS;
}

bool ds4_steer_policy_edits(ds4_steer_policy policy, ds4_output_phase before,
                            ds4_output_phase after, bool speaking) {
    switch (policy) {
    case DS4_STEER_ALWAYS:
    case DS4_STEER_DECODING:
        return true;
    case DS4_STEER_FINAL_ANSWER:
        return speaking && before != DS4_PHASE_THINKING && after == DS4_PHASE_ANSWER;
    case DS4_STEER_OFF:
        break;
    }
    return false;
}

bool ds4_steer_begins_prose(const char *bytes, size_t n, bool is_control, bool tools_active) {
    if (is_control) return false;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
        return !tools_active || c != '<';
    }
    return false;
}
