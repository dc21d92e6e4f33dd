/* What each launch of a CUDA program adds to its stream, graphs included: the time from the end of
 * the launch before to its own end. (Launches overlap: their durations are mostly waiting.) CUPTI
 * loads this library into any program:
 *
 *     CUDA_INJECTION64_PATH=build/cuda/lib/libtrace_launches.so build/cuda/bin/ds4-bench ...
 *
 * At its end it prints, for each kernel and grid that graphs have run, how often, the microseconds,
 * and their share of all. */
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

struct launch_record {
    uint64_t start, end;
    std::string what;
};

std::vector<launch_record> *records;

std::string plain_name(const char *name) {
    int status = 0;
    char *plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = plain != nullptr ? plain : name;
    free(plain);
    return result.substr(0, result.find('('));
}

void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most_records) {
    *size = 8 << 20;
    *buffer = (uint8_t *)aligned_alloc(64, *size);
    *most_records = 0;
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t *buffer, size_t, size_t valid) {
    CUpti_Activity *record = nullptr;
    while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
        if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
        const CUpti_ActivityKernel10 *k = (const CUpti_ActivityKernel10 *)record;
        if (k->graphId == 0) continue;
        char grid[64];
        snprintf(grid, sizeof grid, " %dx%dx%d/%d", k->gridX, k->gridY, k->gridZ, k->blockX);
        records->push_back({k->start, k->end, plain_name(k->name) + grid});
    }
    free(buffer);
}

void report() {
    struct total {
        uint64_t n, ns;
    };
    cuptiActivityFlushAll(1);
    std::sort(records->begin(), records->end(),
              [](const launch_record &a, const launch_record &b) { return a.start < b.start; });
    std::map<std::string, total> totals;
    uint64_t before = 0, all = 0;
    for (const launch_record &r : *records) {
        uint64_t from = std::max(before, r.start);
        total &t = totals[r.what];
        t.n++;
        t.ns += r.end > from ? r.end - from : 0;
        before = std::max(before, r.end);
    }
    std::vector<std::pair<std::string, total>> rows(totals.begin(), totals.end());
    std::sort(rows.begin(), rows.end(),
              [](const auto &a, const auto &b) { return a.second.ns > b.second.ns; });
    for (const auto &row : rows) all += row.second.ns;
    for (const auto &row : rows)
        fprintf(stderr, "%8llu x %9.2f us %5.1f %%  %s\n", (unsigned long long)row.second.n,
                (double)row.second.ns / 1e3 / (double)row.second.n,
                100.0 * (double)row.second.ns / (double)all, row.first.c_str());
}

} // namespace

extern "C" int InitializeInjection(void) {
    records = new std::vector<launch_record>;
    if (cuptiActivityRegisterCallbacks(give_buffer, take_buffer) != CUPTI_SUCCESS ||
        cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) != CUPTI_SUCCESS)
        return 0;
    atexit(report);
    return 1;
}
