// Random walks that come back: walkers of one component at a time, as many as stay in a cache.

#include "../memory.hpp"
#include "../parallel.hpp"
#include "kernels.hpp"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kLanes = kWidth / 2;    // doubles in a vector
constexpr int64_t kWalkers = 64;      // at most so many at once
constexpr int64_t kCache = 1 << 16;   // nodes times walkers that are worked on at once, if few are not too few

using Lane = Vec<double, kLanes>;

// Walkers that start at consecutive nodes of a component, and vectors that hold one number of each.
int64_t walkers(int64_t size) {
    const int64_t fit = kCache / (size ? size : 1);
    const int64_t most = fit < kLanes ? kLanes : fit > kWalkers ? kWalkers : fit / kLanes * kLanes;
    const int64_t all = (size + kLanes - 1) / kLanes * kLanes;
    return all < most ? all : most;
}

}  // namespace

int64_t walks(const edgewise_walks &call) {
    const int64_t parts = call.components;
    int64_t *const begins = static_cast<int64_t *>(new_table(size_t(parts + 1) * sizeof(int64_t)));
    if (!begins) return 1;
    begins[0] = 0;  // blocks of walkers before each component
    for (int64_t c = 0; c < parts; ++c) {
        const int64_t size = call.ends[c + 1] - call.ends[c], width = walkers(size);
        begins[c + 1] = begins[c] + (size ? (size + width - 1) / width : 0);
    }
    int64_t failed = 0;
    const int64_t grain = 16, blocks = begins[parts];
    parallel((blocks + grain - 1) / grain, call.threads, [&](int64_t cell) {
        int64_t low = 0, high = parts;  // the component of the first block
        while (high - low > 1) {
            const int64_t middle = (low + high) / 2;
            (begins[middle] <= cell * grain ? low : high) = middle;
        }
        for (int64_t block = cell * grain; block < blocks && block < (cell + 1) * grain; ++block) {
            while (begins[low + 1] <= block) ++low;
            const int64_t *nodes = call.nodes + call.ends[low];
            const int64_t size = call.ends[low + 1] - call.ends[low], width = walkers(size);
            const int64_t first = (block - begins[low]) * width, vectors = width / kLanes;
            const size_t table = size_t(size * vectors) * sizeof(Lane);
            Lane *here = static_cast<Lane *>(new_table(2 * table)), *next = here + size * vectors;
            if (!here) {
                __atomic_store_n(&failed, int64_t(1), __ATOMIC_RELAXED);
                return;
            }
            Lane *const tables = here;
            memset(here, 0, table);
            const int64_t held = size - first < width ? size - first : width;
            for (int64_t w = 0; w < held; ++w) here[(first + w) * vectors + w / kLanes][w % kLanes] = 1;
            for (int64_t step = 0; step < call.steps; ++step) {
                for (int64_t i = 0; i < size; ++i) {
                    Lane *to = next + i * vectors;
                    for (int64_t v = 0; v < vectors; ++v) to[v] = Lane{};
                    for (int64_t e = call.indptr[nodes[i]]; e < call.indptr[nodes[i] + 1]; ++e) {
                        const int64_t source = call.indices[e];
                        const Lane *from = here + call.position[source] * vectors;
                        const double share = call.share[source];
                        for (int64_t v = 0; v < vectors; ++v) to[v] += share * from[v];
                    }
                }
                for (int64_t w = 0; w < held; ++w) {
                    const int64_t i = first + w;
                    call.out[nodes[i] * call.steps + step] =
                        next[i * vectors + w / kLanes][w % kLanes];
                }
                Lane *spare = here;
                here = next;
                next = spare;
            }
            free_table(tables);
        }
    });
    free_table(begins);
    return failed;
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise
