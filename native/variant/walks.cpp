// Return probabilities of random walks: walkers of one component at a time, in memory that fits a cache.

#include "../memory.hpp"
#include "../parallel.hpp"
#include "kernels.hpp"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kLanes = kWidth / 2;   // doubles in a vector
constexpr int64_t kMost = 64;        // walkers at once
constexpr int64_t kCells = 1 << 16;  // nodes times walkers at once: what a cache holds
constexpr int64_t kGrain = 16;       // blocks that a thread takes at a time

using Lane = Vec<double, kLanes>;

// How many walkers of a component walk at once: whole vectors.
int64_t walkers(int64_t nodes) {
    const int64_t all = (nodes + kLanes - 1) / kLanes * kLanes;
    const int64_t fit = nodes ? kCells / nodes / kLanes * kLanes : 0;
    const int64_t most = fit < kLanes ? kLanes : fit > kMost ? kMost : fit;
    return all < most ? all : most;
}

struct Component {
    const edgewise_walks &call;
    const int64_t *nodes;
    int64_t size;

    Component(const edgewise_walks &call, int64_t c)
        : call(call), nodes(call.nodes + call.ends[c]), size(call.ends[c + 1] - call.ends[c]) {}

    // Every walker of `here` takes one step to `next`, both [size, vectors].
    void step(const Lane *here, Lane *next, int64_t vectors) const {
        for (int64_t i = 0; i < size; ++i) {
            Lane *to = next + i * vectors;
            for (int64_t v = 0; v < vectors; ++v) to[v] = Lane{};
            for (int64_t e = call.indptr[nodes[i]]; e < call.indptr[nodes[i] + 1]; ++e) {
                const int64_t source = call.indices[e];
                const Lane *from = here + call.position[source] * vectors;
                for (int64_t v = 0; v < vectors; ++v) to[v] += call.share[source] * from[v];
            }
        }
    }

    // Those that start at `first` and after it. Whether there was memory.
    bool walk(int64_t first) const {
        const int64_t width = walkers(size), vectors = width / kLanes, rest = size - first;
        const int64_t held = rest < width ? rest : width;
        Lane *table = static_cast<Lane *>(new_table(size_t(2 * size * vectors) * sizeof(Lane)));
        if (!table) return false;
        Lane *here = table, *next = table + size * vectors;
        memset(here, 0, size_t(size * vectors) * sizeof(Lane));
        for (int64_t w = 0; w < held; ++w) here[(first + w) * vectors + w / kLanes][w % kLanes] = 1;
        for (int64_t s = 0; s < call.steps; ++s) {
            step(here, next, vectors);
            for (int64_t w = 0; w < held; ++w) {
                const Lane back = next[(first + w) * vectors + w / kLanes];
                call.out[nodes[first + w] * call.steps + s] = back[w % kLanes];
            }
            Lane *spare = here;
            here = next;
            next = spare;
        }
        free_table(table);
        return true;
    }
};

}  // namespace

int64_t walks(const edgewise_walks &call) {
    const int64_t parts = call.components;
    int64_t *begins = static_cast<int64_t *>(new_table(size_t(parts + 1) * sizeof(int64_t)));
    if (!begins) return 1;
    begins[0] = 0;  // blocks of walkers before each component
    for (int64_t c = 0; c < parts; ++c) {
        const int64_t size = call.ends[c + 1] - call.ends[c], width = walkers(size);
        begins[c + 1] = begins[c] + (size ? (size + width - 1) / width : 0);
    }
    const int64_t blocks = begins[parts];
    int64_t failed = 0;
    parallel((blocks + kGrain - 1) / kGrain, call.threads, [&](int64_t cell) {
        int64_t c = 0, high = parts;
        while (high - c > 1) {  // the component of the first block
            const int64_t middle = (c + high) / 2;
            (begins[middle] <= cell * kGrain ? c : high) = middle;
        }
        for (int64_t block = cell * kGrain; block < blocks && block < (cell + 1) * kGrain; ++block) {
            while (begins[c + 1] <= block) ++c;
            const Component component(call, c);
            if (!component.walk((block - begins[c]) * walkers(component.size))) {
                __atomic_store_n(&failed, int64_t(1), __ATOMIC_RELAXED);
            }
        }
    });
    free_table(begins);
    return failed;
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise
