// The C interface: picks the kernels for this machine, once.

#include <stdlib.h>
#include <string.h>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "edgewise.h"
#include "parallel.hpp"

#define EDGEWISE_DECLARE(variant)                                             \
    namespace edgewise {                                                      \
    namespace variant {                                                       \
    int64_t attention_forward(const edgewise_attention &);                    \
    int64_t attention_statistics(const edgewise_attention_backward &);        \
    int64_t attention_backward(const edgewise_attention_backward &);          \
    int64_t aggregate_forward(const edgewise_aggregate &);                    \
    int64_t edge_products(const edgewise_products &);                         \
    int64_t eigenvectors(const edgewise_eigenvectors &);                      \
    int64_t walks(const edgewise_walks &);                                    \
    }                                                                         \
    }

#if defined(EDGEWISE_X86_VARIANTS)
EDGEWISE_DECLARE(x86_64_v2)
#if defined(EDGEWISE_HAS_X86_64_V3)
EDGEWISE_DECLARE(x86_64_v3)
#endif
#if defined(EDGEWISE_HAS_X86_64_V4)
EDGEWISE_DECLARE(x86_64_v4)
#endif
#else
EDGEWISE_DECLARE(portable)
#endif

namespace edgewise {
namespace {

struct Kernels {
    const char *name;
    int64_t (*attention_forward)(const edgewise_attention &);
    int64_t (*attention_statistics)(const edgewise_attention_backward &);
    int64_t (*attention_backward)(const edgewise_attention_backward &);
    int64_t (*aggregate_forward)(const edgewise_aggregate &);
    int64_t (*edge_products)(const edgewise_products &);
    int64_t (*eigenvectors)(const edgewise_eigenvectors &);
    int64_t (*walks)(const edgewise_walks &);
};

#define EDGEWISE_KERNELS(variant)                                                              \
    Kernels {                                                                                  \
        #variant, variant::attention_forward, variant::attention_statistics,                   \
            variant::attention_backward, variant::aggregate_forward, variant::edge_products,   \
            variant::eigenvectors, variant::walks                                              \
    }

#if defined(EDGEWISE_X86_VARIANTS)
bool has_v3() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
}
bool has_v4() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

// EDGEWISE_NATIVE_VARIANT names another one, to test and to measure it.
Kernels choose() {
#if defined(EDGEWISE_X86_VARIANTS)
    const char *wish = getenv("EDGEWISE_NATIVE_VARIANT");
    Kernels best = EDGEWISE_KERNELS(x86_64_v2);
    __builtin_cpu_init();
#if defined(EDGEWISE_HAS_X86_64_V3)
    if ((wish && !strcmp(wish, best.name)) || !has_v3()) return best;
    best = EDGEWISE_KERNELS(x86_64_v3);
#endif
#if defined(EDGEWISE_HAS_X86_64_V4)
    if ((wish && !strcmp(wish, best.name)) || !has_v4()) return best;
    best = EDGEWISE_KERNELS(x86_64_v4);
#endif
    return best;
#else
    return EDGEWISE_KERNELS(portable);
#endif
}

const Kernels &kernels() {
    static const Kernels chosen = choose();
    return chosen;
}

bool was_forked = false;

#if !defined(_WIN32)
__attribute__((constructor)) void watch_forks() {
    pthread_atfork(nullptr, nullptr, [] { was_forked = true; });
}
#endif

}  // namespace

bool forked() { return was_forked; }

}  // namespace edgewise

using edgewise::kernels;

extern "C" {

int64_t edgewise_sizes(int64_t which) {
    const int64_t sizes[] = {sizeof(edgewise_attention), sizeof(edgewise_attention_backward),
                             sizeof(edgewise_aggregate), sizeof(edgewise_products),
                             sizeof(edgewise_eigenvectors), sizeof(edgewise_walks)};
    return sizes[which];
}

const char *edgewise_variant(void) { return kernels().name; }

int64_t edgewise_has_threads(void) {
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}

void edgewise_advise(void *memory, int64_t bytes) {
#if defined(__linux__)
    const uintptr_t page = uintptr_t(2) << 20, start = reinterpret_cast<uintptr_t>(memory);
    const uintptr_t first = (start + page - 1) & ~(page - 1);
    const uintptr_t last = (start + uintptr_t(bytes)) & ~(page - 1);
    if (first < last) madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

int64_t edgewise_attention_forward(const edgewise_attention *call) {
    return kernels().attention_forward(*call);
}
int64_t edgewise_attention_statistics(const edgewise_attention_backward *call) {
    return kernels().attention_statistics(*call);
}
int64_t edgewise_attention_backward_(const edgewise_attention_backward *call) {
    return kernels().attention_backward(*call);
}
int64_t edgewise_aggregate_forward(const edgewise_aggregate *call) {
    return kernels().aggregate_forward(*call);
}
int64_t edgewise_edge_products(const edgewise_products *call) {
    return kernels().edge_products(*call);
}
int64_t edgewise_eigenvectors_(const edgewise_eigenvectors *call) {
    return kernels().eigenvectors(*call);
}
int64_t edgewise_walks_(const edgewise_walks *call) { return kernels().walks(*call); }

}  // extern "C"
