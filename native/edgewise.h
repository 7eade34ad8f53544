/* The C interface of the native kernels: plain records, no Python, no torch.
 *
 * Every record is a sequence of 8-byte fields (integers, doubles, pointers), so that a caller can
 * pack it whatever the padding rules of a compiler are. `edgewise_sizes` lets it check.
 *
 * Strides count elements. The last dimension of every tensor is contiguous. In attention, a head
 * dimension may be padded: `dim` elements are read where `true_dim` count, and the rest must be zero.
 * Nothing beyond them is read, and the number of channels may be any.
 */
#ifndef EDGEWISE_H
#define EDGEWISE_H

#include <stdint.h>

#if defined(_WIN32)
#define EDGEWISE_API __declspec(dllexport)
#else
#define EDGEWISE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { EDGEWISE_FLOAT64 = 0, EDGEWISE_FLOAT32 = 1, EDGEWISE_BFLOAT16 = 2, EDGEWISE_FLOAT16 = 3 };
enum { EDGEWISE_DOT = 0, EDGEWISE_ADDITIVE = 1, EDGEWISE_GATV2 = 2 };
/* EDGEWISE_WON: the transpose of a maximum: an edge counts in the channels it has won, by column.
 * EDGEWISE_MEAN: a sum over the number of edges, whatever their weights. */
enum { EDGEWISE_SUM = 0, EDGEWISE_MAX = 1, EDGEWISE_WON = 2, EDGEWISE_MEAN = 3 };

/* A tensor [batch, heads, rows, dim]. A null pointer means there is none. */
typedef struct {
    void *data;
    int64_t batch, head, row;
} edgewise_view;

/* Rows of a graph and the schedule of their tasks; see `edgewise_schedule`. */
typedef struct {
    int64_t rows, columns;
    const int64_t *indptr;   /* [rows + 1] */
    const int32_t *indices;  /* [edges]: columns */
    const int32_t *edge;     /* [edges]: place in edge order; null where it is the same */
    const int32_t *copy;     /* [edges]: how many equal edges stand before; null where none */
    const int32_t *order;    /* [rows]: which row of the tensors each row is; null where the same */
    const int64_t *tasks;    /* [tasks, 5]: first row, last row, first edge, last edge, slot */
    int64_t num_tasks;
    const int64_t *cuts;     /* [cuts, 3]: row, first slot, last slot of each row that is cut */
    int64_t num_cuts, num_slots;
    /* Or null: all rows, in tiles that read the same columns and share them with no other tile. */
    const int64_t *tiles;    /* [tiles, 4]: first row, last row, first edge, columns */
    int64_t num_tiles;
} edgewise_rows;

typedef struct {
    int64_t dtype, score, batch, heads, kv_heads;
    int64_t key_dim, value_dim;           /* with padding, if any */
    int64_t true_key_dim, true_value_dim;
    int64_t threads;
    int64_t wide_out;                     /* `out` is float32 though the rest is half precision */
    double scale, softcap, slope;         /* softcap: 0 for none */
    int64_t drops, seed, threshold;       /* dropout: whether, seed, smallest hash that is kept */
    double multiplier;                    /* of what dropout keeps */
    edgewise_view query, key, value;
    edgewise_view vector;                 /* [1, heads, 1, key_dim] of GATv2 */
    edgewise_view bias;                   /* [batch|1, heads|1, edges], float32 or float64: row is the
                                             stride of edges */
    edgewise_view edge_key, edge_value;   /* [batch|1, heads|1, edges, dim] */
    edgewise_view out;                    /* forward: written; backward: the global output */
    void *lse;                            /* [batch, heads, targets], float32 or float64 */
    edgewise_rows rows;                   /* by target */
} edgewise_attention;

typedef struct {
    edgewise_attention call;
    edgewise_rows reversed;               /* by source; `edge` is never null where it is needed */
    edgewise_view grad_out;               /* padded like value */
    void *grad_lse;                       /* [batch, heads, targets], or null for zeros */
    /* What `edgewise_run_attention_statistics` wrote, [batch, targets, 2, heads] and room for 8 more numbers,
     * float32 or float64; the output, log-sum-exp and its gradient are then not read. Or null. */
    void *stats;
    edgewise_view grad_query, grad_key, grad_value; /* written; null where not needed */
    /* Added to, in float32 or float64; zeros before the call. */
    void *grad_vector;                    /* [heads, true_key_dim] */
    edgewise_view grad_bias, grad_edge_key, grad_edge_value;
} edgewise_attention_backward;

typedef struct {
    int64_t dtype, reduce, batch, channels, threads;
    edgewise_view value, out;             /* [batch, 1, rows, channels] */
    edgewise_view weight;                 /* [batch|1, 1, edges], float32 or float64: row is the stride
                                             of edges */
    int32_t *winner;                      /* [batch, rows, channels]: which edge is the maximum */
    edgewise_rows rows;
} edgewise_aggregate;

/* Products for each edge: the dot product of its target's and its source's rows. */
typedef struct {
    int64_t dtype, batch, channels, threads;
    edgewise_view target, source;         /* [batch, 1, rows, channels] */
    const int32_t *winner;                /* of a maximum: only channels that this edge has won */
    edgewise_view out;                    /* [batch|1, 1, edges], added to, float32 or float64 */
    edgewise_rows rows;
} edgewise_products;

/* Eigenvectors of many small symmetric matrices, by rising eigenvalue. */
typedef struct {
    int64_t count, size, first, wanted, threads; /* from eigenvalue `first` on, `wanted` of them */
    const double *matrices;               /* [count, size, size] */
    double *out;                          /* [count, wanted, size] */
} edgewise_eigenvectors;

/* Probabilities that a random walker is back after each of the first steps. */
typedef struct {
    int64_t components, steps, threads;
    const int64_t *nodes;                 /* [nodes]: by component */
    const int64_t *ends;                  /* [components + 1]: where each begins in `nodes` */
    const int64_t *position;              /* [nodes]: place of a node within its component */
    const int64_t *indptr, *indices;      /* rows by target */
    const double *share;                  /* [nodes]: probability of each edge that leaves a node */
    double *out;                          /* [nodes, steps] */
} edgewise_walks;

EDGEWISE_API int64_t edgewise_sizes(int64_t which);
EDGEWISE_API const char *edgewise_variant(void);
EDGEWISE_API int64_t edgewise_has_threads(void);

/* Request large pages for memory that is about to be written for the first time. */
EDGEWISE_API void edgewise_advise(void *memory, int64_t bytes);

/* Split rows into tasks of about equally many edges. Writes at most `edges / grain + rows...` tasks;
 * returns how many, and the number of cuts and slots through the pointers. Pass null tables to count first. */
EDGEWISE_API int64_t edgewise_schedule(const int64_t *indptr, int64_t rows, int64_t grain,
                                       int64_t piece, int64_t *tasks, int64_t *cuts,
                                       int64_t *num_cuts, int64_t *num_slots);

/* The kernels, KERNEL(name, record): each is a function `edgewise_run_NAME(const RECORD *call)`, which
 * returns 0, 1 where memory for partial results could not be had, or 2 where an iteration does not end.
 */
#define EDGEWISE_KERNELS(KERNEL)                               \
    KERNEL(attention_forward, edgewise_attention)              \
    KERNEL(attention_statistics, edgewise_attention_backward)  \
    KERNEL(attention_backward, edgewise_attention_backward)    \
    KERNEL(aggregate_forward, edgewise_aggregate)              \
    KERNEL(edge_products, edgewise_products)                   \
    KERNEL(eigenvectors, edgewise_eigenvectors)                \
    KERNEL(walks, edgewise_walks)

#define EDGEWISE_DECLARE(name, record) EDGEWISE_API int64_t edgewise_run_##name(const record *call);
EDGEWISE_KERNELS(EDGEWISE_DECLARE)
#undef EDGEWISE_DECLARE

#ifdef __cplusplus
}
#endif
#endif
