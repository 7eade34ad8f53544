// The kernels of one instruction set, which the dispatcher calls.
#pragma once

#include "../edgewise.h"

namespace edgewise {
namespace EDGEWISE_VARIANT {

#define EDGEWISE_DECLARE(name, record) int64_t name(const record &call);
EDGEWISE_KERNELS(EDGEWISE_DECLARE)
#undef EDGEWISE_DECLARE

// Attention over tiles, where all rows lie in tiles that fit.
bool has_tiles(const edgewise_attention &call);
int64_t tiles_forward(const edgewise_attention &call);
int64_t tiles_backward(const edgewise_attention_backward &back);

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise
