// The C interface: selects the kernels for this machine's instruction set, once.

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

namespace edgewise {

#define EDGEWISE_FIELD(name, record) int64_t (*name)(const record &);
struct Kernels {
    const char *variant;
    EDGEWISE_KERNELS(EDGEWISE_FIELD)
};
#undef EDGEWISE_FIELD

// The kernels of each instruction set, as `variant::table`.
#define EDGEWISE_DECLARE(name, record) int64_t name(const record &);
#define EDGEWISE_ADDRESS(name, record) , name
#define EDGEWISE_TABLE(variant)                                                        \
    namespace variant {                                                                \
    EDGEWISE_KERNELS(EDGEWISE_DECLARE)                                                 \
    constexpr Kernels table = {#variant EDGEWISE_KERNELS(EDGEWISE_ADDRESS)};           \
    }

#if defined(EDGEWISE_X86_VARIANTS)
EDGEWISE_TABLE(x86_64_v2)
#if defined(EDGEWISE_HAS_X86_64_V3)
EDGEWISE_TABLE(x86_64_v3)
#endif
#if defined(EDGEWISE_HAS_X86_64_V4)
EDGEWISE_TABLE(x86_64_v4)
#endif
#else
EDGEWISE_TABLE(portable)
#endif

namespace {

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

// The kernels of the best instruction set that this machine has; EDGEWISE_NATIVE_VARIANT names another
// one, to test and to measure it.
Kernels choose() {
#if defined(EDGEWISE_X86_VARIANTS)
    const char *named = getenv("EDGEWISE_NATIVE_VARIANT");
    Kernels best = x86_64_v2::table;
    __builtin_cpu_init();
#if defined(EDGEWISE_HAS_X86_64_V3)
    if ((named && !strcmp(named, best.variant)) || !has_v3()) return best;
    best = x86_64_v3::table;
#endif
#if defined(EDGEWISE_HAS_X86_64_V4)
    if ((named && !strcmp(named, best.variant)) || !has_v4()) return best;
    best = x86_64_v4::table;
#endif
    return best;
#else
    return portable::table;
#endif
}

const Kernels &kernels() {
    static const Kernels chosen = choose();
    return chosen;
}

bool was_forked = false;

#if !defined(_WIN32)
__attribute__((constructor)) void register_fork_handler() {
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

const char *edgewise_variant(void) { return kernels().variant; }

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

#define EDGEWISE_RUN(name, record) \
    int64_t edgewise_run_##name(const record *call) { return kernels().name(*call); }
EDGEWISE_KERNELS(EDGEWISE_RUN)

}  // extern "C"
