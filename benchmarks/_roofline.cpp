// How fast can this machine read gathered rows, when nothing is computed with them?

#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

namespace {

using Line = float __attribute__((vector_size(64)));
constexpr int kLine = sizeof(Line);
constexpr int kSums = 4;  // independent sums, so that no addition waits for the one before

struct Gather {
  const char* const* tables;
  int num_tables;
  const int32_t* index;
  int64_t row_bytes;  // a multiple of kSums * kLine
  int64_t distance;   // rows between a prefetch and its use
};

const char* row(const Gather& g, int table, int64_t entry) {
  return g.tables[table] + g.index[entry] * g.row_bytes;
}

template <int Locality>
float read(const Gather& g, int64_t begin, int64_t end) {
  Line sums[kSums] = {};
  for (int64_t entry = begin; entry < end; ++entry) {
    if constexpr (Locality > 0) {
      if (entry + g.distance < end)
        for (int table = 0; table < g.num_tables; ++table) {
          const char* ahead = row(g, table, entry + g.distance);
          for (int64_t byte = 0; byte < g.row_bytes; byte += kLine)
            __builtin_prefetch(ahead + byte, 0, Locality);
        }
    }
    for (int table = 0; table < g.num_tables; ++table) {
      const Line* line = reinterpret_cast<const Line*>(row(g, table, entry));
      for (int64_t done = 0; done < g.row_bytes; done += kSums * kLine)
        for (int sum = 0; sum < kSums; ++sum) sums[sum] += *line++;
    }
  }
  const Line all = sums[0] + sums[1] + sums[2] + sums[3];
  float total = 0;
  for (int lane = 0; lane < kLine / 4; ++lane) total += all[lane];
  return total;
}

float read_part(const Gather& g, int hint, int64_t begin, int64_t end) {
  switch (hint) {
    case 0: return read<3>(g, begin, end);  // prefetcht0: into all caches
    case 1: return read<2>(g, begin, end);  // prefetcht1: past the first
    default: return read<0>(g, begin, end);
  }
}

}  // namespace

// The sum is returned so that no read can be left out.
extern "C" float gather(const char* const* tables, int num_tables, const int32_t* index,
                        int64_t count, int64_t row_bytes, int64_t distance, int hint,
                        int threads) {
  const Gather g{tables, num_tables, index, row_bytes, distance};
  std::vector<float> totals(threads);
  std::vector<std::thread> others;
  const auto work = [&](int part) {
    totals[part] = read_part(g, hint, count * part / threads, count * (part + 1) / threads);
  };
  for (int part = 1; part < threads; ++part) others.emplace_back(work, part);
  work(0);
  for (auto& other : others) other.join();
  return std::accumulate(totals.begin(), totals.end(), 0.0f);
}
