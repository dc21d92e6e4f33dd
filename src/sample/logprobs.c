#include <math.h>

#include "sample/exponential.h"
#include "sample/sampler.h"

/* log sum exp over the finite logits, in float64 in order of id; 0 when there are none. */
static double log_normaliser(const float *logits, size_t n_vocab) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i]) && (double)logits[i] > max) max = (double)logits[i];
    if (!isfinite(max)) return 0;
    for (size_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i])) sum += ds4_exponential((double)logits[i] - max);
    return max + log(sum);
}

void ds4_logprobs_top(const float *logits, size_t n_vocab, ds4_logprob *top, size_t n_top) {
    size_t n = 0;
    if (n_top == 0) return;
    for (size_t i = 0; i < n_vocab;
         i++) { /* the logits stand in for the logprobs until the list is known */
        if (!isfinite(logits[i]) || (n == n_top && logits[i] <= top[n - 1].logprob)) continue;
        size_t at = n < n_top ? n++ : n - 1;
        for (; at > 0 && top[at - 1].logprob < logits[i]; at--) top[at] = top[at - 1];
        top[at] = (ds4_logprob){(int32_t)i, logits[i]};
    }
    double normaliser = log_normaliser(logits, n_vocab);
    for (size_t i = 0; i < n; i++) top[i].logprob = (float)((double)top[i].logprob - normaliser);
    for (size_t i = n; i < n_top; i++) top[i] = (ds4_logprob){-1, -INFINITY};
}

float ds4_logprob_of(const float *logits, size_t n_vocab, int32_t id) {
    if (id < 0 || (size_t)id >= n_vocab || !isfinite(logits[id])) return -INFINITY;
    return (float)((double)logits[id] - log_normaliser(logits, n_vocab));
}
