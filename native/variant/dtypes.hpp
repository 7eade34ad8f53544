// The dtype of a call, from a number to a type.
#pragma once

#include "../edgewise.h"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {

template <class T>
struct Dtype {
    using Number = T;
};

// Calls `work` with the `Dtype` of a number of `edgewise.h`.
template <class Work>
int64_t dispatch_dtype(int64_t dtype, const Work &work) {
    switch (dtype) {
        case EDGEWISE_FLOAT64: return work(Dtype<double>{});
        case EDGEWISE_FLOAT32: return work(Dtype<float>{});
        case EDGEWISE_BFLOAT16: return work(Dtype<BFloat16>{});
        default: return work(Dtype<Float16>{});
    }
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise
