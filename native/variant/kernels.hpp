// What one instruction set offers to the dispatcher.
#pragma once

#include "../edgewise.h"

namespace edgewise {
namespace EDGEWISE_VARIANT {

int64_t attention_forward(const edgewise_attention &call);
int64_t attention_statistics(const edgewise_attention_backward &call);
int64_t attention_backward(const edgewise_attention_backward &call);
int64_t aggregate_forward(const edgewise_aggregate &call);
int64_t edge_products(const edgewise_products &call);
int64_t eigenvectors(const edgewise_eigenvectors &call);
int64_t walks(const edgewise_walks &call);

// Attention over tiles, where all rows lie in tiles that fit.
bool has_tiles(const edgewise_attention &call);
int64_t tiles_forward(const edgewise_attention &call);
int64_t tiles_backward(const edgewise_attention_backward &back);

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise
