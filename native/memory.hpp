// Scratch memory of the kernels: aligned allocation.
#pragma once

#include <stdlib.h>

#include "edgewise.h"

namespace edgewise {

// A new table, aligned to cache lines, so that a row of 64 bytes is one line; a large one is aligned to
// large pages, which are requested. Null where there is no memory.
inline void *new_table(size_t bytes) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, 64);
#else
    const size_t page = size_t(2) << 20;
    void *table = nullptr;
    if (posix_memalign(&table, bytes < 2 * page ? 64 : page, bytes)) return nullptr;
    if (bytes >= 2 * page) edgewise_advise(table, int64_t(bytes));
    return table;
#endif
}

inline void free_table(void *table) {
#if defined(_WIN32)
    _aligned_free(table);
#else
    free(table);
#endif
}

}  // namespace edgewise
