// A parallel loop over independent cells of work; results do not depend on which thread takes which.
#pragma once

#include <stdint.h>

namespace edgewise {

// True in a process that was forked from one that had used threads: its pool is gone.
bool forked();

// Call f(cell) for every cell. No two cells write to the same place, so any order gives one result.
template <class F>
inline void parallel(int64_t cells, int64_t threads, F f) {
#if defined(_OPENMP)
    if (threads > cells) threads = cells;
    if (threads > 1 && !forked()) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(threads))
        for (int64_t cell = 0; cell < cells; ++cell) f(cell);
        return;
    }
#else
    (void)threads;
#endif
    for (int64_t cell = 0; cell < cells; ++cell) f(cell);
}

}  // namespace edgewise
