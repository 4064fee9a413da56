// Session-based nearest neighbours. Lists of each item's sessions, most recent first, are merged until enough sessions
// were seen that share an item with the one asked for, so that work does not grow with the number of sessions
// (VMIS-kNN, Serenade 2022). Threads share the sessions that are asked for. See tagnn_fast/ops/session_neighbours.py.

#include <cmath>
#include <cstdlib>

#include "item_scores.h"

namespace tagnn_fast::cpu {
namespace {

// As tagnn_fast/ops/session_neighbours.py numbers them.
enum class Decay : int64_t { kSame, kDiv, kLinear, kLog, kQuadratic, kExponential, kCount };

// What a click weighs in similarity, `position` from 1 to `length`.
double click_weight(Decay decay, double scale, int64_t position, int64_t length) {
  const double share = static_cast<double>(position) / static_cast<double>(length);
  const double before_last = static_cast<double>(length - position);
  switch (decay) {
    case Decay::kDiv:
      return share;
    case Decay::kLinear:
      return std::max(0.0, 1.0 - 0.1 * before_last);
    case Decay::kLog:
      return 1.0 / std::log10(before_last + 1.7);
    case Decay::kQuadratic:
      return share * share;
    case Decay::kExponential:
      return std::exp(-before_last / scale);
    default:
      return 1.0;
  }
}

// What a neighbour weighs whose latest shared click is `step` clicks from the end, from 1.
double match_weight(Decay decay, double scale, int64_t step) {
  const double steps = static_cast<double>(step);
  switch (decay) {
    case Decay::kDiv:
      return 1.0 / steps;
    case Decay::kLinear:
      return std::max(0.0, 1.0 - 0.1 * steps);
    case Decay::kLog:
      return 1.0 / std::log10(steps + 1.7);
    case Decay::kQuadratic:
      return 1.0 / (steps * steps);
    case Decay::kExponential:
      return std::exp(-(steps - 1.0) / scale);
    default:
      return 1.0;
  }
}

struct NeighbourOptions {
  int64_t neighbours, sample;
  Decay click_decay, match_decay;
  double click_scale, match_scale;
  double distance_scale;  // 0: an item's place in the neighbour does not matter
  bool cosine;

  void check() const {
    check_value(neighbours >= 1, "neighbours", "1 or more", neighbours);
    check_value(sample >= 1, "sample", "1 or more", sample);
    check_decay(click_decay, click_scale, "click_decay", "click_scale");
    check_decay(match_decay, match_scale, "match_decay", "match_scale");
    check_value(distance_scale >= 0, "distance_scale", "0 or more", distance_scale);
  }

 private:
  static void check_decay(Decay decay, double scale, const char* name, const char* scale_name) {
    const auto number = static_cast<int64_t>(decay);
    check_value(number >= 0 && number < static_cast<int64_t>(Decay::kCount), name, "a known decay", number);
    check_value(decay != Decay::kExponential || scale > 0, scale_name, "more than 0", scale);
  }
};

struct SessionIndexInputs {
  Tensor items, offsets, posting_offsets, postings, session_offsets, session_items, session_positions, session_weights,
      item_weights;
  ItemRanking ranking;
  int64_t queries = 0;

  void check() {
    constexpr Backend backend = CpuOp::kBackend;
    check_tensor(backend, items, "items", ScalarType::Long, {kAnySize});
    check_tensor(backend, offsets, "offsets", ScalarType::Long, {kAnySize});
    check_value(offsets.size(0) >= 1, "offsets", "at least one value", offsets.size(0));
    queries = offsets.size(0) - 1;
    ranking.check(queries);
    check_tensor(backend, posting_offsets, "posting_offsets", ScalarType::Long, {ranking.items + 1});
    check_tensor(backend, postings, "postings", ScalarType::Int, {kAnySize});
    check_tensor(backend, session_weights, "session_weights", ScalarType::Double, {kAnySize});
    check_tensor(backend, session_offsets, "session_offsets", ScalarType::Long, {session_weights.size(0) + 1});
    check_tensor(backend, session_items, "session_items", ScalarType::Int, {kAnySize});
    check_tensor(backend, session_positions, "session_positions", ScalarType::Int, {session_items.size(0)});
    check_tensor(backend, item_weights, "item_weights", ScalarType::Double, {ranking.items});
    make_contiguous(
        {&items, &offsets, &posting_offsets, &postings, &session_offsets, &session_items, &session_positions,
         &session_weights, &item_weights});
  }
};

// The training sessions: the distinct items of each with the place of their last click, and the sessions of each item.
struct SessionIndex {
  const int64_t *posting_offset, *session_offset;
  const int32_t *posting, *item, *position;
  const double *session_weight, *item_weight;
  int64_t items, sessions, postings, entries;

  explicit SessionIndex(const SessionIndexInputs& inputs)
      : posting_offset(data<int64_t>(inputs.posting_offsets)),
        session_offset(data<int64_t>(inputs.session_offsets)),
        posting(data<int32_t>(inputs.postings)),
        item(data<int32_t>(inputs.session_items)),
        position(data<int32_t>(inputs.session_positions)),
        session_weight(data<double>(inputs.session_weights)),
        item_weight(data<double>(inputs.item_weights)),
        items(inputs.ranking.items),
        sessions(inputs.session_weights.size(0)),
        postings(inputs.postings.size(0)),
        entries(inputs.session_items.size(0)) {}

  // Entries [first, last) of a session.
  std::pair<int64_t, int64_t> entries_of(int32_t session) const {
    const int64_t first = std::clamp<int64_t>(session_offset[session], 0, entries);
    return {first, std::clamp<int64_t>(session_offset[session + 1], first, entries)};
  }
};

// exp(-distance / scale), computed once for small distances.
class DistanceWeights {
 public:
  explicit DistanceWeights(double scale) : scale_(scale) {
    if (!matter()) return;
    for (int64_t distance = 0; distance < kKept; ++distance) kept_[distance] = computed(distance);
  }

  bool matter() const { return scale_ > 0; }

  double operator()(int64_t distance) const { return distance < kKept ? kept_[distance] : computed(distance); }

 private:
  static constexpr int64_t kKept = 64;

  double computed(int64_t distance) const { return std::exp(-static_cast<double>(distance) / scale_); }

  double scale_, kept_[kKept];
};

class NeighbourSearch {
 public:
  NeighbourSearch(const SessionIndex& index, const NeighbourOptions& options, const DistanceWeights& distances)
      : index_(index), options_(options), distances_(distances), place_of_item_(index.items), scores_(index.items) {}

  // Scores items for the session of these clicks.
  const SparseValues<double>& score(const int64_t* begin, const int64_t* end) {
    scores_.clear();
    read_query(begin, end);
    find_candidates();
    keep_nearest();
    for (const Neighbour& neighbour : nearest_) add_items_of(neighbour);
    return scores_;
  }

 private:
  struct QueryItem {
    double weight;              // in similarity
    double match;               // of a neighbour that shares no later click
    const int32_t *next, *end;  // its sessions that were not merged yet
  };

  struct Neighbour {
    int32_t session;
    double similarity;
  };

  // The distinct items, the one clicked last first; what is unknown is as if it were not there.
  void read_query(const int64_t* begin, const int64_t* end) {
    place_of_item_.clear();
    query_.clear();
    const int64_t length = std::count_if(begin, end, [&](int64_t item) { return is_known(item); });
    int64_t position = length;
    for (const int64_t* item = end; item != begin;) {
      if (!is_known(*--item)) continue;
      const int32_t row = static_cast<int32_t>(*item - 1);
      if (place_of_item_[row] == 0) {
        const int64_t first = std::clamp<int64_t>(index_.posting_offset[row], 0, index_.postings);
        const int64_t last = std::clamp<int64_t>(index_.posting_offset[row + 1], first, index_.postings);
        query_.push_back(
            {click_weight(options_.click_decay, options_.click_scale, position, length),
             match_weight(options_.match_decay, options_.match_scale, length - position + 1), index_.posting + first,
             index_.posting + last});
        place_of_item_.set(row, static_cast<int32_t>(query_.size()));
      }
      --position;
    }
    norm_ = static_cast<double>(query_.size());
    if (!options_.cosine) return;
    double squares = 0;
    for (size_t place = query_.size(); place-- > 0;) squares += query_[place].weight * query_[place].weight;
    norm_ = std::sqrt(squares);
  }

  bool is_known(int64_t item) const { return item >= 1 && item <= index_.items; }

  // The most recent sessions that share an item, and how similar they are.
  void find_candidates() {
    candidates_.clear();
    heads_.clear();
    for (size_t place = 0; place < query_.size(); ++place) push_next_session(place);
    for (int64_t seen = 0; seen < options_.sample && !heads_.empty(); ++seen) {
      const int32_t session = heads_.front() >> 32;
      double shared = 0;
      while (!heads_.empty() && static_cast<int32_t>(heads_.front() >> 32) == session) {
        const size_t place = heads_.front() & 0xffffffff;
        shared += query_[place].weight;
        std::pop_heap(heads_.begin(), heads_.end());
        heads_.pop_back();
        push_next_session(place);
      }
      double similarity = shared / norm_;
      if (options_.cosine) {
        const auto [first, last] = index_.entries_of(session);
        similarity = shared / (norm_ * std::sqrt(static_cast<double>(last - first)));
      }
      similarity *= index_.session_weight[session];
      if (similarity > 0) candidates_.push_back({session, similarity});
    }
  }

  // Heads are sessions, the most recent on top; of equal ones the item that was clicked first, which is added first.
  void push_next_session(size_t place) {
    QueryItem& item = query_[place];
    while (item.next != item.end && (*item.next < 0 || *item.next >= index_.sessions)) ++item.next;
    if (item.next == item.end) return;
    heads_.push_back(static_cast<uint64_t>(*item.next++) << 32 | place);
    std::push_heap(heads_.begin(), heads_.end());
  }

  // The nearest of them, equal ones by recency, in the order of recency.
  void keep_nearest() {
    const size_t most = options_.neighbours;
    nearest_.clear();
    if (candidates_.size() <= most) {
      nearest_ = candidates_;
      return;
    }
    similarities_.clear();
    for (const Neighbour& candidate : candidates_) similarities_.push_back(candidate.similarity);
    std::nth_element(
        similarities_.begin(), similarities_.begin() + (most - 1), similarities_.end(), std::greater<double>());
    const double least = similarities_[most - 1];
    size_t equal = most;
    for (const Neighbour& candidate : candidates_) equal -= candidate.similarity > least;
    for (const Neighbour& candidate : candidates_) {
      if (candidate.similarity < least) continue;
      if (candidate.similarity == least) {
        if (equal == 0) continue;
        --equal;
      }
      nearest_.push_back(candidate);
    }
  }

  void add_items_of(const Neighbour& neighbour) {
    const auto [first, last] = index_.entries_of(neighbour.session);
    int32_t latest_click = 0, latest_entry = 0;  // of what is shared: from the end of the query, and in the neighbour
    for (int64_t i = first; i < last; ++i) {
      if (index_.item[i] < 0 || index_.item[i] >= index_.items) continue;
      const int32_t place = place_of_item_[index_.item[i]];
      if (place == 0) continue;
      latest_click = latest_click == 0 ? place : std::min(latest_click, place);
      latest_entry = std::max(latest_entry, index_.position[i]);
    }
    if (latest_click == 0) return;
    const double match = query_[latest_click - 1].match;
    for (int64_t i = first; i < last; ++i) {
      const int32_t row = index_.item[i];
      if (row < 0 || row >= index_.items) continue;
      double score = neighbour.similarity;
      if (distances_.matter()) score *= distances_(std::abs(int64_t{index_.position[i]} - latest_entry));
      score = score * index_.item_weight[row] * match;
      if (score > 0) scores_.add(row, score);
    }
  }

  const SessionIndex& index_;
  const NeighbourOptions& options_;
  const DistanceWeights& distances_;
  SparseValues<int32_t> place_of_item_;  // in query_, from 1
  SparseValues<double> scores_;
  std::vector<QueryItem> query_;
  std::vector<uint64_t> heads_;
  std::vector<Neighbour> candidates_, nearest_;
  std::vector<double> similarities_;
  double norm_ = 1;
};

std::tuple<Tensor, Tensor> session_neighbours_topk(
    const Tensor& items, const Tensor& offsets, const Tensor& posting_offsets, const Tensor& postings,
    const Tensor& session_offsets, const Tensor& session_items, const Tensor& session_positions,
    const Tensor& session_weights, const Tensor& item_weights, const Tensor& popular, const Tensor& popularity_rank,
    int64_t k, int64_t neighbours, int64_t sample, int64_t click_decay, double click_scale, int64_t match_decay,
    double match_scale, double distance_scale, bool cosine, std::optional<Tensor> candidates,
    std::optional<Tensor> excluded, std::optional<Tensor> excluded_offsets) {
  const NeighbourOptions options{neighbours,
                                 sample,
                                 static_cast<Decay>(click_decay),
                                 static_cast<Decay>(match_decay),
                                 click_scale,
                                 match_scale,
                                 distance_scale,
                                 cosine};
  options.check();
  SessionIndexInputs inputs{
      items,
      offsets,
      posting_offsets,
      postings,
      session_offsets,
      session_items,
      session_positions,
      session_weights,
      item_weights,
      {popular, popularity_rank, {k, candidates, excluded, excluded_offsets}}};
  inputs.check();
  RankedLists lists(inputs.ranking, inputs.queries);
  const ItemLists writer(inputs.ranking, inputs.queries, lists);
  const SessionIndex index(inputs);
  const DistanceWeights distances(distance_scale);
  const auto first_click = clamped_offsets(data<int64_t>(inputs.offsets), inputs.queries, inputs.items.size(0));
  const int64_t* item = data<int64_t>(inputs.items);
  constexpr int64_t kWorkPerClick = 4096;
  for_session_parts(first_click, kWorkPerClick, [&](int64_t begin, int64_t end) {
    NeighbourSearch search(index, options, distances);
    std::vector<int32_t> found;
    for (int64_t b = begin; b < end; ++b) {
      writer.write(b, search.score(item + first_click[b], item + first_click[b + 1]), found);
    }
  });
  return {lists.scores, lists.rows};
}

}  // namespace
}  // namespace tagnn_fast::cpu

// For every device, to refuse others than the CPU in our own words.
TAGNN_FAST_REGISTER(CompositeExplicitAutograd, library) {
  library.impl("session_neighbours_topk", TORCH_BOX(&tagnn_fast::cpu::session_neighbours_topk));
}
